"""`db.Array`: its attributes, its text, and that it is a plain holder of memory."""

import copy
import gc
import weakref

import numpy as np
import pytest
import samples
import torch
from checks import address, assert_same_elements
from producers import export

import dlpack_bridge as db


def test_attributes():
    a = np.arange(12, dtype="f4").reshape(3, 4).T[1:]
    array = db.asarray(a)
    assert array.shape == (3, 3) and type(array.shape) is tuple
    assert array.strides == (1, 4) and type(array.strides) is tuple
    assert array.ndim == 2
    assert array.size == 9
    assert array.itemsize == 4
    assert array.nbytes == 36
    assert array.dtype == "float32"
    assert array.device == "cpu"
    assert array.readonly is False
    assert array.data_ptr == address(a)
    assert array.c_contiguous is False
    assert array.copied is False


@pytest.mark.parametrize("layout", {**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES})
def test_contiguity_is_what_numpy_says(layout):
    a = {**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES}[layout]()
    array = db.asarray(a)
    assert array.c_contiguous is a.flags.c_contiguous
    assert (array.shape, array.size, array.ndim) == (a.shape, a.size, a.ndim)
    assert array.nbytes == a.nbytes


def test_strides_are_counted_in_elements_and_may_be_negative():
    assert db.asarray(np.zeros((2, 3), "f8")).strides == (3, 1)
    assert db.asarray(np.zeros(6, "i2")[::-2]).strides == (-2,)
    assert db.asarray(np.broadcast_to(1.0, (2, 3))).strides == (0, 0)


@pytest.mark.parametrize(
    "name",
    [
        "shape",
        "strides",
        "ndim",
        "size",
        "dtype",
        "device",
        "readonly",
        "data_ptr",
        "copied",
        "c_contiguous",
    ],
)
def test_attributes_cannot_be_set(name):
    array = db.asarray(np.zeros(3))
    with pytest.raises((AttributeError, TypeError)):
        setattr(array, name, None)


def test_len_is_the_first_extent():
    assert len(db.asarray(np.zeros((3, 4)))) == 3
    assert len(db.asarray(np.zeros((0, 4)))) == 0
    with pytest.raises(TypeError):
        len(db.asarray(np.array(1.0)))


def test_repr_says_what_it_is():
    text = repr(db.asarray(np.zeros((2, 3), dtype="f4")))
    for word in ("Array", "float32", "2, 3", "cpu"):
        assert word in text
    assert len(repr(db.asarray(np.zeros(10**6)))) < 1000


def test_repr_of_memory_that_cannot_be_read():
    array = db.asarray(export(device=(8, 0)).capsule())
    assert "Array" in repr(array) and "float32" in repr(array)


def test_deepcopy_is_fresh_memory():
    a = np.arange(6.0)
    array = db.asarray(a)
    duplicate = copy.deepcopy(array)
    assert type(duplicate) is db.Array
    assert duplicate.data_ptr != array.data_ptr
    assert_same_elements(duplicate, a)
    a[0] = 9
    assert db.to_numpy(duplicate)[0] == 0
    assert not duplicate.readonly


@pytest.mark.parametrize("layout", {**samples.PLAIN_LAYOUTS, **samples.OVERLAPPING})
def test_deepcopy_of_any_layout(layout):
    a = {**samples.PLAIN_LAYOUTS, **samples.OVERLAPPING}[layout]()
    assert_same_elements(copy.deepcopy(db.asarray(a)), a)


def test_deepcopy_of_a_container_keeps_sharing_within_it():
    array = db.asarray(np.arange(3.0))
    first, second = copy.deepcopy([array, array])
    assert first is second and first is not array


def test_deepcopy_of_types_that_numpy_lacks():
    t = torch.arange(4).to(torch.float8_e5m2)
    assert_same_elements(db.to_torch(copy.deepcopy(db.asarray(t))), t)


def test_an_array_keeps_its_source_alive_and_no_longer():
    class Memory(np.ndarray):
        pass

    a = np.arange(6.0).view(Memory)
    gone = weakref.ref(a)
    array = db.asarray(a)
    del a
    gc.collect()
    assert gone() is not None
    assert db.to_numpy(array).tolist() == [0, 1, 2, 3, 4, 5]
    del array
    assert gone() is None


def test_arrays_in_cycles_are_collected():
    class Memory(np.ndarray):
        pass

    a = np.arange(6.0).view(Memory)
    gone = weakref.ref(a)
    cycle = [db.asarray(a)]
    cycle.append(cycle)
    del a, cycle
    gc.collect()
    assert gone() is None


def test_arrays_are_not_iterated_by_accident():
    array = db.asarray(np.arange(3.0))
    assert np.asarray(array).dtype == np.float64
    assert np.asarray(array).shape == (3,)
    assert np.asarray([array, array]).dtype == np.float64


def test_an_array_of_an_array_shares():
    array = db.asarray(np.arange(3.0))
    assert db.to_numpy(array).base is not None
    assert db.asarray(db.to_torch(array)).data_ptr == array.data_ptr


@pytest.mark.parametrize("kwargs", [{}, {"shape": (3,)}])
def test_arrays_are_made_by_asarray_only(kwargs):
    with pytest.raises(TypeError):
        db.Array(**kwargs)
