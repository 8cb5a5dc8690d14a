"""`db.dtype` and `Array.device`: equal to the names and to every framework's own objects."""

import ml_dtypes
import numpy as np
import pytest
import samples
import torch
from producers import export

import dlpack_bridge as db

ALL = {**samples.COMMON_DTYPES, **samples.SMALL_FLOATS, **samples.ONLY_ML_DTYPES}


@pytest.mark.parametrize("name", ALL)
def test_a_type_has_its_name_code_bits_lanes_and_size(name):
    dtype = db.dtype(name)
    assert dtype.name == name
    assert (dtype.code, dtype.bits, dtype.lanes) == (*ALL[name], 1)
    assert dtype.itemsize == ALL[name][1] // 8


@pytest.mark.parametrize("name", ALL)
def test_a_type_is_equal_to_its_name_and_hashes_like_it(name):
    dtype = db.dtype(name)
    assert dtype == name and name == dtype
    assert (dtype != name) is False
    assert hash(dtype) == hash(name)
    assert {dtype: 1}[name] == 1
    assert dtype == db.dtype(dtype) == db.dtype(name)


@pytest.mark.parametrize("name", samples.COMMON_DTYPES)
def test_a_type_is_equal_to_numpy_s(name):
    dtype = db.dtype(name)
    assert dtype == np.dtype(name)
    assert dtype == np.dtype(name).type
    assert db.dtype(np.dtype(name)) == db.dtype(np.dtype(name).type) == dtype
    assert (dtype == np.dtype("M8[s]")) is False


@pytest.mark.parametrize("name", {**samples.SMALL_FLOATS, **samples.ONLY_ML_DTYPES})
def test_a_type_is_equal_to_ml_dtypes_own(name):
    dtype = db.dtype(name)
    assert dtype == getattr(ml_dtypes, name)
    assert dtype == np.dtype(getattr(ml_dtypes, name))
    assert db.dtype(getattr(ml_dtypes, name)) == dtype


@pytest.mark.parametrize("name", {**samples.COMMON_DTYPES, **samples.SMALL_FLOATS})
def test_a_type_is_equal_to_torch_s(name):
    dtype = db.dtype(name)
    assert dtype == getattr(torch, name)
    assert getattr(torch, name) == dtype
    assert db.dtype(getattr(torch, name)) == dtype


def test_types_differ_from_each_other_and_from_everything_else():
    names = list(ALL)
    for first in names:
        assert [second for second in names if db.dtype(first) == second] == [first]
    for stranger in (None, 3, "no type", object(), (2, 32, 1.5), float("nan")):
        assert db.dtype("float32") != stranger


@pytest.mark.parametrize("wrong", ["float33", "", 3, None, [], object(), np.dtype("M8[s]")])
def test_what_is_no_type_is_refused(wrong):
    with pytest.raises((TypeError, ValueError)):
        db.dtype(wrong)


def test_the_text_of_a_type_names_it():
    assert "float32" in str(db.dtype("float32"))
    assert "bfloat16" in repr(db.dtype("bfloat16"))


def test_the_type_of_an_array():
    array = db.asarray(torch.zeros(3, dtype=torch.bfloat16))
    assert array.dtype == "bfloat16"
    assert array.dtype == torch.bfloat16
    assert array.dtype == ml_dtypes.bfloat16
    assert array.dtype.name == "bfloat16"


def test_the_host_is_cpu_and_1_0():
    device = db.asarray(np.zeros(3)).device
    assert device == "cpu" and "cpu" == device
    assert device == (1, 0) and (1, 0) == device
    assert device != "cuda" and device != "cuda:0" and device != (2, 0) and device != (1, 1)
    assert device == db.asarray(torch.zeros(3)).device
    assert hash(device) == hash(db.asarray(torch.zeros(3)).device)
    assert "cpu" in str(device)
    assert device != 3 and device != None


@pytest.mark.parametrize("label", [(3, 0), (4, 0), (8, 0), (8, 3), (10, 1), (17, 0)])
def test_other_devices_are_known_by_their_dlpack_tuple(label):
    device = db.asarray(export(device=label).capsule()).device
    assert device == label
    assert device != (label[0], label[1] + 1) and device != "cpu"


def test_a_device_can_be_handed_on_as_a_keyword():
    a = np.zeros(3)
    array = db.asarray(a)
    assert db.to_torch(a, device=array.device).data_ptr() == a.ctypes.data
