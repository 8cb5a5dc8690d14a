"""Memory goes back to its producer only after every use that the hub knows of, on every stream that
it was given to; the pools of the models hand it out again at once, full of rubbish."""

import gc
import threading
import time
import weakref

import cuda_lab
import cupy
import device_model
import dlpack_lab as lab
import fake_driver as driver
import jax
import numpy as np
import pytest
import raw_cuda as raw
import torch
from cuda_checks import KINDS, on_torch, races, torch_array, torch_stream, use_on

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]


def stream_of(kind="non-blocking", device=0):
    return raw.Stream(kind, device)


def blocks_in_use():
    return raw.pools[raw.CUDA].in_use


# ---- memory of a producer that cannot be told who uses it ------------------------------------------

USES = {
    "torch": lambda a, c: use_on(db.to_torch(a, stream=c), c),
    "array": lambda a, c: raw.consume(db.asarray(a), c).use(),
    "array, twice": lambda a, c: [raw.consume(db.asarray(a), s).use() for s in (c, stream_of())],
    "cupy": lambda a, c: cupy_use(db.asarray(a), c),
}


def cupy_use(array, c):
    with cupy.cuda.ExternalStream(0 if c.kind == "legacy" else c.handle):
        return cupy.from_dlpack(array).use()


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("source", [raw.Array, raw.WithInterface, raw.RefusesPerThread])
def test_memory_goes_back_after_its_last_use(source, use, kind, idle):
    """On an idle device memory goes back at once: whoever was not asked whether it reads still does."""
    p, c = stream_of(), stream_of(kind)
    x = raw.array(VALUES, p, kind=source)
    USES[use](x, c)
    driver.set_idle(idle)
    del x
    again = raw.array([9, 9, 9, 9], p)  # races if the block is back already
    assert driver.host_waits() == 0
    assert driver.races() == []
    del again


def test_a_release_waits_until_the_use_has_run():
    p, c = stream_of(), stream_of()
    x = raw.array(VALUES, p)
    y = db.to_torch(x, stream=c)
    use_on(y, c)
    del x, y
    assert (db.stats().live_arrays, db.stats().pending_releases) == (0, 1)
    assert db.collect() == 0
    assert blocks_in_use() == 1
    driver.run(0)
    db.collect()  # 1, or 0 when the queue's thread was there first
    assert (blocks_in_use(), db.stats().pending_releases) == (0, 0)


def test_collect_can_wait_for_the_uses():
    p, c = stream_of(), stream_of()
    x = raw.array(VALUES, p)
    y = db.to_torch(x, stream=c)
    use_on(y, c)
    del x, y
    assert db.collect(wait=True) == 1
    assert (blocks_in_use(), db.stats().pending_releases) == (0, 0)
    raw.array(VALUES, p)


def test_what_is_due_is_released_without_being_asked():
    p, c = stream_of(), stream_of()
    x = raw.array(VALUES, p)
    y = db.to_torch(x, stream=c)
    use_on(y, c)
    del x, y
    driver.run(0)
    until = time.monotonic() + 20
    while db.stats().pending_releases and time.monotonic() < until:
        time.sleep(0.01)
    assert (blocks_in_use(), db.stats().pending_releases) == (0, 0)


def test_on_an_idle_device_memory_goes_back_at_once():
    driver.set_idle(1)
    x = raw.array(VALUES, stream_of())
    c = stream_of()
    y = db.to_torch(x, stream=c)
    use_on(y, c)
    del x, y
    assert (db.stats().pending_releases, blocks_in_use()) == (0, 0)


def test_a_use_on_the_stream_of_the_memory_needs_no_wait_at_release():
    p = stream_of()
    x = raw.array(VALUES, p, kind=raw.WithInterface)
    y = db.to_torch(x, stream=p)
    use_on(y, p)
    del x, y
    assert raw.array(VALUES, p).tolist() == VALUES


def test_an_array_that_nobody_used_is_given_back_at_once():
    x = raw.array(VALUES, stream_of())
    a = db.asarray(x)
    driver.run(0)
    del x, a
    db.collect()
    assert blocks_in_use() == 0


@pytest.mark.parametrize("kind", ["legacy", "per-thread"])
def test_a_default_stream_is_known_where_it_was_used(kind):
    """Dropped on another thread, whose per-thread stream is another one."""
    p, c = stream_of(), stream_of(kind)
    x = raw.array(VALUES, p)
    results = [db.to_torch(x, stream=c)]
    use_on(results[0], c)
    del x
    thread = threading.Thread(target=results.clear)
    thread.start()
    thread.join()
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


def test_a_per_thread_stream_of_a_thread_that_has_ended():
    p, c = stream_of(), stream_of("per-thread")
    results = []

    def work():
        x = raw.array(VALUES, p)
        results.append(db.to_torch(x, stream=c))
        use_on(results[0], c)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    results.clear()
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


def test_memory_dropped_on_a_foreign_thread_without_the_gil():
    p, c = stream_of(), stream_of()
    a = db.asarray(raw.array(VALUES, p))
    owned = lab.take(a.__dlpack__(stream=c.handle, max_version=(1, 3)))
    array = device_model.DeviceArray.over(owned, fields_of(owned), None)
    array.read(c.handle)
    del a, array
    assert owned.release_on_thread(hold_gil=True)
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


def fields_of(owned):
    fields = owned.fields()
    return {
        "address": fields["data"],
        "shape": fields["shape"],
        "strides": fields["strides"],
        "dlpack_dtype": fields["dtype"],
        "dlpack_device": fields["device"],
    }


@pytest.mark.parametrize("device", [0, 1])
def test_uses_on_several_streams_and_of_several_results(device):
    p = stream_of(device=device)
    x = raw.array(VALUES, p)
    a = db.asarray(x)
    streams = [stream_of(kind, device) for kind in KINDS]
    for c in streams:
        raw.consume(a, c).use()
    del x, a
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


def test_a_use_by_the_second_device():
    """A kernel of device 1 that reads memory of device 0."""
    p, c = stream_of(device=0), stream_of(device=1)
    x = raw.array(VALUES, p)
    a = db.asarray(x)
    device_model.wait_for(1, c.handle, 0, p.handle)
    device_model.kernel(1, c.handle, reads=[x])
    db.record_stream(a, c)
    del x, a
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


# ---- memory of torch ---------------------------------------------------------------------------------


def test_torch_is_told_who_uses_its_memory():
    p, c = stream_of(), stream_of()
    x = torch_array(VALUES, p)
    block = x.storage.block
    with on_torch(p):
        a = db.asarray(x)
        y = raw.consume(a, c)
        y.use()
    del x, a, y
    db.collect()
    assert torch.pool.recorded == 1
    assert (torch.pool.in_use, db.stats().pending_releases) == (0, 0), "torch waits, not the hub"
    assert torch_array(VALUES, p).storage.block is not block
    driver.run(0)
    torch.pool.process_events()
    assert block in [torch_array(VALUES, p).storage.block for _ in range(2)]


def test_torch_cannot_protect_the_memory_of_others():
    """`Tensor.record_stream` does nothing for what torch did not allocate: the hub waits itself."""
    p, c = stream_of(), stream_of()
    x = raw.array(VALUES, p)
    address = x.address
    with on_torch(p):
        t = db.to_torch(x, stream=p)
        a = db.asarray(t)
        y = raw.consume(a, c)
        assert y.use() == VALUES
    del x, t, a, y
    assert db.stats().pending_releases > 0
    again = raw.array([9, 9, 9, 9], p)
    assert again.address != address
    driver.run(0)
    db.collect(wait=True)


def test_torch_is_not_told_of_its_own_stream():
    p = stream_of()
    x = torch_array(VALUES, p)
    block = x.storage.block
    with on_torch(p):
        a = db.asarray(x)
        raw.consume(a, p).use()
    del x, a
    assert torch_array(VALUES, p).storage.block is block


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_that_is_a_view_of_an_older_block(kind):
    """Its memory belongs to the stream of the allocation, not to torch's current one."""
    home, p, c = stream_of(), stream_of(), stream_of(kind)
    x = torch_array(VALUES, home)
    with on_torch(p):
        torch_stream(p).wait_stream(torch_stream(home))
        x.add_(1)
        x.record_stream(torch_stream(p))
        a = db.asarray(x)
        assert raw.consume(a, c).use() == [2, 3, 4, 5]
    del x, a
    torch_array([9, 9, 9, 9], home)
    torch_array([9, 9, 9, 9], p)
    assert driver.races() == []


def test_a_per_thread_user_of_torchs_memory():
    """torch records on the stream when it frees: the number 2 would mean another stream there."""
    p, c = stream_of(), stream_of("per-thread")
    x = torch_array(VALUES, p)
    with on_torch(p):
        results = [raw.consume(db.asarray(x), c)]
    results[0].use()
    del x
    thread = threading.Thread(target=results.clear)
    thread.start()
    thread.join()
    torch_array([9, 9, 9, 9], p)
    assert driver.races() == []


def test_a_tensor_dropped_before_the_array_of_the_hub():
    p, c = stream_of(), stream_of()
    x = torch_array(VALUES, p)
    with on_torch(p):
        a = db.asarray(x)
    del x
    assert raw.consume(a, c).use() == VALUES
    del a
    torch_array([9, 9, 9, 9], p)
    assert driver.races() == []


# ---- memory of CuPy and JAX ------------------------------------------------------------------------


def test_memory_of_cupy():
    c = stream_of()
    with cupy.cuda.Stream(non_blocking=True) as side:
        y = db.to_torch(cupy.full(4, VALUES), stream=c)
        use_on(y, c)
    del y
    with side:
        cupy.full(4, 9)
    assert driver.races() == []


def test_memory_of_jax():
    c = stream_of()
    y = db.to_torch(jax.numpy.full(4, 1.0), stream=c, readonly="share")
    use_on(y, c)
    del y
    jax.numpy.full(4, 9.0)
    assert driver.races() == []


@pytest.mark.parametrize("convert", [False, True])
def test_what_jax_imported_goes_back_after_its_computations(convert):
    p = stream_of()
    x = raw.array(VALUES, p)
    y = db.convert(x, "jax") if convert else jax.dlpack.from_dlpack(db.asarray(x))
    del x
    z = y + 1
    del y
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []
    assert z.tolist() == [2, 3, 4, 5]


def test_a_jax_that_drops_early_needs_its_stream_declared():
    """Open in XLA (research of streams, 3.4): what is passed is a meeting point, not the stream of
    its kernels. `record_stream` is for what the hub cannot see."""
    p = stream_of()
    compute = jax._array.compute_stream(0)
    with jax._array.release_waits_for_uses(False):
        for declared in (False, True):
            a = db.asarray(raw.array(VALUES, p))
            y = jax.dlpack.from_dlpack(a)
            if declared:
                db.record_stream(a, compute)
            y + 1
            driver.set_idle(
                1
            )  # what is asked for has run; the stream of the kernels is not asked for
            del y, a
            if declared:
                raw.array([9, 9, 9, 9], p)
            else:
                with races():
                    raw.array([9, 9, 9, 9], p)
            driver.set_idle(0)


# ---- record_stream ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["array", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_declared_use_keeps_the_memory(kind, form):
    p, c, hidden = stream_of(), stream_of(), stream_of(kind)
    x = raw.array(VALUES, p)
    y = db.asarray(x) if form == "array" else db.to_torch(x, stream=c)
    use_hidden(y, c, hidden, form)
    db.record_stream(y, hidden)
    del x, y
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


def use_hidden(y, known, hidden, form):
    """A kernel on a stream that the hub does not know of; ordered by the test."""
    if form == "array":
        result = raw.consume(y, hidden)
        result.use()
        return
    device_model.wait_for(0, hidden.handle, 0, known.handle)
    y.read(hidden.handle)


def test_a_use_that_nobody_declared_races():
    p, c, hidden = stream_of(), stream_of(), stream_of()
    x = raw.array(VALUES, p)
    y = db.to_torch(x, stream=c)
    device_model.wait_for(0, hidden.handle, 0, c.handle)
    y.read(hidden.handle)
    del x, y
    with races():
        driver.set_idle(1)
        db.collect()
        driver.set_idle(0)
        raw.array([9, 9, 9, 9], p)


def test_an_address_inside_an_array_is_found():
    p, c, hidden = stream_of(), stream_of(), stream_of()
    x = raw.array(VALUES, p)
    y = db.to_torch(x, stream=c)
    z = y.view_of(2, (2,), (1,))
    del y, x
    device_model.wait_for(0, hidden.handle, 0, c.handle)
    z.read(hidden.handle)
    db.record_stream(z, hidden)
    del z
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


def test_a_stream_given_for_an_array_that_is_the_result_itself_is_a_use():
    p, c = stream_of(), stream_of()
    a = db.asarray(raw.array(VALUES, p))
    assert db.asarray(a, stream=c) is a
    raw.Result(cuda_lab.take(a.__dlpack__(stream=-1)), c).use()
    driver.set_idle(1)  # what the hub asks for has run: it must ask for c
    del a
    driver.set_idle(0)
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


@pytest.mark.parametrize("form", ["object", "torch", "cupy", "int"])
def test_streams_can_be_declared_in_every_form(form):
    p, hidden = stream_of(), stream_of()
    a = db.asarray(raw.array(VALUES, p))
    forms = {
        "object": hidden,
        "torch": torch_stream(hidden),
        "cupy": cupy.cuda.ExternalStream(hidden.handle),
        "int": hidden.handle,
    }
    raw.Result(cuda_lab.take(raw_capsule(a, hidden)), hidden).use()
    db.record_stream(a, forms[form])
    del a
    raw.array([9, 9, 9, 9], p)
    assert driver.races() == []


def raw_capsule(array, stream):
    return array.__dlpack__(stream=stream.handle, max_version=(1, 3))


@pytest.mark.parametrize("make", [lambda: np.zeros(3), lambda: db.asarray(np.zeros(3))])
def test_host_memory_has_no_streams_to_record(make):
    with pytest.raises(ValueError):
        db.record_stream(make(), stream_of())


@pytest.mark.parametrize("stream", [True, "1", 1.5, None])
def test_what_is_no_stream_is_a_type_error(stream):
    a = db.asarray(raw.array(VALUES, stream_of()))
    with pytest.raises((TypeError, ValueError)):
        db.record_stream(a, stream)


def test_memory_that_the_hub_did_not_share_is_a_value_error():
    x = torch_array(VALUES, stream_of())
    with pytest.raises(ValueError):
        db.record_stream(x, stream_of())


@pytest.mark.parametrize("how", ["record_stream", "stream="])
def test_a_stream_object_is_kept_until_the_release(how):
    p, hidden = stream_of(), raw.Stream("non-blocking", owned=True)
    alive = weakref.ref(hidden)
    if how == "record_stream":
        a = db.asarray(raw.array(VALUES, p))
        raw.consume(a, hidden).use()
        db.record_stream(a, hidden)
    else:
        a = db.to_torch(raw.array(VALUES, p), stream=hidden)
        a.read(hidden.handle)
    del hidden
    gc.collect()
    assert alive() is not None
    del a
    raw.array([9, 9, 9, 9], p)
    driver.run(0)
    db.collect()
    gc.collect()
    assert alive() is None


# ---- copies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["torch", "raw"])
def test_a_later_write_of_the_producer_is_ordered_after_the_hubs_read(source):
    p, c = stream_of(), stream_of()
    with on_torch(p):
        x = torch_array(VALUES, p) if source == "torch" else raw.array(VALUES, p, raw.WithInterface)
        y = db.to_torch(x, stream=c, copy=True)
        x.add_(1) if source == "torch" else x.add(1)
    assert use_on(y, c) == VALUES
    assert driver.races() == []


@pytest.mark.parametrize("make", [torch_array, raw.array])
def test_a_copied_source_can_go_while_the_copy_still_runs(make):
    p, c = stream_of(), stream_of()
    with on_torch(p):
        y = db.to_torch(make(VALUES, p), stream=c, copy=True)
        make([9, 9, 9, 9], p)
    assert use_on(y, c) == VALUES
    assert driver.races() == []


def test_a_copy_of_the_hub_is_freed_after_its_uses():
    p, c, d = stream_of(), stream_of(), stream_of()
    for _ in range(3):
        a = db.asarray(raw.array(VALUES, p), copy=True)
        assert raw.consume(a, c).use() == VALUES
        assert raw.consume(a, d).use() == VALUES
        del a
    assert driver.host_waits() == 0


# ---- nothing accumulates ------------------------------------------------------------------------------


def test_events_are_reused():
    p, c = stream_of(), stream_of()

    def exchange():
        x = raw.array(VALUES, p)
        y = db.to_torch(x, stream=c)
        use_on(y, c)
        del x, y
        driver.run(0)
        db.collect()

    exchange()
    events = driver.live("events")
    driver.reset_calls()
    for _ in range(20):
        exchange()
    assert driver.live("events") == events
    assert driver.calls("cuCtxSynchronize") == driver.calls("cuStreamSynchronize") == 0
