"""Strides: which are shared, which are copied and why, which are rewritten."""

import dlpack_lab as lab
import numpy as np
import pytest
import samples
import torch
from checks import (
    address,
    assert_same_elements,
    codes,
    is_writable,
    needs_copy,
    plan_of,
    refuses,
    settle,
)
from producers import export

import dlpack_bridge as db


@pytest.mark.parametrize("layout", samples.NEGATIVE_STRIDES)
@pytest.mark.parametrize("to", ["numpy", "array"])
def test_negative_strides_are_shared_where_they_can_be_said(layout, to):
    a = samples.NEGATIVE_STRIDES[layout][0]()
    result = db.convert(db.asarray(a), to)
    assert address(result) == address(a)
    assert_same_elements(result, a)
    assert is_writable(result)


@pytest.mark.parametrize("layout", samples.NEGATIVE_STRIDES)
def test_negative_strides_are_copied_for_torch_naming_the_axis(layout):
    make, axis = samples.NEGATIVE_STRIDES[layout]
    a = make()
    plan = plan_of(a, "torch")
    assert (plan.action, codes(plan.reasons), plan.nbytes) == (
        "copy",
        {"negative_stride"},
        a.nbytes,
    )
    assert str(axis) in plan.reasons[0].message
    t = db.to_torch(a)
    assert_same_elements(t, a)
    assert t.is_contiguous()
    with needs_copy("negative_stride", says=[str(axis), "copy=None"]):
        db.to_torch(a, copy=False)


@pytest.mark.parametrize("layout", samples.MEANINGLESS_STRIDES)
@pytest.mark.parametrize("to", ["torch", "array", "numpy"])
def test_strides_that_mean_nothing_are_ignored(layout, to):
    a = samples.MEANINGLESS_STRIDES[layout]()
    source = db.asarray(a) if to == "numpy" else a
    assert plan_of(source, to, copy=False).action == "share"
    result = db.convert(source, to, copy=False)
    assert_same_elements(result, a)
    if a.size and to != "numpy":
        assert address(result) == address(a)


@pytest.mark.parametrize("layout", samples.MEANINGLESS_STRIDES)
def test_strides_that_mean_nothing_look_contiguous(layout):
    a = samples.MEANINGLESS_STRIDES[layout]()
    assert db.to_torch(a).is_contiguous()
    array = db.asarray(a)
    assert array.c_contiguous
    exported = lab.read(array.__dlpack__(max_version=(1, 3)))["strides"]
    canonical = np.empty(a.shape, a.dtype)
    if a.size:
        assert exported == tuple(s // a.itemsize for s in canonical.strides)
    else:
        assert all(stride >= 0 for stride in exported)
    assert db.to_numpy(array).flags.c_contiguous


def test_contiguity_can_be_demanded_of_strides_that_mean_nothing():
    a = samples.base()[:1][::-1]
    assert address(db.to_torch(a, order="C", copy=False)) == address(a)


def test_an_empty_field_of_records_counts_as_dense():
    """Its strides in bytes are no multiples of the element, and mean nothing."""
    a = np.zeros((1, 2), "i4,f8")["f1"][:0]
    assert a.strides == (24, 12) and a.flags.c_contiguous
    assert db.to_numpy(a, order="C") is a
    assert db.info(a).strides == (2, 1)


def test_size_one_axes_between_others_do_not_force_a_copy():
    a = np.arange(12.0).reshape(3, 1, 4)[:, ::-1]
    t = db.to_torch(a, copy=False)
    assert address(t) == address(a)
    assert t.shape == (3, 1, 4)
    t = db.to_torch(np.arange(12.0)[::3][:1], copy=False, order="C")
    assert t.tolist() == [0.0]


@pytest.mark.parametrize("layout", samples.OVERLAPPING)
def test_overlapping_elements_are_shared_read_only(layout):
    a = samples.OVERLAPPING[layout]()
    array = db.asarray(a)
    assert array.readonly
    assert array.data_ptr == address(a)
    shared = db.to_numpy(array)
    assert not shared.flags.writeable
    assert address(shared) == address(a)
    assert_same_elements(shared, a)


@pytest.mark.parametrize("layout", samples.OVERLAPPING)
def test_overlapping_elements_are_copied_for_torch(layout):
    a = samples.OVERLAPPING[layout]()
    plan = plan_of(a, "torch")
    assert (plan.action, codes(plan.reasons)) == ("copy", {"readonly"})
    t = db.to_torch(a)
    assert_same_elements(t, a)
    assert address(t) != address(a)
    assert address(db.to_torch(a, readonly="share")) == address(a)


def test_an_expanded_tensor_is_read_only_in_numpy():
    t = torch.arange(3.0).expand(4, 3)
    a = db.to_numpy(t)
    assert address(a) == address(t)
    assert not a.flags.writeable
    assert_same_elements(a, t)


def test_windows_that_only_touch_are_writable():
    a = np.lib.stride_tricks.as_strided(np.arange(12.0), (3, 4), (32, 8))
    assert db.to_numpy(db.asarray(a)).flags.writeable
    interleaved = np.lib.stride_tricks.as_strided(np.arange(12.0), (2, 3), (8, 16))
    assert db.to_numpy(db.asarray(interleaved)).flags.writeable


def test_interleaved_rows_that_meet_are_read_only():
    meeting = np.lib.stride_tricks.as_strided(np.arange(12.0), (3, 3), (16, 16))
    assert db.asarray(meeting).readonly


def test_byte_strides_between_elements_are_copied():
    a = samples.packed_field()
    for to in ("torch", "array"):
        plan = plan_of(a, to)
        assert (plan.action, plan.nbytes) == ("copy", 24)
        assert "layout" in codes(plan.reasons)
        assert codes(plan.reasons) <= {"layout", "alignment"}
        assert_same_elements(db.convert(a, to), a)
        with needs_copy("layout"):
            db.convert(a, to, copy=False)


def test_byte_strides_of_an_aligned_array_are_copied_for_layout_alone():
    a = np.lib.stride_tricks.as_strided(np.arange(12.0), (3,), (12,))
    aligned = np.lib.stride_tricks.as_strided(np.arange(12, dtype="f8"), (2,), (12,))
    for array in (a, aligned):
        plan = plan_of(array, "torch")
        assert plan.action == "copy" and "layout" in codes(plan.reasons)
        assert_same_elements(db.to_torch(array), array)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("to", ["torch", "array"])
def test_misaligned_elements_are_copied(dtype, to):
    a = samples.misaligned(dtype)
    plan = plan_of(a, to)
    assert (plan.action, codes(plan.reasons)) == ("copy", {"alignment"})
    result = db.convert(a, to)
    assert_same_elements(result, a)
    assert address(result) % np.dtype(dtype).itemsize == 0
    with needs_copy("alignment"):
        db.convert(a, to, copy=False)


@pytest.mark.parametrize("dtype, offset", [("complex64", 4), ("complex128", 8), ("uint8", 1)])
def test_complex_numbers_align_like_their_real_part(dtype, offset):
    a = samples.misaligned(dtype, offset=offset)
    assert address(db.to_torch(a, copy=False)) == address(a)
    with needs_copy("alignment"):
        db.to_torch(samples.misaligned("complex128", offset=4), copy=False)


def test_misaligned_capsules_are_copied():
    source = export(misalign=2)
    array = db.asarray(source.capsule())
    assert array.copied and array.data_ptr % 4 == 0
    assert db.to_numpy(array).tolist() == [0, 1, 2, 3, 4, 5]
    assert source.deleter_calls == 1


def test_missing_strides_are_row_major():
    source = export(np.arange(6.0), "float64", shape=(2, 3))
    a = db.to_numpy(source.capsule())
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert address(a) == source.address
    array = db.asarray(source.capsule())
    assert array.strides == (3, 1)
    assert lab.read(array.__dlpack__(max_version=(1, 0)))["strides"] == (3, 1)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 1), (0,), (2, 0, 3)])
@pytest.mark.parametrize("max_version", [None, (1, 3)])
def test_exports_always_have_strides(shape, max_version):
    array = db.asarray(np.zeros(shape))
    assert lab.read(array.__dlpack__(max_version=max_version))["strides"] is not None


@pytest.mark.parametrize(
    "shape", [(), (1,), (6,), (2, 3), (1, 1), (3, 1, 2), (0,), (0, 3), (3, 0), (2, 0, 3)]
)
@pytest.mark.parametrize("copy", [False, True])
def test_a_dense_tensor_is_as_torch_makes_it(shape, copy):
    t, own = db.to_torch(np.zeros(shape, "f4"), copy=copy), torch.zeros(shape)
    assert (t.shape, t.stride(), t.storage_offset()) == (own.shape, own.stride(), 0)
    assert t.untyped_storage().nbytes() == own.untyped_storage().nbytes()
    assert t.is_contiguous()


@pytest.mark.parametrize("strides", [None, (1,)])
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_byte_offset_is_added(strides, to):
    source = export(np.arange(6, dtype="f4"), shape=(4,), strides=strides, byte_offset=8)
    result = db.convert(source.capsule(), to)
    assert address(result) == source.address + 8
    assert bytes(np.arange(2, 6, dtype="f4")) == db.to_numpy(result).tobytes()


def test_byte_offset_is_exported_as_zero():
    source = export(shape=(4,), byte_offset=8)
    fields = lab.read(db.asarray(source.capsule()).__dlpack__())
    assert fields["byte_offset"] == 0
    assert fields["data"] == source.address + 8


@pytest.mark.parametrize("null", [True, False])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_empty_arrays_keep_their_address_null_or_not(shape, null):
    source = lab.Export(None if null else b"some memory", shape)
    array = db.asarray(source.capsule())
    assert array.data_ptr == source.address
    assert array.shape == shape and array.size == 0 and array.nbytes == 0
    assert lab.read(array.__dlpack__())["data"] == source.address
    assert db.to_numpy(array).shape == shape
    assert tuple(db.to_torch(array).shape) == shape
    del array
    settle()
    assert source.deleter_calls == 1


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_zero_dimensions_with_null_shape_and_strides(to):
    source = lab.Export(np.array([7.5], "f4"), None, ndim=0)
    result = db.convert(source.capsule(), to)
    assert tuple(result.shape) == ()
    assert address(result) == source.address
    assert db.to_numpy(result).item() == 7.5


def test_zero_dimensions_go_round():
    for source in (np.array(3.0), torch.tensor(3.0)):
        array = db.asarray(source)
        assert (array.shape, array.strides, array.ndim, array.size) == ((), (), 0, 1)
        assert db.to_numpy(array).shape == () and db.to_torch(array).shape == ()
        assert address(db.to_torch(array)) == address(source)


def test_many_dimensions_are_exchanged():
    a = np.arange(2**12).reshape((2,) * 12)
    assert_same_elements(db.to_torch(a), a)
    assert_same_elements(db.to_torch(a[::-1, ..., ::-1]), a[::-1, ..., ::-1])
    assert_same_elements(db.to_numpy(db.to_torch(a).permute(*range(11, -1, -1))), a.T)


def test_a_copy_is_c_contiguous():
    a = samples.base().transpose(2, 0, 1)
    for to in ("numpy", "torch", "array"):
        result = db.to_numpy(db.convert(a, to, copy=True))
        assert result.flags.c_contiguous
        assert_same_elements(result, a)


def test_a_layout_no_target_can_say_is_refused_rather_than_misread():
    with refuses(kind=db.CopyRequiredError):
        db.to_torch(samples.packed_field(), copy=False)


def test_all_axes_with_negative_strides_are_named():
    a = np.zeros((2, 3, 4))
    assert "axis 1 has one" in plan_of(a[:, ::-1], "torch").reasons[0].message
    assert "axes 0, 2 have them" in plan_of(a[::-1, :, ::-1], "torch").reasons[0].message
