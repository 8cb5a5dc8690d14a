"""In and out: what a consumer does after a conversion sees what the producer had enqueued before, for
every producer, consumer and pair of stream kinds; the host is not blocked."""

import time

import frameworks
import gpulab
import numpy as np
import pytest
import torch
from frameworks import CONSUMERS, COUNT, GOOD, PRODUCERS, on, on_torch
from gpulab import PAIRS, Latch, Memory, Stream, quick

import dlpack_bridge as db


def hand_over(producer, consumer, p, c, gate, stream):
    """The producer's write is held up, the consumer's read is enqueued; where it will be found."""
    maker, out = PRODUCERS[producer](), Memory(COUNT)
    x = maker.make(p)
    out.fill(0.0, c)
    c.wait()
    gate.hold(p)
    maker.write(x, GOOD, p)
    with quick():
        CONSUMERS[consumer](x, p, c, stream)(out)
    return out, maker, x


@pytest.mark.parametrize(("p", "c"), PAIRS)
@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_a_consumer_sees_what_its_producer_had_enqueued(producer, consumer, p, c):
    p, c = Stream(p), Stream(c)
    with Latch() as gate:
        out, *_ = hand_over(producer, consumer, p, c, gate, stream=c)
        assert c.busy, "the consumer's read did not wait for the producer"
        gate.open()
        assert (out.read(c) == GOOD).all()


@pytest.mark.parametrize(("p", "c"), PAIRS)
@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_the_same_with_minus_one_races(producer, consumer, p, c):
    """The negative control: what would happen if the hub ordered nothing."""
    p, c = Stream(p), Stream(c)
    if p.is_ordered_with(c):
        p, c = Stream(), Stream()  # the driver itself orders the others
    with Latch() as gate:
        out, *_keep = hand_over(producer, consumer, p, c, gate, stream=-1)
        seen = out.read(c)  # while the producer is still held up
        gate.open()
        p.wait()
    assert np.isnan(seen).all(), "the test cannot see a race"


@pytest.mark.parametrize("producer", PRODUCERS)
def test_identity_with_a_stream_and_held_arrays_are_ordered_too(producer):
    p, c = Stream(), Stream()
    maker, out = PRODUCERS[producer](), Memory(COUNT)
    x = maker.make(p)
    with on(p):
        held = db.asarray(x)
    with Latch() as gate:
        gate.hold(p)
        maker.write(x, GOOD, p)  # after the import
        with on(p):
            capsule = held.__dlpack__(stream=c.handle, max_version=(1, 3))
        gpulab.copy(out, held.data_ptr, c)
        gate.open()
        assert (out.read(c) == GOOD).all()
    del capsule


def test_jax_as_a_producer_is_ordered_and_the_host_does_not_wait():
    jax = frameworks.installed("jax")
    slow = slow_function(jax)
    start = jax.device_put(np.full(COUNT, GOOD, np.float32), jax.devices("gpu")[0])
    slow(start).block_until_ready()
    began = time.perf_counter()
    slow(start).block_until_ready()
    whole = time.perf_counter() - began
    out, c = Memory(COUNT), Stream()
    out.fill(0.0, c)
    c.wait()
    began = time.perf_counter()
    y = slow(start)
    z = db.to_torch(y, stream=c, readonly="share")
    gpulab.copy(out, z.data_ptr(), c)
    took, was_busy = time.perf_counter() - began, c.busy
    assert (out.read(c) == GOOD).all()
    gpulab.note(
        "JAX as a producer",
        f"computation {whole * 1e3:.1f} ms, exchange returned after {took * 1e3:.1f} ms, "
        f"consumer stream {'busy' if was_busy else 'idle'} then",
    )
    assert took < whole / 2, "the host waited for JAX"


def slow_function(jax):
    """A computation of some 100 ms whose last step writes its argument, unchanged, to the result."""
    jnp = jax.numpy

    @jax.jit
    def run(x):
        def step(_, m):
            return jnp.tanh(m @ m) * 0.5

        m = jax.lax.fori_loop(0, 60, step, jnp.full((4096, 4096), 0.001, jnp.float32))
        return jnp.where(m[0, 0] > 1e30, 0.0, x)

    return run


@pytest.mark.parametrize("kind", gpulab.KINDS)
def test_jax_as_a_consumer_sees_what_was_enqueued(kind):
    jax = frameworks.installed("jax")
    p = Stream(kind)
    maker = frameworks.TorchProducer()
    x = maker.make(p)
    warm = jax.dlpack.from_dlpack(db.asarray(torch.ones(COUNT, device="cuda")))
    (warm * 2).block_until_ready()
    with Latch() as gate:
        gate.hold(p)
        maker.write(x, GOOD, p)
        with on_torch(p), quick():
            y = jax.dlpack.from_dlpack(db.asarray(x))
        doubled = y * 2
        gate.open()
        assert (np.asarray(doubled) == GOOD * 2).all()


@pytest.mark.parametrize(("p", "c"), PAIRS)
def test_readers_of_the_array_interface_are_told_the_stream(p, c):
    cupy = frameworks.installed("cupy")
    p, c = Stream(p), Stream(c)
    maker = frameworks.TorchProducer()
    x, out = maker.make(p), Memory(COUNT)
    maker.write(x, GOOD, p)
    with on(p):
        a = db.asarray(x)
    interface = a.__cuda_array_interface__
    assert interface["version"] == 3
    if p.kind != "per-thread":  # which means another stream on the reader's thread
        assert interface["stream"] == p.handle
    with frameworks.on_cupy(c):
        y = cupy.asarray(a)  # CuPy waits on the host here
        frameworks.read_cupy(y, c)(out)
    db.record_stream(a, c)
    assert (out.read(c) == GOOD).all()


@pytest.mark.parametrize(("p", "c"), PAIRS)
def test_plans_name_the_streams(p, c):
    p, c = Stream(p), Stream(c)
    x = frameworks.TorchProducer().make(p)
    with on_torch(p):
        plan = db.plan(x, "array", stream=c)
        traced = db.trace()
        with traced as t:
            db.asarray(x, stream=c)
    expected = () if p.handle == c.handle else ((c.handle, p.handle),)
    assert plan.waits == expected
    assert t.records[0].waits == expected


def test_results_on_the_host_are_complete_and_the_gil_is_free_while_waiting():
    import threading

    p = Stream()
    maker = frameworks.TorchProducer()
    x = maker.make(p)
    with on_torch(p):
        db.to_numpy(x)  # makes what is made lazily
    with Latch() as gate:
        gate.hold(p)
        maker.write(x, GOOD, p)
        opener = threading.Timer(0.2, gate.open)  # needs the GIL
        began = time.perf_counter()
        opener.start()
        with on_torch(p):
            y = db.to_numpy(x)
        took = time.perf_counter() - began
        opener.join()
    assert (y == GOOD).all()
    assert took > 0.1


def test_managed_memory_shared_with_the_host_is_complete():
    p = Stream()
    x = Memory(COUNT, "managed", stream=p)
    x.fill(GOOD, p)
    y = db.to_numpy(x)
    assert (y == GOOD).all()
    p.wait()
