"""The models without the hub: they race where the libraries do (research of streams, 1 and 3)."""

import cuda.core
import cuda_lab
import cupy
import device_model
import fake_driver as driver
import jax
import numba.cuda
import pytest
import raw_cuda as raw
import torch
from cuda_checks import makes, on_torch, races, torch_array, torch_stream, use_on


def on_side_stream(device=0):
    return raw.Stream("non-blocking", device)


# ---- ordered in ----------------------------------------------------------------------------------


def test_a_bare_export_of_torch_orders_nothing():
    side, other = on_side_stream(), on_side_stream()
    x = torch_array([1, 2, 3], side)
    with on_torch(side), makes(0, 0):
        result = raw.Result(cuda_lab.take(x.__dlpack__()), other)
    with races():
        result.use()


def test_torch_orders_its_current_stream_after_the_consumers_number():
    side, other = on_side_stream(), on_side_stream()
    x = torch_array([1, 2, 3], side)
    with on_torch(side), makes(1, 1):
        result = raw.consume(x, other)
    assert result.use() == [1, 2, 3]


def test_torch_does_not_know_which_stream_wrote_a_tensor():
    side, current, other = on_side_stream(), on_side_stream(), on_side_stream()
    x = torch_array([1, 2, 3], side)
    with on_torch(current):
        result = raw.consume(x, other)
    with races():
        result.use()


def test_torch_exports_from_its_current_device_only():
    x = torch.full(3, 1.0, device="cuda:1")
    with pytest.raises(BufferError, match="different CUDA device"):
        x.__dlpack__(stream=1)
    with torch.cuda.device(1):
        x.__dlpack__(stream=1)


@pytest.mark.parametrize(
    ("number", "error"),
    [(2, BufferError), (0, AssertionError), ("1", TypeError), (True, TypeError)],
)
def test_torch_refuses_numbers(number, error):
    x = torch.full(3, 1.0, device="cuda")
    with pytest.raises(error):
        x.__dlpack__(stream=number)


def test_torch_passes_its_current_stream_as_a_consumer():
    side, other = on_side_stream(), on_side_stream()
    x = raw.array([1, 2, 3], side)
    with on_torch(other):
        y = torch.from_dlpack(x)
        assert y.use().tolist() == [1, 2, 3]
    y = torch.from_dlpack(x)
    assert y.use().tolist() == [1, 2, 3]
    assert [asked["stream"] for asked in x.asked] == [other.handle, 1]


def test_torch_and_cupy_exchange_on_their_current_streams():
    side = on_side_stream()
    with on_torch(side):
        x = torch.arange(4, device="cuda")
        with cupy.cuda.Stream():
            y = cupy.from_dlpack(x)
            y += 1
            assert y.tolist() == [1, 2, 3, 4]


def test_cupy_records_on_the_current_device_whatever_the_array_is_on():
    with cupy.cuda.Device(1), cupy.cuda.Stream(non_blocking=True):
        x = cupy.full(3, 1.0)
        with cupy.cuda.Device(0), races():
            raw.consume(x, on_side_stream(1)).use()
        raw.consume(x, on_side_stream(1)).use()


def test_jax_knows_when_an_array_is_defined():
    x = jax.numpy.full(3, 1.0) + 1
    assert raw.consume(x, on_side_stream(), max_version=None).use() == [2, 2, 2]
    with makes(0, 0, host_waits=1):
        x.__dlpack__()


def test_minus_one_is_a_finding_of_jax():
    jax.numpy.full(3, 1.0).__dlpack__(stream=-1)
    assert len(device_model.findings) == 1
    device_model.findings.clear()


def test_jax_names_a_stream_on_which_it_does_not_compute():
    x = raw.array([1, 2, 3], on_side_stream())
    y = jax.dlpack.from_dlpack(x)
    assert x.asked[0]["stream"] != jax._array.compute_stream(0)
    assert (y + 1).tolist() == [2, 3, 4]


def test_a_cuda_array_interface_orders_nothing_by_itself():
    side, other = numba.cuda.stream(), on_side_stream()
    x = numba.cuda.to_device([1, 2, 3], side)
    assert x.__cuda_array_interface__["stream"] == int(side)
    y = numba.cuda.as_cuda_array(x, sync=False)
    with races():
        y.read(other.handle)
    with makes(0, 0, host_waits=1):
        y = numba.cuda.as_cuda_array(x)
    y.read(other.handle)


def test_numba_says_nothing_of_its_default_stream():
    x = numba.cuda.to_device([1, 2, 3])
    assert x.__cuda_array_interface__["stream"] is None
    with races():
        numba.cuda.as_cuda_array(x).read(on_side_stream().handle)


def test_cuda_core_ignores_the_stream():
    device = cuda.core.Device(0)
    stream = device.create_stream()
    x = device.allocate(4, stream=stream)
    x.fill(7, stream=stream)
    with makes(0, 0):
        result = raw.consume(x, on_side_stream())
    with races():
        result.use()


# ---- released ------------------------------------------------------------------------------------

POOLS = {
    "torch": lambda stream: torch_array([1, 2, 3], stream),
    "raw": lambda stream: raw.array([1, 2, 3], stream),
}


@pytest.mark.parametrize("library", POOLS)
def test_a_pool_hands_a_block_out_while_a_consumer_still_reads_it(library):
    side, other = on_side_stream(), on_side_stream()
    x = POOLS[library](side)
    with on_torch(side):
        result = raw.consume(x, other)
    result.use()
    block = x.storage.block
    del x, result
    with races():
        again = POOLS[library](side)
        assert again.storage.block is block


def test_record_stream_keeps_a_block_of_torch_until_the_use_has_run():
    side, other = on_side_stream(), on_side_stream()
    x = torch_array([1, 2, 3], side)
    block = x.storage.block
    with on_torch(side):
        result = raw.consume(x, other)
    result.use()
    x.record_stream(torch_stream(other))
    assert torch.pool.recorded == 1
    del x, result
    assert torch_array([4, 5, 6], side).storage.block is not block
    driver.run(0)
    torch.pool.process_events()
    blocks = [torch_array([4, 5, 6], side).storage.block for _ in range(2)]
    assert block in blocks


def test_record_stream_does_nothing_for_imported_memory():
    side, other = on_side_stream(), on_side_stream()
    x = raw.array([1, 2, 3], side)
    with on_torch(other):
        y = torch.from_dlpack(x)
        y.use()
        y.record_stream(torch.cuda.current_stream())
    assert torch.pool.recorded == 0
    del x, y
    with races():
        raw.array([4, 5, 6], side)


def test_cupy_frees_on_the_stream_that_was_current_at_the_allocation():
    with cupy.cuda.Stream(non_blocking=True) as stream:
        x = cupy.full(3, 1.0)
    result = raw.consume(x, on_side_stream())
    with races():
        result.use()  # the null stream was current at the export
    del x, result
    with races(), stream:
        cupy.full(3, 2.0)


@pytest.mark.parametrize("waits", [True, False])
def test_jax_gives_an_import_back_after_its_uses_or_not(waits):
    side = on_side_stream()
    with jax._array.release_waits_for_uses(waits):
        x = raw.array([1, 2, 3], side)
        y = jax.dlpack.from_dlpack(x)
        z = y + 1
        del x, y
        if waits:
            raw.array([4, 5, 6], side)
            assert raw.pools[raw.CUDA].in_use == 1
        else:
            with races():
                raw.array([4, 5, 6], side)
        assert z.tolist() == [2, 3, 4]


# ---- captures, values, the host -------------------------------------------------------------------


def test_torch_captures_and_defers_its_events():
    side, other = on_side_stream(), on_side_stream()
    x = torch_array([1, 2, 3], side)
    with on_torch(side):
        result = raw.consume(x, other)
    result.use()
    x.record_stream(torch_stream(other))
    with torch.cuda.graph():
        del x, result
        assert torch.cuda.is_current_stream_capturing()
        torch.pool.process_events()
        assert torch.pool.waiting[0][2] is None
    assert not torch.cuda.is_current_stream_capturing()
    torch.pool.process_events()
    assert torch.pool.waiting[0][2] is not None


def test_values_survive_strides_and_devices():
    x = cupy.arange(6)[::-2]
    assert x.tolist() == [5, 3, 1]
    with torch.cuda.device(1):
        y = torch.arange(3, device="cuda", dtype=torch.int16)
    assert (y.device, y.tolist()) == (torch.device("cuda", 1), [0, 1, 2])
    assert torch.full((2, 2), 3).tolist() == [[3, 3], [3, 3]]


def test_the_host_races_with_work_that_it_has_not_waited_for():
    x = raw.array([1, 2, 3], on_side_stream())
    with races():
        device_model.read_on_host(x)
    assert x.tolist() == [1, 2, 3]
    assert use_on(torch.from_dlpack(x), on_side_stream()) == [1, 2, 3]
