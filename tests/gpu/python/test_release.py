"""Release: memory goes back to its producer's pool only after every use that the hub knows of. The pools
of torch and CuPy hand a block out again at once; it is then filled with NaN, while the reader is held
up. The same exchange without the hub must lose its values."""

import gc
import time

import frameworks
import gpulab
import numpy as np
import pytest
import torch
from frameworks import COUNT, GOOD, on, on_cupy, on_torch
from gpulab import Latch, Memory, Stream, quick

import dlpack_bridge as db

REPEATS = 500


class TorchPool(frameworks.TorchProducer):
    def __init__(self, stream):
        keep = [self.make(stream) for _ in range(2)]  # blocks enough, before anything is held up
        del keep


class CupyPool(frameworks.CupyProducer):
    def __init__(self, stream):
        keep = [self.make(stream) for _ in range(2)]
        del keep


POOLS = {"torch": TorchPool, "cupy": CupyPool}


def torch_reader(x, p, c):
    with on(p):
        y = db.to_torch(db.asarray(x), stream=c)
    return lambda out: frameworks.read_torch(y, c)(out)


def cupy_reader(x, p, c):
    cupy = frameworks.installed("cupy")
    with on(p):
        a = db.asarray(x)
    with on_cupy(c):
        y = cupy.from_dlpack(a)
    return lambda out: frameworks.read_cupy(y, c)(out)


def capsule_reader(x, p, c):
    with on(p):
        a = db.asarray(x)
    capsule = a.__dlpack__(stream=c.handle, max_version=(1, 3))
    return frameworks.read_raw(a.data_ptr, c, (capsule, a))


READERS = {"torch": torch_reader, "cupy": cupy_reader, "capsule": capsule_reader}


def lend_read_and_drop(pool, reader, p, c, gate, out):
    """The address of a block that was lent, is read later on c, and that everybody has dropped."""
    x = pool.make(p)
    pool.write(x, GOOD, p)
    address = pool.address(x)
    read = reader(x, p, c)
    del x
    gate.hold(c)
    read(out)
    return address


def overwrite_the_next_block(pool, p):
    """Whatever the pool hands out next, full of NaN when p got there. Keep it until p was waited for."""
    if isinstance(pool, frameworks.TorchProducer):
        with on_torch(p):
            x = torch.empty(COUNT, device="cuda:0")
    else:
        cupy = frameworks.installed("cupy")
        with on_cupy(p):
            x = cupy.empty(COUNT, dtype=cupy.float32)
    pool.write(x, float("nan"), p)
    return x


@pytest.mark.parametrize("kind", gpulab.KINDS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("pool", POOLS)
def test_a_block_is_not_reused_before_its_reader_is_through(pool, reader, kind):
    p, c, out = Stream(), Stream(kind), Memory(COUNT)
    pool = POOLS[pool](p)
    wrong = 0
    for _ in range(REPEATS):
        with Latch() as gate:
            lend_read_and_drop(pool, READERS[reader], p, c, gate, out)
            keep = overwrite_the_next_block(pool, p)
            gate.open()
            wrong += not (out.read(c) == GOOD).all()
        p.wait()
        del keep
        db.collect()
    assert wrong == 0


def direct_torch_to_cupy(x, p, c):
    with on_torch(p), on_cupy(c):
        y = frameworks.installed("cupy").from_dlpack(x)
    return lambda out: frameworks.read_cupy(y, c)(out)


def direct_cupy_to_torch(x, p, c):
    with on_cupy(p), on_torch(c):
        y = torch.from_dlpack(x)
    return lambda out: frameworks.read_torch(y, c)(out)


@pytest.mark.parametrize(
    ("pool", "reader"), [("torch", direct_torch_to_cupy), ("cupy", direct_cupy_to_torch)]
)
def test_without_the_hub_the_reader_finds_what_was_written_later(pool, reader):
    """The negative control: the same hand-over between the two libraries themselves."""
    frameworks.installed("cupy")
    p, c, out = Stream(), Stream(), Memory(COUNT)
    pool = POOLS[pool](p)
    with Latch() as gate:
        address = lend_read_and_drop(pool, reader, p, c, gate, out)
        gc.collect()
        keep = overwrite_the_next_block(pool, p)
        assert pool.address(keep) == address, "the pool handed out another block: nothing is tested"
        p.wait()
        gate.open()
        seen = out.read(c)
    assert np.isnan(seen).all(), "the test cannot see a race"


def test_dropping_does_not_block_and_memory_comes_back_by_itself():
    frameworks.installed("cupy")
    p, c, out = Stream(), Stream(), Memory(COUNT)
    pool = POOLS["cupy"](p)
    before = db.stats().pending_releases
    with Latch() as gate:
        with quick():
            lend_read_and_drop(pool, torch_reader, p, c, gate, out)
        assert db.stats().pending_releases > before
        gate.open()
        end = time.monotonic() + 5
        while db.stats().pending_releases > before and time.monotonic() < end:
            time.sleep(0.01)
    assert db.stats().pending_releases == before


def test_a_declared_stream_is_waited_for_and_another_is_not():
    frameworks.installed("cupy")
    for declared in (True, False):
        p, told, other, out = Stream(), Stream(), Stream(), Memory(COUNT)
        pool = POOLS["cupy"](p)
        x = pool.make(p)
        pool.write(x, GOOD, p)
        with on(p):
            y = db.to_torch(x, stream=told)
        told.wait()
        with Latch() as gate:
            gate.hold(other)
            gpulab.copy(out, y.data_ptr(), other)
            if declared:
                db.record_stream(y, other)
            del x, y
            keep = overwrite_the_next_block(pool, p)
            p.wait()
            gate.open()
            seen = out.read(other)
        if declared:
            assert (seen == GOOD).all()
        else:
            assert np.isnan(seen).all(), "the test cannot see a race"
        del keep
        db.collect(wait=True)


def test_a_stream_object_lives_as_long_as_the_release_needs_it():
    import weakref

    frameworks.installed("cupy")
    p, out = Stream(), Memory(COUNT)
    pool = POOLS["cupy"](p)
    x = pool.make(p)
    pool.write(x, GOOD, p)
    c = Stream()
    alive = weakref.ref(c)
    with on(p):
        y = db.to_torch(x, stream=c)
    with Latch() as gate:
        gate.hold(c)
        gpulab.copy(out, y.data_ptr(), c)
        del c, x, y
        gc.collect()
        assert alive() is not None
        gate.open()
        end = time.monotonic() + 5
        while alive() is not None and time.monotonic() < end:
            db.collect()
            time.sleep(0.01)
    assert alive() is None


def test_a_copy_keeps_its_source_until_it_was_read():
    p, c = Stream(), Stream()
    pool, out = TorchPool(p), Memory(COUNT)
    for _ in range(50):
        x = pool.make(p)
        pool.write(x, GOOD, p)
        with Latch() as gate:
            gate.hold(c)
            with on_torch(p):
                y = db.to_torch(x, copy=True, stream=c)
            del x
            keep = overwrite_the_next_block(pool, p)
            read = frameworks.read_torch(y, c)
            read(out)
            del y, read
            gate.open()
            assert (out.read(c) == GOOD).all()
        p.wait()
        del keep
        db.collect()


def test_releases_under_memory_pressure_come_back():
    """Most of the device is dropped while its reader is held up; torch can have it again afterwards."""
    free, _ = torch.cuda.mem_get_info()
    p, c, out = Stream(), Stream(), Memory(COUNT)
    size = int(free * 0.6) // 4
    with on_torch(p):
        x = torch.zeros(size, device="cuda:0")
        y = db.to_torch(db.asarray(x), stream=c)
    with Latch() as gate:
        gate.hold(c, 4.0)
        gpulab.copy(out, y.data_ptr(), c)
        del x, y
        gate.open()
    c.wait()
    db.collect(wait=True)
    with on_torch(p):
        again = torch.zeros(size, device="cuda:0")
    p.wait()
    del again
    torch.cuda.empty_cache()
