"""Nothing that the hub does by itself invalidates a capture, its own or anyone else's; what cannot be
ordered inside a capture is refused before any call is made."""

import contextlib
import gc

import cupy
import fake_driver as driver
import jax
import numpy as np
import pytest
import raw_cuda as raw
import torch
from cuda_checks import codes, makes, on_torch, torch_array, torch_stream

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]
MODES = {"global": driver.GLOBAL, "thread-local": driver.THREAD_LOCAL, "relaxed": driver.RELAXED}


@contextlib.contextmanager
def capture(stream, mode=driver.GLOBAL):
    """Captures on a raw stream. It must end with a graph: nothing may have invalidated it."""
    driver.begin_capture(stream.device, stream.handle, mode)
    yield
    driver.end_capture(stream.device, stream.handle)
    assert driver.live("captures") == 0


@contextlib.contextmanager
def refused():
    """The block is refused with `capture`, before any event, wait, copy or allocation."""
    driver.reset_calls()
    with pytest.raises(db.ExchangeError) as caught:
        yield
    assert "capture" in codes(caught.value.blockers)
    changing = ("cuEventRecord", "cuStreamWaitEvent", "cuMemcpyAsync", "cuMemAllocFromPoolAsync")
    assert [name for name in changing if driver.calls(name)] == []


def known_sources(p):
    """Sources whose stream is known: their order becomes an edge of the graph."""
    with on_torch(p):
        return {
            "torch": torch_array(VALUES, p),
            "interface": raw.array(VALUES, p, kind=raw.WithInterface),
            "array": db.asarray(torch_array(VALUES, p)),
        }


# ---- accepted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["torch", "interface", "array"])
def test_a_source_of_the_capturing_stream_is_shared(source):
    p = raw.Stream()
    x = known_sources(p)[source]
    with capture(p), on_torch(p), makes(0, 0):
        y = db.to_torch(x, stream=p)
        y.use()
    assert y.data_ptr() == (x.data_ptr if source == "array" else x.address)


@pytest.mark.parametrize("source", ["torch", "interface", "array"])
def test_two_streams_of_one_capture_are_ordered_by_an_edge(source):
    p, c = raw.Stream(), raw.Stream()
    x = known_sources(p)[source]
    with capture(p), on_torch(p):
        raw.model.wait_for(0, c.handle, 0, p.handle)  # c joins the capture
        assert driver.is_capturing(0, c.handle)
        y = db.to_torch(x, stream=c)
        y.read(c.handle)
        raw.model.wait_for(0, p.handle, 0, c.handle)
    del y


def test_torchs_own_capture():
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.full(4, 1.0, device="cuda")
    with torch.cuda.graph(stream):
        y = db.to_torch(db.asarray(x))
        y.use()
        del y


@pytest.mark.parametrize("source", ["protocol", "cupy", "jax", "interface"])
def test_minus_one_is_accepted_everywhere(source):
    p = raw.Stream()
    x = {
        "protocol": lambda: raw.array(VALUES, p),
        "cupy": lambda: cupy.full(4, 1.0),
        "interface": lambda: raw.array(VALUES, p, kind=raw.WithInterface),
        "jax": lambda: raw.array(VALUES, p),
    }[source]()
    with capture(p), makes(0, 0):
        y = db.to_torch(x, stream=-1)
    del y


def test_host_arrays_are_exchanged_inside_a_capture():
    p = raw.Stream()
    with capture(p):
        assert db.to_torch(np.arange(3.0), stream=p).tolist() == [0, 1, 2]


# ---- refused -----------------------------------------------------------------------------------------

UNKNOWN = {
    "protocol": lambda p: raw.array(VALUES, p),
    "cupy": lambda p: cupy.full(4, 1.0),
    "jax": lambda p: jax.numpy.full(4, 1.0),
    "ignores": lambda p: raw.array(VALUES, p, kind=raw.IgnoresStream),
}


@pytest.mark.parametrize("producer", UNKNOWN)
def test_a_source_that_orders_itself_is_refused(producer):
    p = raw.Stream()
    x = UNKNOWN[producer](p)
    with capture(p):
        with refused():
            db.to_torch(x, stream=p, readonly="share")
        with on_torch(p):
            assert "capture" in codes(db.plan(x, "torch").blockers)
    if producer == "protocol":
        assert [asked for asked in x.asked if asked["stream"] != -1] == []


@pytest.mark.parametrize("source", ["torch", "interface", "array"])
def test_a_source_from_outside_the_capture_is_refused(source):
    p, c = raw.Stream(), raw.Stream()
    x = known_sources(p)[source]
    with capture(c), on_torch(p), refused():
        db.to_torch(x, stream=c)


@pytest.mark.parametrize("source", ["torch", "interface", "array"])
def test_a_source_from_a_capture_for_a_stream_outside_is_refused(source):
    p, c = raw.Stream(), raw.Stream()
    x = known_sources(p)[source]
    with capture(p), on_torch(p), refused():
        db.to_torch(x, stream=c)


def test_two_captures_are_not_merged():
    p, c = raw.Stream(), raw.Stream()
    x = torch_array(VALUES, p)
    with capture(p), capture(c), on_torch(p), refused():
        db.to_torch(x, stream=c)


@pytest.mark.parametrize("number", [1, None])
def test_the_legacy_stream_is_left_alone_while_a_blocking_stream_captures(number):
    p, blocking = raw.Stream(), raw.Stream("blocking")
    with on_torch(p):
        a = db.asarray(torch_array(VALUES, p))
        with capture(blocking), refused():
            a.__dlpack__(stream=number)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "copy",
    [
        lambda x, p: db.to_torch(x, stream=p, copy=True),
        lambda x, p: db.to_numpy(x, stream=p),
        lambda x, p: db.asarray(x, device="cuda_host", stream=p),
        lambda x, p: db.asarray(x, device="cuda:1", stream=p),
        lambda x, p: db.asarray(np.zeros(3), device="cuda", stream=p),
    ],
)
def test_copies_are_refused_inside_a_capture(copy, mode):
    p = raw.Stream()
    x = torch_array(VALUES, p)
    with capture(p, MODES[mode]), on_torch(p), refused():
        copy(x, p)


# ---- releases ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", ["capturing", "elsewhere"])
@pytest.mark.parametrize("kind", ["interface", "torch"])
def test_a_release_during_a_capture_invalidates_nothing(kind, where, mode):
    p, c, other = raw.Stream(), raw.Stream(), raw.Stream()
    x = known_sources(p)[kind]
    with on_torch(p):
        y = db.to_torch(db.asarray(x), stream=c)
        y.read(c.handle)
    captured = c if where == "capturing" else other
    with capture(captured, MODES[mode]):
        del x, y
        gc.collect()
        db.collect()
        db.stats()
    if kind == "interface":
        raw.array([9, 9, 9, 9], p)
    else:
        torch_array([9, 9, 9, 9], p)
    assert driver.races() == []


@pytest.mark.parametrize("kind", ["legacy", "per-thread", "blocking"])
def test_a_reader_on_a_default_stream_is_released_while_a_blocking_stream_captures(kind):
    p, c, blocking = raw.Stream(), raw.Stream(kind), raw.Stream("blocking")
    x = raw.array(VALUES, p, kind=raw.WithInterface)
    y = db.to_torch(x, stream=c)
    y.read(c.handle)
    with capture(blocking):
        del x, y
        db.collect()
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


def test_what_waits_is_released_after_the_capture():
    p, c = raw.Stream(), raw.Stream()
    x = raw.array(VALUES, p, kind=raw.WithInterface)
    y = db.to_torch(x, stream=c)
    y.read(c.handle)
    with capture(c):
        del x, y
        assert db.stats().pending_releases == 1
        assert db.collect() == 0
    driver.run(0)
    assert db.collect(wait=True) == 1


def test_an_import_dropped_inside_its_capture():
    p = raw.Stream()
    x = torch_array(VALUES, p)
    with capture(p), on_torch(p):
        y = raw.consume(db.asarray(x), p)
        y.array.read(p.handle)
        del y
        db.collect()
    assert torch_stream(p) is not None


def test_a_capture_on_the_other_device_disturbs_nothing():
    p, c, far = raw.Stream(), raw.Stream(), raw.Stream(device=1)
    x = torch_array(VALUES, p)
    with capture(far), on_torch(p):
        y = db.to_torch(x, copy=True, stream=c)
        assert y.read(c.handle).tolist() == VALUES
        del y
        db.collect()


@pytest.mark.parametrize("mode", ["thread-local", "relaxed"])
def test_an_exchange_beside_a_capture_on_the_same_device(mode):
    p, c, busy = raw.Stream(), raw.Stream(), raw.Stream()
    x = torch_array(VALUES, p)
    with capture(busy, MODES[mode]), on_torch(p):
        a = db.asarray(x)
        y = raw.consume(a, c)
        assert y.use() == VALUES
        del a, y
        db.collect()
