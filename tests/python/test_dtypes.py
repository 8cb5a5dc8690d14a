"""Every element type: shared where the target has it, refused by name where it has not."""

import ctypes

import isolated
import ml_dtypes
import numpy as np
import pytest
import samples
import torch
import torch_states
from checks import address, assert_same_elements, codes, plan_of, refuses

import dlpack_bridge as db


@pytest.mark.parametrize("dtype", samples.COMMON_DTYPES)
def test_numpy_and_torch_share_every_common_type(dtype):
    a = samples.numpy_values(dtype)
    t = db.to_torch(a)
    assert t.dtype is getattr(torch, dtype)
    assert address(t) == address(a)
    assert_same_elements(t, a)
    back = db.to_numpy(t)
    assert back.dtype == a.dtype
    assert address(back) == address(a)
    assert_same_elements(back, a)


@pytest.mark.parametrize("dtype", samples.COMMON_DTYPES)
def test_arrays_of_the_hub_carry_every_common_type(dtype):
    code, bits = samples.COMMON_DTYPES[dtype]
    for source in (samples.numpy_values(dtype), samples.torch_values(dtype)):
        array = db.asarray(source)
        assert array.dtype == dtype
        assert (array.dtype.code, array.dtype.bits, array.dtype.lanes) == (code, bits, 1)
        assert array.itemsize == array.dtype.itemsize == bits // 8
        assert_same_elements(db.to_numpy(array), source)
        assert_same_elements(db.to_torch(array), source)


@pytest.mark.parametrize("dtype", samples.SMALL_FLOATS)
def test_small_floats_are_shared_as_their_ml_dtypes_type(dtype):
    t = samples.torch_values(dtype)
    a = db.to_numpy(t)
    assert a.dtype == np.dtype(getattr(ml_dtypes, dtype))
    assert address(a) == address(t)
    assert_same_elements(a, t)
    back = db.to_torch(a)
    assert back.dtype is t.dtype
    assert address(back) == address(t)


@pytest.mark.parametrize("dtype", {**samples.SMALL_FLOATS, **samples.ONLY_ML_DTYPES})
def test_arrays_of_the_hub_carry_small_floats(dtype):
    code, bits = {**samples.SMALL_FLOATS, **samples.ONLY_ML_DTYPES}[dtype]
    a = np.ones((2, 3)).astype(getattr(ml_dtypes, dtype))
    array = db.asarray(a)
    assert (array.dtype.code, array.dtype.bits, array.dtype.lanes) == (code, bits, 1)
    assert array.dtype == dtype
    assert array.data_ptr == address(a)
    back = db.to_numpy(array)
    assert back.dtype == a.dtype
    assert address(back) == address(a)


@pytest.mark.parametrize("dtype", samples.ONLY_ML_DTYPES)
def test_a_type_that_torch_lacks_is_refused_with_a_wider_one_that_works(dtype):
    a = np.ones(3).astype(getattr(ml_dtypes, dtype))
    with refuses("dtype", says=[dtype, "torch", "dtype="]):
        db.to_torch(a)
    assert db.to_torch(a, dtype="float32").tolist() == [1.0, 1.0, 1.0]


def test_half_complex_to_numpy_names_the_wider_type_that_works():
    t = torch_states.half_complex()
    with refuses("dtype", says=["complex32", "complex64", "numpy"]):
        db.to_numpy(t)
    assert db.to_numpy(t, dtype="complex64").tolist() == [1 + 2j, 3 - 4j]
    assert db.to_torch(db.asarray(t)).dtype is torch.complex32


def test_bool_is_bool_both_ways_and_never_uint8():
    a = np.array([True, False, True])
    t = db.to_torch(a)
    assert t.dtype is torch.bool
    t[1] = True
    assert a.all()
    assert db.to_numpy(torch.tensor([False])).dtype == np.bool_


@pytest.mark.parametrize("dtype", ["int32", "int16", "int8", "uint8"])
def test_integers_keep_their_type(dtype):
    assert db.to_torch(np.array([1, 2, 3], dtype=dtype)).dtype is getattr(torch, dtype)
    assert db.to_numpy(torch.tensor([1, 2], dtype=getattr(torch, dtype))).dtype == dtype


@pytest.mark.parametrize("alias", ["longlong", "long", "intc", "ulonglong", "ulong", "uintc"])
def test_c_names_of_one_size_are_one_type(alias):
    a = np.array([1, 2, 3], dtype=alias)
    expected = f"{'uint' if alias.startswith('u') else 'int'}{a.itemsize * 8}"
    t = db.to_torch(a)
    assert t.dtype is getattr(torch, expected)
    assert address(t) == address(a)
    assert db.asarray(a).dtype == expected


@pytest.mark.parametrize("name", samples.refused_numpy())
@pytest.mark.parametrize("to", ["torch", "array"])
def test_what_dlpack_cannot_say_is_refused_naming_the_exact_type(name, to):
    a = samples.refused_numpy()[name]
    with refuses("dtype", says=[name]):
        db.convert(a, to)
    assert codes(plan_of(a, to).blockers) == {"dtype"}


def test_an_object_array_is_called_probably_ragged():
    with refuses("dtype", says=["object", "ragged"]):
        db.to_torch(samples.refused_numpy()["object"])


def test_extended_precision_is_refused_by_name():
    a = np.zeros(3, dtype=np.longdouble)
    if a.itemsize == 8:
        return
    with refuses("dtype", says=[a.dtype.name]):
        db.to_torch(a)


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("kind", ["int", "uint"])
@pytest.mark.parametrize("to", ["numpy", "array"])
def test_narrow_integers_of_torch_are_refused_because_their_width_is_lost(kind, bits, to):
    t = torch.zeros(4, dtype=torch.uint8).view(getattr(torch, f"{kind}{bits}"))
    with refuses("dtype", says=[f"{kind}{bits}"]):
        db.convert(t, to)


def test_bits8_of_torch_is_refused():
    with refuses():
        db.to_numpy(torch.zeros(4, dtype=torch.uint8).view(torch.bits8))


def test_native_byte_order_written_out_is_native():
    a = np.arange(3, dtype="=i4")
    written = np.arange(3, dtype="<i4") if a.dtype == np.dtype("<i4") else np.arange(3, dtype=">i4")
    assert address(db.to_torch(written)) == address(written)


@pytest.mark.parametrize(
    "dtype", ["i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
)
@pytest.mark.parametrize("to", ["torch", "array"])
def test_foreign_byte_order_becomes_a_native_copy(dtype, to):
    foreign = np.dtype(dtype).newbyteorder("S")
    a = np.array([[0, 1, 2], [3, 100, 258 if dtype != "f2" else 5]]).astype(foreign)
    plan = plan_of(a, to)
    assert (plan.action, codes(plan.reasons), plan.nbytes) == ("copy", {"byte_order"}, a.nbytes)
    result = db.to_numpy(db.convert(a, to))
    assert result.dtype.isnative
    assert result.tolist() == a.tolist()
    with refuses("byte_order", kind=db.CopyRequiredError):
        db.convert(a, to, copy=False)


@pytest.mark.parametrize("dtype", ["i1", "u1", "?"])
def test_single_bytes_have_no_byte_order(dtype):
    a = np.array([0, 1, 1]).astype(np.dtype(dtype).newbyteorder("S"))
    assert address(db.to_torch(a)) == address(a)


def test_foreign_byte_order_of_a_buffer_is_copied_too():
    class Swapped(ctypes.BigEndianStructure):
        _fields_ = [("value", ctypes.c_int32)]

    def attempt():
        big = (ctypes.c_int32.__ctype_be__ * 3)(1, 2, 3)
        with refuses("dtype"):
            db.to_numpy((Swapped * 2)())
        return db.to_numpy(big).tolist(), db.asarray(big).copied

    assert isolated.forked(attempt) == ([1, 2, 3], True)
