"""`device=`: copies between host, devices, pinned and managed memory, with every value checked."""

import cuda_lab
import device_model
import dlpack_lab as lab
import fake_driver as driver
import numpy as np
import pytest
import raw_cuda as raw
import torch
from cuda_checks import KINDS, codes, on_torch, torch_array, use_on

import dlpack_bridge as db

DEVICES = ["cpu", "cuda", "cuda:1", "cuda_host", "cuda_managed"]
VALUES = [[1, 2, 3], [4, 5, 6]]


def host_values(array):
    """The elements of any hub array, read as its consumer on the host may."""
    result = db.to_numpy(array)
    driver.host_access(result.ctypes.data, result.nbytes, 0)
    return result.tolist()


@pytest.mark.parametrize("there", DEVICES)
@pytest.mark.parametrize("here", DEVICES)
def test_from_everywhere_to_everywhere(here, there):
    a = db.asarray(np.array(VALUES, "float32"), device=here)
    b = db.asarray(a, device=there)
    names = {"cuda": "cuda:0"}
    assert b.device == names.get(there, there)
    assert host_values(b) == VALUES
    if b.data_ptr != a.data_ptr:
        assert b.copied


@pytest.mark.parametrize("there", DEVICES[1:])
def test_a_move_has_the_reason_device(there):
    a = np.array(VALUES, "float32")
    plan = db.plan(a, "array", device=there)
    assert (plan.action, codes(plan.reasons), plan.nbytes) == ("copy", {"device"}, a.nbytes)
    with pytest.raises(db.CopyRequiredError):
        db.asarray(a, device=there, copy=False)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_is_made_on_a_device_in_the_order_of_its_stream(device, kind):
    index = 1 if device.endswith("1") else 0
    c = raw.Stream(kind, index)
    a = np.array(VALUES, "float32")
    y = db.to_torch(a, device=device, stream=c)
    a[:] = 0  # pageable memory has been read on return
    assert str(y.device) == f"cuda:{index}"
    assert use_on(y, c) == VALUES
    with on_torch(c):
        x = db.to_torch(a, device=device)
        assert x.use().tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_tensor_of_the_other_device():
    p, c = raw.Stream(device=0), raw.Stream(device=1)
    x = torch_array(VALUES, p)
    with on_torch(p):
        y = db.to_torch(x, device="cuda:1", stream=c)
        assert db.plan(x, "torch", device="cuda:1").reasons[0].code == "device"
        x.add_(1)  # after the hub's read
    assert driver.host_waits() == 0
    assert use_on(y, c) == VALUES
    del x
    torch_array(VALUES, p)


def test_pinned_memory_as_a_source_is_released_after_the_copy():
    """An asynchronous copy from pinned memory still reads it on return."""
    c = raw.Stream()
    x = raw.array(VALUES, raw.Stream(), memory=raw.CUDA_HOST)
    y = db.to_torch(x, device="cuda", stream=c)
    del x
    raw.array(VALUES, raw.Stream(), memory=raw.CUDA_HOST)
    assert use_on(y, c) == VALUES


def test_a_pinned_tensor_is_host_memory():
    x = torch.full(3, 7.0, pin_memory=True)
    assert db.to_numpy(x).tolist() == [7, 7, 7]
    assert db.to_numpy(x).ctypes.data == x.data_ptr()


@pytest.mark.parametrize("device", DEVICES)
def test_strides_offsets_and_types(device):
    base = np.arange(24, dtype="int16").reshape(4, 6)
    for view in (base.T, base[::2, ::-1], base[1:, 2:4], base[:0], base[2, 3]):
        a = db.asarray(view, device=device, copy=True)
        assert host_values(a) == view.tolist()
    a = db.asarray(base, device=device)
    assert host_values(db.asarray(a, dtype="float64")) == base.tolist()


def test_a_strided_array_of_a_device_comes_to_the_host():
    p = raw.Stream()
    x = raw.array(np.arange(12).reshape(3, 4), p)
    transposed = x.view_of(0, (4, 3), (1, 4))
    transposed.writer, transposed.asked = p, []
    assert db.to_numpy(transposed).tolist() == np.arange(12).reshape(3, 4).T.tolist()


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_strided_array_is_gathered_on_its_device(device):
    base = np.arange(12, dtype="float32").reshape(3, 4)
    a = db.asarray(base, device=device)
    c = raw.Stream(device=a.device.id)
    owned = cuda_lab.take(a.__dlpack__(stream=c.handle, max_version=(1, 3)))
    x = raw.Array.over(owned, owned.fields, None)
    t = x.view_of(0, (4, 3), (1, 4))
    t.writer, t.asked, t.dlpack_dtype = c, [], (2, 32, 1)
    y = db.to_torch(t, dtype="int32", order="C", stream=c)
    assert use_on(y, c) == base.T.tolist()
    del x, t, owned, y


def test_without_a_device_data_stays_where_it_is():
    x = torch_array(VALUES, raw.Stream("legacy"))
    assert db.asarray(x).device == "cuda:0"
    assert db.to_torch(db.asarray(x)).is_cuda
    plan = db.plan(x, "numpy")
    assert (plan.action, codes(plan.reasons)) == ("copy", {"device"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [torch_array, raw.array])
def test_a_host_result_is_complete_on_return(kind, make):
    p = raw.Stream(kind)
    with on_torch(p):
        n = db.to_numpy(make(VALUES, p))
        t = db.to_torch(make(VALUES, p), device="cpu")
    driver.host_access(n.ctypes.data, n.nbytes, 0)
    driver.host_access(t.data_ptr(), t.nbytes, 0)
    assert n.tolist() == t.tolist() == VALUES


def test_a_device_that_is_not_there():
    a = np.zeros(3)
    for device in ("cuda:7", (2, 7)):
        assert db.plan(a, "torch", device=device).action == "refuse"
        with pytest.raises((db.ExchangeError, db.CudaError), match="cuda"):
            db.asarray(a, device=device)


def test_a_copy_on_a_device_wakes_no_other_device():
    a = db.asarray(np.zeros(3), device="cuda:0")
    raw.consume(a, raw.Stream("legacy")).use()
    assert driver.live("contexts") == 1


def test_dl_device_of_the_array_api():
    a = db.from_dlpack(torch_array(VALUES, raw.Stream("legacy")), device="cpu")
    assert a.device == "cpu" and host_values(a) == VALUES
    fields = lab.read(a.__dlpack__(max_version=(1, 3)))
    assert fields["device"] == (1, 0)
    assert device_model.CPU == 1
