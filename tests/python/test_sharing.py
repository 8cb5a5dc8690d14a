"""The main road: the same memory on both sides, the same elements, writes seen by everybody."""

import numpy as np
import pytest
import samples
import torch
from checks import address, assert_same_elements, is_writable, live, plan_of

import dlpack_bridge as db

NUMPY_TARGETS = ["torch", "array"]
TORCH_TARGETS = ["numpy", "array"]


def test_numpy_to_torch_is_the_same_memory():
    a = np.eye(3)
    t = db.to_torch(a)
    assert type(t) is torch.Tensor
    assert t.dtype is torch.float64
    assert t.data_ptr() == address(a)
    a[0, 1] = 5.0
    assert t[0, 1] == 5.0
    t[2, 0] = 7.0
    assert a[2, 0] == 7.0


def test_torch_to_numpy_is_the_same_memory():
    t = torch.eye(3)
    a = db.to_numpy(t)
    assert type(a) is np.ndarray
    assert a.dtype == np.float32
    assert address(a) == t.data_ptr()
    assert a.flags.writeable
    a[1, 2] = 4.0
    assert t[1, 2] == 4.0


def test_an_array_of_the_hub_is_the_same_memory():
    a = np.arange(6.0)
    array = db.asarray(a)
    assert type(array) is db.Array
    assert array.data_ptr == address(a)
    assert not array.copied
    assert address(db.to_numpy(array)) == address(a)
    assert address(db.to_torch(array)) == address(a)


@pytest.mark.parametrize("to", NUMPY_TARGETS)
@pytest.mark.parametrize("layout", samples.PLAIN_LAYOUTS)
def test_positive_strides_are_shared(layout, to):
    a = samples.PLAIN_LAYOUTS[layout]()
    result = db.convert(a, to)
    assert plan_of(a, to).action == "share"
    assert address(result) == address(a)
    assert_same_elements(result, a)
    assert is_writable(result)


@pytest.mark.parametrize("layout", samples.PLAIN_LAYOUTS)
@pytest.mark.parametrize("to", TORCH_TARGETS)
def test_positive_strides_of_tensors_are_shared(layout, to):
    t = torch.from_numpy(samples.PLAIN_LAYOUTS[layout]())
    result = db.convert(t, to)
    assert address(result) == address(t)
    assert_same_elements(result, t)
    assert is_writable(result)


@pytest.mark.parametrize("layout", samples.PLAIN_LAYOUTS)
def test_strides_arrive_unchanged_where_they_mean_something(layout):
    a = samples.PLAIN_LAYOUTS[layout]()
    if 1 in a.shape or a.size == 0:
        return
    expected = tuple(stride // a.itemsize for stride in a.strides)
    assert db.to_torch(a).stride() == expected
    assert db.asarray(a).strides == expected
    assert db.to_numpy(db.asarray(a)).strides == a.strides


def test_a_round_trip_through_every_target_keeps_the_address():
    a = np.arange(24.0).reshape(2, 3, 4)
    there = db.to_torch(db.asarray(db.to_torch(a)))
    back = db.to_numpy(db.asarray(db.to_numpy(there)))
    assert address(back) == address(a)
    assert_same_elements(back, a)


def test_a_result_outlives_its_source():
    a = np.arange(1000.0)
    t = db.to_torch(a)
    del a
    assert torch.equal(t, torch.arange(1000.0, dtype=torch.float64))
    n = db.to_numpy(torch.arange(1000))
    assert n.sum() == 499500


def test_views_of_a_result_keep_the_memory():
    view = db.to_torch(np.arange(1000.0))[10:20]
    assert view.tolist() == list(range(10, 20))
    window = db.to_numpy(torch.arange(1000))[::100]
    assert window.tolist() == list(range(0, 1000, 100))


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_one_managed_tensor_per_exchange(to):
    source = torch.arange(6.0) if to == "numpy" else np.arange(6.0)
    for keywords in ({}, {"copy": True}, {"dtype": "float16"}):
        before = live()
        result = db.convert(source, to, **keywords)
        assert live() == before + 1, keywords
        del result
        assert live() == before, keywords


@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_one_managed_tensor_for_what_leaves_the_hub(to):
    array = db.asarray(np.arange(6.0))
    before = live()
    result = db.convert(array, to)
    assert live() == before + 1
    del result
    assert live() == before


def test_targets_are_named_in_three_ways():
    a, t = np.arange(3.0), torch.arange(3.0)
    for target in ("torch", torch, torch.Tensor):
        assert type(db.convert(a, target)) is torch.Tensor
    for target in ("numpy", np, np.ndarray):
        assert type(db.convert(t, target)) is np.ndarray
    for target in ("array", db.Array):
        assert type(db.convert(a, target)) is db.Array


def test_from_dlpack_makes_an_array():
    a = np.arange(3.0)
    array = db.from_dlpack(a)
    assert type(array) is db.Array
    assert array.data_ptr == address(a)
    assert db.from_dlpack(a, copy=True).data_ptr != address(a)
    assert db.from_dlpack(a, device="cpu", copy=False).data_ptr == address(a)


def test_results_are_ordinary_objects_of_their_framework():
    a, t = db.to_numpy(torch.arange(4.0)), db.to_torch(np.arange(4.0))
    assert not a.flags.owndata
    assert t.is_leaf and not t.requires_grad
    t.requires_grad_(True)
    (t * t).sum().backward()
    assert t.grad.tolist() == [0.0, 2.0, 4.0, 6.0]


def test_results_go_on_into_torch_and_numpy_by_their_own_means():
    a = db.to_numpy(torch.arange(4.0))
    assert torch.from_numpy(a).data_ptr() == address(a)
    t = db.to_torch(np.arange(4.0))
    assert address(t.numpy()) == t.data_ptr()


def test_the_default_device_and_dtype_of_torch_do_not_move_a_result():
    a = np.arange(6.0)
    with torch.device("meta"):
        shared, copied = db.to_torch(a), db.to_torch(a, copy=True)
        converted = db.to_torch(a, dtype="float32")
    assert shared.device.type == copied.device.type == converted.device.type == "cpu"
    assert converted.tolist() == a.tolist()
