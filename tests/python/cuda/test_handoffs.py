"""Work that is enqueued after a conversion sees everything that the producer had enqueued before:
for every kind of producer, consumer and stream, with one record and one wait, and without the host."""

import cuda_lab
import cupy
import dlpack_lab as lab
import fake_driver as driver
import jax
import numba.cuda
import pytest
import raw_cuda as raw
import torch
from cuda_checks import (
    DIFFERENT,
    KINDS,
    PAIRS,
    makes,
    on_torch,
    races,
    torch_array,
    torch_stream,
    use_on,
)

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]


# ---- producers: an array that was written on a stream, and is exported with it current ------------


def from_torch(stream):
    return torch_array(VALUES, stream)


def from_protocol(stream):
    return raw.array(VALUES, stream)


def from_interface(stream):
    return raw.array(VALUES, stream, kind=raw.WithInterface)


def from_cupy(stream):
    with cupy_stream(stream):
        return cupy.full(4, VALUES)


def from_array(stream):
    return db.asarray(torch_array(VALUES, stream))


def cupy_stream(stream):
    return cupy.cuda.ExternalStream(0 if stream.kind == "legacy" else stream.handle, stream.device)


PRODUCERS = {
    "torch": from_torch,
    "protocol": from_protocol,
    "interface": from_interface,
    "cupy": from_cupy,
    "array": from_array,
}


# ---- consumers: what they hold reads on the stream that they named --------------------------------


def to_torch_by_keyword(source, stream):
    result = db.to_torch(source, stream=stream)
    return lambda: use_on(result, stream)


def to_torch_current(source, stream):
    with on_torch(stream):
        result = db.to_torch(source)
    return lambda: use_on(result, stream)


def through_array(source, stream):
    result = raw.consume(db.asarray(source), stream)
    return result.use


def to_array_by_keyword(source, stream):
    result = db.asarray(source, stream=stream)
    return lambda: raw.Result(cuda_lab.take(result.__dlpack__(stream=-1)), stream).use()


def to_cupy(source, stream):
    with cupy_stream(stream):
        result = db.convert(source, "cupy")

    def use():
        with cupy_stream(stream):
            return result.use().tolist()

    return use


CONSUMERS = {
    "torch, stream=": to_torch_by_keyword,
    "torch, current stream": to_torch_current,
    "array, __dlpack__": through_array,
    "array, stream=": to_array_by_keyword,
    "cupy, current stream": to_cupy,
}


def exported(producer, consumer, p, c):
    """Hands an array over from stream p to stream c, with p current in torch and CuPy."""
    with on_torch(p), cupy_stream(p):
        source = PRODUCERS[producer](p)
        return CONSUMERS[consumer](source, c)


# A tensor that is asked for as a tensor is the tensor itself: it is ordered for the stream that was
# named, and whoever uses it on another stream tells torch (`Tensor.record_stream`).
SAME = [("torch", "torch"), ("cupy", "cupy")]
ROADS = [(p, c) for p in PRODUCERS for c in CONSUMERS if (p, c.split(",")[0]) not in SAME]


@pytest.mark.parametrize(("p", "c"), PAIRS)
@pytest.mark.parametrize(("producer", "consumer"), ROADS)
def test_a_handoff_is_ordered_in_and_its_memory_is_ordered_out(producer, consumer, p, c):
    p, c = raw.Stream(p), raw.Stream(c)
    use = exported(producer, consumer, p, c)
    assert driver.host_waits() == 0
    assert use() == VALUES
    del use
    exported(producer, consumer, p, c)  # the pool may hand the block out again
    assert driver.host_waits() == 0


# A producer that is told the stream makes the record and the wait itself. What an array carries is
# no per-thread stream: that is met at once, on its own thread, on a stream of the hub. CuPy is given
# such an array.
CARRIED = ["array, __dlpack__", "cupy, current stream"]
DIRECT = [road for road in ROADS if road[1] not in CARRIED] + [("torch", "torch, stream=")]


def carries_per_thread(producer, consumer, p, c):
    return (producer == "array" and p == "per-thread") or (
        consumer == "array, stream=" and "per-thread" in (p, c)
    )


@pytest.mark.parametrize(
    ("producer", "consumer", "p", "c"),
    [(*r, *pair) for r in DIRECT for pair in DIFFERENT if not carries_per_thread(*r, *pair)],
)
def test_two_streams_cost_one_record_and_one_wait(producer, consumer, p, c):
    p, c = raw.Stream(p), raw.Stream(c)
    with on_torch(p), cupy_stream(p):
        source = PRODUCERS[producer](p)
        warm_up(c)
        with makes(1, 1):
            use = CONSUMERS[consumer](source, c)
    assert use() == VALUES


@pytest.mark.parametrize(
    ("producer", "consumer", "kind"),
    [(*r, k) for r in DIRECT for k in KINDS if not carries_per_thread(*r, k, k)],
)
def test_one_stream_costs_no_event_and_no_wait(producer, consumer, kind):
    stream = raw.Stream(kind)
    with on_torch(stream), cupy_stream(stream):
        source = PRODUCERS[producer](stream)
        warm_up(stream)
        with makes(0, 0):
            use = CONSUMERS[consumer](source, stream)
            assert driver.calls("cuEventCreate") == driver.calls("cuEventQuery") == 0
    assert use() == VALUES


def warm_up(stream):
    """The first exchange opens the driver; that costs no event either, but calls."""
    db.asarray(torch_array([0], stream))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "per-thread"])
@pytest.mark.parametrize("producer", ["torch", "interface", "array"])
def test_an_array_on_the_same_stream_is_exported_without_an_event(producer, kind):
    stream = raw.Stream(kind)
    with on_torch(stream):
        source = PRODUCERS[producer](stream)
        with makes(0, 0):
            result = raw.consume(db.asarray(source), stream)
    assert result.use() == VALUES


def test_an_array_meets_a_per_thread_stream_on_a_stream_of_the_hub():
    x = torch_array(VALUES, raw.Stream("per-thread"))
    with on_torch(raw.Stream("per-thread")), makes(1, 1):
        a = db.asarray(x)
    assert a.__cuda_array_interface__["stream"] > 2
    assert raw.consume(a, raw.Stream()).use() == VALUES


@pytest.mark.parametrize(("p", "c"), [pair for pair in DIFFERENT if pair[0] != "per-thread"])
@pytest.mark.parametrize("producer", ["torch", "interface", "array"])
def test_an_array_is_exported_to_another_stream_with_one_record_and_one_wait(producer, p, c):
    p, c = raw.Stream(p), raw.Stream(c)
    with on_torch(p):
        source = PRODUCERS[producer](p)
        with makes(1, 1):
            result = raw.consume(db.asarray(source), c)
    assert result.use() == VALUES


# ---- numbers that a producer refuses ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["legacy", "blocking", "non-blocking"])
def test_a_refused_number_is_bridged_with_two_records_and_two_waits(kind):
    p, c = raw.Stream(kind), raw.Stream("per-thread")
    x = raw.array(VALUES, p, kind=raw.RefusesPerThread)
    warm_up(c)
    with makes(2, 2):
        y = db.to_torch(x, stream=c)
    assert use_on(y, c) == VALUES
    assert x.asked[-1]["stream"] > 2, "a meeting point of the hub's own"


def test_torch_is_never_asked_for_its_dlpack_method():
    p, c = raw.Stream(), raw.Stream("per-thread")
    x = torch_array(VALUES, p)
    with on_torch(p):
        y = raw.consume(db.asarray(x), c)
    assert y.use() == VALUES


# ---- JAX -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", KINDS)
def test_an_array_of_jax_is_defined_before_it_is_used(c):
    c = raw.Stream(c)
    x = jax.numpy.full(4, 0.0) + VALUES
    assert use_on(db.to_torch(x, stream=c, readonly="share"), c) == VALUES
    assert raw.consume(db.asarray(x), c).use() == VALUES
    assert driver.host_waits() == 0


INTO_JAX = {
    "from_dlpack": lambda x: jax.dlpack.from_dlpack(db.asarray(x)),
    "convert": lambda x: db.convert(x, jax),
}


@pytest.mark.parametrize("p", KINDS)
@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize("how", INTO_JAX)
def test_jax_imports_an_array_of_the_hub(how, producer, p):
    p = raw.Stream(p)
    with on_torch(p), cupy_stream(p):
        x = PRODUCERS[producer](p)
        y = INTO_JAX[how](x)
        assert driver.host_waits() == 0
    z = y + 1
    del x, y
    assert z.tolist() == [2, 3, 4, 5]


# ---- CuPy, numba and the exchange table as consumers ----------------------------------------------


@pytest.mark.parametrize(("p", "c"), PAIRS)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_cupy_imports_an_array_of_the_hub(producer, p, c):
    p, c = raw.Stream(p), raw.Stream(c)
    with on_torch(p), cupy_stream(p):
        x = db.asarray(PRODUCERS[producer](p))
    with cupy_stream(c):
        y = cupy.from_dlpack(x)
        assert driver.host_waits() == 0
        assert y.use().tolist() == VALUES


@pytest.mark.parametrize("p", KINDS)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_who_reads_the_interface_of_an_array_waits_for_the_stream_that_it_names(producer, p):
    p = raw.Stream(p)
    with on_torch(p), cupy_stream(p):
        x = db.asarray(PRODUCERS[producer](p))
    y = numba.cuda.as_cuda_array(x)
    assert y.read(raw.Stream().handle).tolist() == VALUES


@pytest.mark.parametrize("p", KINDS)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_the_stream_of_the_exchange_table_is_one_that_arrays_are_ordered_on(producer, p):
    p = raw.Stream(p)
    with on_torch(p), cupy_stream(p):
        x = db.asarray(PRODUCERS[producer](p))
    table = db.Array.__dlpack_c_exchange_api__
    handle = lab.api_stream(table, 2, 0)
    taken = lab.api_export(table, x)
    array = raw.model.DeviceArray.over(
        taken,
        {
            "address": taken.fields()["data"],
            "shape": (4,),
            "strides": None,
            "dlpack_dtype": (2, 32, 1),
            "dlpack_device": (2, 0),
        },
        None,
    )
    assert array.read(handle).tolist() == VALUES
    db.record_stream(x, handle or 1)
    taken.release()


# ---- devices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("producer", PRODUCERS)
def test_the_device_of_the_array_is_made_current_and_put_back(producer):
    p, c = raw.Stream(device=1), raw.Stream(device=1)
    with cupy.cuda.Device(1), cupy_stream(p):
        source = PRODUCERS[producer](p)
    torch.cuda.set_stream(torch_stream(p))
    torch.cuda.set_device(0)
    before = driver.current_context()
    if producer != "cupy":
        assert use_on(db.to_torch(source, stream=c), c) == VALUES
    assert db.asarray(source).device == "cuda:1"
    assert driver.current_context() == before


def test_cupy_is_asked_with_its_own_device_current():
    with cupy.cuda.Device(1):
        side = cupy.cuda.Stream(non_blocking=True)
        with side:
            x = cupy.full(4, VALUES)
            c = raw.Stream(device=1)
            with cupy.cuda.Device(0):
                y = db.to_torch(x, stream=c)
    assert use_on(y, c) == VALUES


# ---- identity -----------------------------------------------------------------------------------------


def test_identity_with_a_stream_is_ordered_after_the_producers_current_stream():
    p, c = raw.Stream(), raw.Stream()
    x = torch_array(VALUES, p)
    with on_torch(p), makes(1, 1):
        assert db.to_torch(x, stream=c) is x
    assert use_on(x, c) == VALUES


def test_identity_without_a_stream_orders_nothing():
    p = raw.Stream()
    x = torch_array(VALUES, p)
    with on_torch(p), makes(0, 0):
        assert db.to_torch(x) is x
    a = db.asarray(x)
    with makes(0, 0):
        assert db.asarray(a) is a


def test_identity_of_an_array_with_a_stream_is_ordered():
    p, c = raw.Stream(), raw.Stream()
    with on_torch(p):
        a = db.asarray(torch_array(VALUES, p))
        with makes(1, 1):
            assert db.asarray(a, stream=c) is a
    assert raw.Result(cuda_lab.take(a.__dlpack__(stream=-1)), c).use() == VALUES
    db.record_stream(a, c)


# ---- held arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("producer", ["torch", "protocol"])
def test_a_held_array_sees_what_its_source_wrote_since(producer):
    p, c = raw.Stream(), raw.Stream()
    with on_torch(p):
        source = PRODUCERS[producer](p)
        a = db.asarray(source)
        source.add_(1) if producer == "torch" else source.add(1)
        result = raw.consume(a, c)
        assert driver.host_waits() == 0
    assert result.use() == [2, 3, 4, 5]


def test_a_held_array_sees_what_was_written_on_its_import_stream():
    p, c, d = raw.Stream(), raw.Stream(), raw.Stream()
    source = raw.array(VALUES, p)
    a = db.asarray(source, stream=c)
    mine = raw.consume(a, c)
    mine.add(1)
    assert raw.consume(a, d).use() == [2, 3, 4, 5]


def test_an_array_whose_source_is_gone_keeps_its_order():
    p, c = raw.Stream(), raw.Stream()
    with on_torch(p):
        a = db.asarray(torch_array(VALUES, p))
    assert raw.consume(a, c).use() == VALUES


# ---- producers that cannot be ordered ----------------------------------------------------------------


def test_a_producer_without_the_keyword_is_refused():
    x = raw.array(VALUES, raw.Stream(), kind=raw.WithoutStream)
    for attempt in (lambda: db.asarray(x), lambda: db.to_torch(x), lambda: db.to_numpy(x)):
        with pytest.raises(db.ExchangeError) as caught:
            attempt()
        assert [reason.code for reason in caught.value.blockers] == ["stream"]
        assert "-1" in str(caught.value)
    assert db.plan(x, "torch").action == "refuse"


def test_a_producer_without_the_keyword_is_taken_when_the_caller_orders():
    p = raw.Stream()
    x = raw.array(VALUES, p, kind=raw.WithoutStream)
    with makes(0, 0):
        y = db.to_torch(x, stream=-1)
    assert use_on(y, p) == VALUES
    c = raw.Stream()
    with races():
        use_on(y, c)
    driver.run(0)


def test_a_producer_that_ignores_the_stream_is_not_believed_to_be_ordered():
    x = raw.array(VALUES, raw.Stream(), kind=raw.IgnoresStream)
    c = raw.Stream()
    y = db.to_torch(x, stream=c)
    with races():  # nobody can order it; the plan says unknown
        use_on(y, c)
    assert [producer for _, producer in db.plan(x, "torch", stream=c).waits] == ["unknown"]


def test_minus_one_orders_nothing():
    p, c = raw.Stream(), raw.Stream()
    for source in (torch_array(VALUES, p), raw.array(VALUES, p), from_interface(p)):
        with on_torch(p), makes(0, 0):
            y = db.to_torch(source, stream=-1)
        with races():
            use_on(y, c)
        del y


def test_numba_on_its_default_stream_says_that_there_is_nothing_to_wait_for():
    x = numba.cuda.to_device(VALUES)
    with makes(0, 0):
        y = db.to_torch(x, stream=raw.Stream())
    assert use_on(y, raw.Stream("legacy")) == VALUES


def test_torch_streams_and_raw_streams_are_the_same_streams():
    p = raw.Stream()
    x = torch_array(VALUES, p)
    with on_torch(p), makes(0, 0):
        db.to_torch(x, stream=torch_stream(p))
