"""Devices: the host by every name, pinned memory, and labels that no adapter serves."""

import copy as copy_module
import ctypes

import dlpack_lab as lab
import isolated
import numpy as np
import pytest
import torch
from checks import address, codes, live, plan_of, refuses
from producers import OnDevice, Producer, Table13, export

import dlpack_bridge as db

PINNED = (3, 0)


@pytest.mark.parametrize("device", ["cpu", (1, 0), torch.device("cpu"), None])
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_the_host_by_every_name(device, to):
    a = np.arange(3.0)
    assert address(db.convert(a, to, device=device)) == address(a)
    assert plan_of(a, to, device=device, copy=False).action == "share"


PINNED_SOURCES = {
    "capsule": lambda e: e.capsule(),
    "producer": lambda e: OnDevice(PINNED, e),
    "exchange table": Table13,
}


@pytest.mark.parametrize("source", PINNED_SOURCES)
def test_pinned_memory_is_host_memory_for_numpy_and_torch(source):
    made = export(device=PINNED)
    for to in ("numpy", "torch"):
        result = db.convert(PINNED_SOURCES[source](made), to)
        assert address(result) == made.address
        assert result.tolist() == [0, 1, 2, 3, 4, 5]
        del result
    assert made.exports == made.deleter_calls == 2


@pytest.mark.parametrize("source", PINNED_SOURCES)
def test_an_array_keeps_the_label_of_pinned_memory(source):
    made = export(device=PINNED)
    array = db.asarray(PINNED_SOURCES[source](made))
    assert array.device == PINNED and array.device != "cpu"
    assert array.__dlpack_device__() == PINNED
    assert lab.read(array.__dlpack__(max_version=(1, 3)))["device"] == PINNED
    assert lab.api_borrow(db.Array.__dlpack_c_exchange_api__, array)["device"] == PINNED
    assert address(db.to_numpy(array)) == made.address
    assert address(db.to_torch(array, device="cpu")) == made.address


def test_pinned_memory_can_be_asked_for_by_name():
    array = db.asarray(export(device=PINNED).capsule(), device="cuda_host")
    assert array.device == PINNED
    assert db.asarray(array, device="cuda_host") is array


def test_pinned_memory_is_converted_and_copied_like_host_memory():
    made = export(device=PINNED)
    assert db.to_torch(made.capsule(), dtype="float64").tolist() == [0, 1, 2, 3, 4, 5]
    assert db.to_numpy(made.capsule(), copy=True).tolist() == [0, 1, 2, 3, 4, 5]
    assert made.deleter_calls == 2


@pytest.mark.parametrize("device", [(type_, 0) for type_ in (4, 7, 8, 9, 12, 15, 16, 17, 18)])
def test_memory_without_an_adapter_is_held_and_described_but_not_converted(device):
    made = lab.Export(0x1000, (2, 3), (3, 1), device=device)
    array = db.asarray(made.capsule())
    assert array.device == device and array.__dlpack_device__() == device
    assert (array.shape, array.strides, array.dtype) == ((2, 3), (3, 1), "float32")
    info = db.info(array)
    assert info.device == device and tuple(info.shape) == (2, 3)
    for to in ("numpy", "torch"):
        assert "device" in codes(plan_of(array, to).blockers)
        for copy in (None, True, False):
            with pytest.raises(db.ExchangeError) as caught:
                db.convert(array, to, copy=copy)
            assert not isinstance(caught.value, db.CopyRequiredError)
            assert str(array.device) in str(caught.value)
    fields = lab.read(array.__dlpack__(max_version=(1, 3)))
    assert fields["device"] == device and fields["data"] == 0x1000
    del array
    assert made.deleter_calls == 1


@pytest.mark.parametrize("device", [(2, 0), (2, 1), (13, 0)])
@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_cuda_labels_are_described_and_refused_naming_the_device(device, to):
    def attempt():
        made = lab.Export(0x10, (3,), device=device)
        assert db.info(made.capsule()).device == device
        before = live()
        with pytest.raises((db.ExchangeError, db.CudaError)) as caught:
            db.convert(made.capsule(), to)
        plan = db.plan(made.capsule(), to)
        return str(caught.value), plan.action, live() - before, made.exports - made.deleter_calls

    text, action, alive, unreleased = isolated.forked(attempt)
    assert "cuda" in text
    assert (action, alive, unreleased) == ("refuse", 0, 0)


MISSING = ["cuda:63", (2, 63), torch.device("cuda", 63)]
if not torch.cuda.is_available():
    MISSING += ["cuda", "cuda:0", (2, 0), torch.device("cuda"), torch.device("cuda", 0)]


@pytest.mark.parametrize("device", MISSING)
def test_a_gpu_that_is_not_there_is_refused_by_name(device):
    a = np.zeros(3)
    with pytest.raises((db.ExchangeError, db.CudaError), match="cuda"):
        db.to_torch(a, device=device)
    with pytest.raises((db.ExchangeError, db.CudaError)):
        db.asarray(a, device=device)
    assert plan_of(a, "torch", device=device).action == "refuse"


def test_numpy_lives_on_the_host_only():
    assert plan_of(np.zeros(3), "numpy", device="cuda").action == "refuse"
    with pytest.raises((db.ExchangeError, db.CudaError)):
        db.convert(np.zeros(3), "numpy", device="cuda")


def test_a_device_of_its_own_for_every_producer():
    assert db.asarray(Producer(export(device=(1, 0)))).device == "cpu"
    metal = lab.Export(0x10, (3,), device=(8, 2))
    assert db.asarray(OnDevice((8, 2), metal)).device == (8, 2)


def test_metal_memory_is_opaque():
    made = lab.Export(0x10, (3,), device=(8, 0), byte_offset=32)
    fields = lab.read(db.asarray(made.capsule()).__dlpack__(max_version=(1, 3)))
    assert (fields["data"], fields["byte_offset"]) == (0x10, 32)


def test_a_cuda_error_has_a_name_and_a_code():
    try:
        db.to_torch(np.zeros(3), device="cuda:63")
    except db.CudaError as error:
        assert error.name.startswith("CUDA_ERROR") and isinstance(error.code, int)
    except db.ExchangeError as error:
        assert codes(error.blockers) & {"driver", "device"}


def driver_answers():
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False


without_driver = pytest.mark.skipif(driver_answers(), reason="a CUDA driver answers here")


def pinned_array(columns=3):
    """Two axes in Fortran order, labelled as pinned memory."""
    made = export(np.arange(4.0 * columns), shape=(4, columns), strides=(1, 4), device=PINNED)
    return db.asarray(made.capsule())


PINNED_COPIES = {
    "copy=True": lambda array: db.asarray(array, copy=True),
    "copy=True on the host": lambda array: db.asarray(array, copy=True, device="cpu"),
    "order": lambda array: db.asarray(array, order="C"),
    "dtype": lambda array: db.asarray(array, dtype="float64"),
    "deepcopy": copy_module.deepcopy,
    "export": lambda array: db.from_dlpack(array.__dlpack__(copy=True, max_version=(1, 3))),
    "from_dlpack": lambda array: db.from_dlpack(array, copy=True),
}


@without_driver
@pytest.mark.parametrize("way", PINNED_COPIES)
def test_a_copy_of_pinned_memory_is_host_memory_where_there_is_no_driver(way):
    array = pinned_array()
    assert array.device == PINNED
    result = PINNED_COPIES[way](array)
    assert result.device == "cpu" and result.c_contiguous and not result.readonly
    assert not db.shares_memory(result, array)
    assert db.to_numpy(result).tolist() == db.to_numpy(array).tolist()
    assert db.to_numpy(result)[1, 2] == 9


@without_driver
@pytest.mark.parametrize("way", ["copy=True", "deepcopy", "dtype", "export"])
def test_a_copy_of_empty_pinned_memory_is_host_memory_too(way):
    result = PINNED_COPIES[way](pinned_array(0))
    assert result.device == "cpu" and result.shape == (4, 0)


@without_driver
@pytest.mark.parametrize(
    "make, keywords",
    [
        (lambda: np.zeros(3), {}),
        (lambda: np.zeros((3, 0)), {}),
        (lambda: torch.zeros(3), {}),
        (pinned_array, {"copy": True}),
        (pinned_array, {"order": "C"}),
        (pinned_array, {"dtype": "float64"}),
    ],
)
def test_pinned_memory_is_not_made_without_a_driver(make, keywords):
    with pytest.raises(db.CudaError) as caught:
        db.asarray(make(), device="cuda_host", **keywords)
    assert caught.value.name.startswith("CUDA_ERROR") and isinstance(caught.value.code, int)
    plan = plan_of(make(), "array", device="cuda_host", **keywords)
    assert codes(plan.blockers) == {"driver"}


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_the_id_of_a_cpu_means_nothing(to):
    a = np.arange(3.0)
    assert address(db.convert(a, to, device=(1, 5))) == a.ctypes.data
    assert db.asarray(a, device=(1, 5)).device == "cpu"


@pytest.mark.parametrize("told", [(2**32 + 1, 0), (1, 2**40), (2**70, 0), (1,), "cpu", (1.5, 0)])
def test_a_device_that_is_none_is_the_producers_error(told):
    producer = Producer()
    producer.__class__ = type("Announcing", (Producer,), {"__dlpack_device__": lambda self: told})
    with refuses("producer"):
        db.to_numpy(producer)
