"""C++ functions on device memory: their arguments come with a stream that is ordered after the
producer's work, and what they wrote and returned is ordered for the caller."""

import caster_build
import fake_driver as driver
import numpy as np
import pytest
import raw_cuda as raw
import torch
from cuda_checks import KINDS, makes, on_torch, races, torch_array, use_on

import dlpack_bridge as db

lab = caster_build.module()

VALUES = [1, 2, 3, 4]


def kernel(seen, writes):
    """A kernel on the stream that the function was given."""
    address, nbytes = seen["address"], 4 * int(np.prod(seen["shape"]))
    driver.work(0, seen["stream"], [(address, nbytes, writes)])


def write(seen):
    kernel(seen, writes=1)
    return seen


def read(seen):
    kernel(seen, writes=0)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_comes_with_torchs_own_stream(kind):
    stream = raw.Stream(kind)
    x = torch_array(VALUES, stream)
    with on_torch(stream):
        db.asarray(torch_array([0], stream))  # opens the driver
        with makes(0, 0):
            seen = lab.run_on_gpu(x, write)
    assert seen["stream"] == stream.handle
    assert seen["device"] == "cuda:0" and seen["shape"] == (4,)
    use_on(x, stream)  # later work of the caller comes after the kernel


def test_work_on_another_stream_would_race():
    x = torch_array(VALUES, raw.Stream())
    with races():
        lab.run_on_gpu(x, lambda seen: write({**seen, "stream": raw.Stream().handle}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [raw.Array, raw.WithInterface])
def test_the_work_of_other_producers_comes_first(make, kind):
    x = raw.array(VALUES, raw.Stream(kind), kind=make)
    assert lab.read_on_gpu(x, read)["stream"] > 0
    assert driver.host_waits() == 0


@pytest.mark.parametrize("kind", ["legacy", "blocking", "per-thread"])
def test_what_a_function_writes_is_seen_by_a_producer_that_does_not_know_the_stream(kind):
    x = raw.array(VALUES, raw.Stream(kind))
    lab.run_on_gpu(x, write)
    x.add(1)
    assert driver.host_waits() == 0


def test_a_function_that_only_reads_orders_nothing_afterwards():
    x = raw.array(VALUES, raw.Stream("legacy"))
    lab.read_on_gpu(x, read)
    # The producer orders its work when it is asked, and an event guards the release.
    with makes(2, 1):
        lab.read_on_gpu(x, read)
    with makes(3, 2):
        lab.run_on_gpu(x, write)


def test_a_producer_on_a_stream_that_waits_for_nobody_has_to_wait_itself():
    x = raw.array(VALUES, raw.Stream("non-blocking"))
    with races():
        lab.run_on_gpu(x, write)
        x.add(1)


def test_an_array_comes_with_the_stream_it_carries():
    stream = raw.Stream()
    x = db.asarray(torch_array(VALUES, stream), stream=stream)
    seen = lab.run_on_gpu(x, write)
    assert seen["stream"] == stream.handle
    assert raw.consume(x, raw.Stream()).use() == VALUES


def test_a_function_may_fail_after_it_has_written():
    x = raw.array(VALUES, raw.Stream("legacy"))

    def fail(seen):
        write(seen)
        raise ValueError("after the kernel")

    with pytest.raises(ValueError, match="after the kernel"):
        lab.run_on_gpu(x, fail)
    x.add(1)


# ---- results -------------------------------------------------------------------------------------


def fill_second(first, second):
    driver.work(0, second["stream"], [(first["address"], 16, 0), (second["address"], 16, 1)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_like_a_tensor_is_a_tensor_on_torchs_stream(kind):
    stream = raw.Stream(kind)
    x = torch_array(VALUES, stream)
    with on_torch(stream):
        result = lab.result_on_gpu(x, fill_second)
    assert type(result) is torch.Tensor
    use_on(result, stream)


def test_a_result_is_ordered_for_any_consumer():
    x = db.asarray(raw.array(VALUES, raw.Stream()), stream=raw.Stream())
    result = lab.result_on_gpu(x, fill_second)
    assert type(result) is db.Array
    raw.consume(result, raw.Stream()).use()
    assert driver.host_waits() == 0


# ---- other places --------------------------------------------------------------------------------


def test_device_memory_is_refused_where_the_cpu_reads():
    x = torch_array(VALUES, raw.Stream())
    with pytest.raises(TypeError, match="device: expected memory that the CPU reads, found cuda:0"):
        lab.sum(x)
    assert driver.host_waits() == 0


def test_a_conversion_brings_it_to_the_host():
    stream = raw.Stream()
    x = torch_array(VALUES, stream)
    with on_torch(stream):
        assert lab.copied_to_host(x) == 10
    assert driver.host_waits() == 1


def test_managed_memory_is_read_when_its_writers_have_finished():
    x = raw.array(VALUES, raw.Stream(), memory=raw.CUDA_MANAGED)
    assert lab.sum(x) == 10


def test_overloads_by_device():
    assert lab.device_of(torch_array(VALUES, raw.Stream())) == "cuda"
    assert lab.device_of(np.ones(2, "float32")) == "cpu"
