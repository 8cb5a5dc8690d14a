"""Values: every device= conversion, element types and layouts on the device, both interfaces."""

import frameworks
import gpulab
import numpy as np
import pytest
import torch
from gpulab import Memory, Stream

import dlpack_bridge as db

DEVICES = ["cpu", "cuda", "cuda_host", "cuda_managed"]


def on_device(values, device):
    """An Array of the hub there."""
    return db.asarray(values, device=device, copy=True)


@pytest.mark.parametrize("to", DEVICES)
@pytest.mark.parametrize("source", DEVICES)
def test_every_device_is_reached_from_every_other(source, to):
    values = np.arange(120, dtype=np.float32).reshape(8, 15)
    x = on_device(values, source)
    y = db.asarray(x, device=to)
    assert y.device.name.partition(":")[0] == to
    np.testing.assert_array_equal(db.to_numpy(y), values)
    copied = db.asarray(x, device=to, copy=True)
    assert not db.shares_memory(x, copied)
    np.testing.assert_array_equal(db.to_numpy(copied), values)


@pytest.mark.parametrize("to", DEVICES)
def test_every_device_is_reached_from_torch_and_back(to):
    x = torch.arange(120, dtype=torch.int64, device="cuda").reshape(8, 15).t()
    y = db.asarray(x, device=to)
    back = db.to_torch(y, device="cuda")
    assert back.device.type == "cuda" and torch.equal(back, x)


def test_pinned_memory_is_shared_with_numpy():
    x = torch.arange(100, dtype=torch.float32).pin_memory()
    y = db.to_numpy(x)
    assert y.ctypes.data == x.data_ptr()
    np.testing.assert_array_equal(y, np.arange(100))


def test_a_list_of_layouts_is_copied_as_torch_does():
    base = torch.arange(7 * 11 * 13, dtype=torch.float32, device="cuda").reshape(7, 11, 13)
    for view in (
        base,
        base[1:, ::2, 3:],
        base.permute(2, 0, 1),
        base.transpose(0, 2)[::3],
        base[0].expand(5, 11, 13),
        base[:, :, 0],
    ):
        y = db.to_torch(view, copy=True)
        assert y.is_contiguous() and torch.equal(y, view)
        np.testing.assert_array_equal(db.to_numpy(view), view.cpu().numpy())


TYPES = [
    torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.float16,
    torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
]  # fmt: skip


@pytest.mark.parametrize("to", TYPES, ids=str)
@pytest.mark.parametrize("source", TYPES, ids=str)
def test_element_types_convert_as_torch_does(source, to):
    values = torch.tensor([0, 1, 2, 3, 17, 100, 127], device="cuda")
    x = values.to(source)
    y = db.to_torch(x, dtype=to)
    assert y.dtype == to and y.device == x.device
    expected = x.real.to(to) if x.is_complex() and not to.is_complex else x.to(to)
    assert torch.equal(y, expected)


def test_conjugate_and_negative_bits_are_resolved_on_the_device():
    x = torch.tensor([1 + 2j, 3 - 4j], device="cuda")
    assert torch.equal(db.to_torch(db.asarray(x.conj())), x.conj().resolve_conj())
    assert torch.equal(db.to_torch(db.asarray(x.conj().imag)), x.conj().imag.resolve_neg())


def test_the_array_interface_goes_both_ways():
    cupy = frameworks.installed("cupy")
    x = cupy.arange(24, dtype=cupy.float32).reshape(4, 6)[:, ::2]
    a = db.asarray(Interface(x))
    assert a.device == "cuda:0" and a.data_ptr == x.data.ptr
    np.testing.assert_array_equal(db.to_numpy(a), x.get())
    back = cupy.asarray(Interface(a))
    assert back.data.ptr == x.data.ptr
    cupy.testing.assert_array_equal(back, x)
    db.record_stream(a, 1)


class Interface:
    def __init__(self, array):
        self.array = array

    @property
    def __cuda_array_interface__(self):
        return self.array.__cuda_array_interface__


@pytest.mark.parametrize("kind", ["managed", "pooled"])
def test_the_driver_tells_the_kind_of_memory(kind):
    s = Stream()
    x = Memory(1000, kind, stream=s)
    x.fill(3.0, s)
    a = db.asarray(x)
    assert a.device.type == (13 if kind == "managed" else 2)
    assert (db.to_numpy(a) == 3.0).all()


def test_what_the_hub_says_about_device_memory():
    x = torch.zeros(3, 4, device="cuda")
    seen = db.info(x)
    assert seen.framework == "torch" and seen.device == "cuda:0"
    assert db.shares_memory(x, x[1:]) and not db.shares_memory(x, torch.zeros(3, 4, device="cuda"))
    with pytest.raises(db.ExchangeError):
        db.asarray(x).memoryview()
    with pytest.raises(db.ExchangeError):
        np.asarray(db.asarray(x))


def test_a_stream_of_the_wrong_kind_is_refused():
    x = torch.zeros(3, device="cuda")
    for number in (0, -2):
        with pytest.raises(db.ExchangeError) as caught:
            db.asarray(x, stream=number)
        assert [reason.code for reason in caught.value.blockers] == ["stream"]
    with pytest.raises(TypeError):
        db.asarray(x, stream=True)


def test_exchanges_with_two_devices():
    if gpulab.lab.lab_device_count() < 2:
        pytest.skip("needs two GPUs")
    x = torch.arange(1000, device="cuda:1")
    y = db.to_torch(x, device="cuda:0")
    assert y.device.index == 0 and torch.equal(y.cpu(), x.cpu())
    assert torch.cuda.current_device() == 0
