"""`Array.__dlpack_c_exchange_api__`: every pointer of the table, called from C."""

import ctypes

import dlpack_lab as lab
import isolated
import numpy as np
import pytest
import samples
from checks import live, refuses
from producers import export

import dlpack_bridge as db

TABLE = db.Array.__dlpack_c_exchange_api__
CPU = (1, 0)


def test_the_table_is_complete_and_of_version_1_3():
    info = lab.api_info(TABLE)
    assert info["version"] == (1, 3)
    assert info["previous"] == 0
    assert all(info[name] for name in ("allocate", "from_object", "to_object", "borrow", "stream"))


def test_the_table_is_on_the_type_and_always_the_same():
    array = db.asarray(np.zeros(3))
    again = type(array).__dlpack_c_exchange_api__
    assert lab.name(again) == lab.name(TABLE) == "dlpack_exchange_api"
    assert lab.api_info(again) == lab.api_info(TABLE)


@pytest.mark.parametrize("layout", samples.PLAIN_LAYOUTS)
def test_export_gives_every_field_and_one_managed_tensor(layout):
    array = db.asarray(samples.PLAIN_LAYOUTS[layout]())
    before = live()
    owned = lab.api_export(TABLE, array)
    assert live() == before + 1
    fields = owned.fields()
    assert fields["data"] == array.data_ptr
    assert (fields["version"], fields["flags"], fields["device"]) == ((1, 3), 0, CPU)
    assert (fields["ndim"], fields["dtype"], fields["byte_offset"]) == (array.ndim, (2, 32, 1), 0)
    if array.ndim:
        assert (fields["shape"], fields["strides"]) == (array.shape, array.strides)
    owned.release()
    assert live() == before


def test_export_shares_negative_strides():
    array = db.asarray(np.arange(6.0)[::-1])
    owned = lab.api_export(TABLE, array)
    assert owned.fields()["strides"] == (-1,)
    assert owned.fields()["data"] == array.data_ptr
    owned.release()


def test_an_export_outlives_the_array():
    source = export()
    array = db.asarray(source.capsule())
    owned = lab.api_export(TABLE, array)
    del array
    assert source.deleter_calls == 0
    assert owned.fields()["data"] == source.address
    owned.release()
    assert source.deleter_calls == 1


@pytest.mark.parametrize("layout", {**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES})
def test_borrow_describes_the_same_tensor_and_makes_nothing(layout):
    array = db.asarray({**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES}[layout]())
    before = live()
    borrowed = lab.api_borrow(TABLE, array)
    assert live() == before
    owned = lab.api_export(TABLE, array)
    fields = owned.fields()
    owned.release()
    for key in ("data", "device", "ndim", "dtype", "byte_offset"):
        assert borrowed[key] == fields[key]
    if array.ndim:
        assert (borrowed["shape"], borrowed["strides"]) == (fields["shape"], fields["strides"])


@pytest.mark.parametrize("function", [lab.api_export, lab.api_borrow])
@pytest.mark.parametrize("stranger", [3, None, "x", np.zeros(3), [1]])
def test_a_stranger_is_an_error_and_no_crash(function, stranger):
    def attempt():
        with pytest.raises((TypeError, BufferError)):
            function(TABLE, stranger)

    isolated.forked(attempt)


def test_import_takes_ownership():
    source = export(np.arange(6.0), "float64")
    owned = source.owned()
    array = lab.api_import(TABLE, owned)
    assert type(array) is db.Array and not owned.alive
    assert array.data_ptr == source.address
    assert db.to_numpy(array).tolist() == [0, 1, 2, 3, 4, 5]
    assert source.deleter_calls == 0
    del array
    assert source.deleter_calls == 1


def test_import_respects_read_only():
    array = lab.api_import(TABLE, export(flags=1).owned())
    assert array.readonly


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": (-1,)},
        {"shape": None, "ndim": 2},
        {"dtype": (99, 8, 1)},
        {"dtype": (2, 32, 0)},
        {"shape": (2**40, 2**40)},
        {"ndim": -1},
    ],
)
def test_after_a_failed_import_the_caller_still_owns(fields):
    source = export(**fields)
    owned = source.owned()
    with pytest.raises(BufferError):
        lab.api_import(TABLE, owned)
    assert owned.alive and source.deleter_calls == 0
    owned.release()
    assert source.deleter_calls == 1


def test_import_of_another_major_version_is_refused_without_reading_on():
    source = export(version=(2, 0), shape=None, ndim=2**30)
    with pytest.raises(BufferError):
        lab.api_import(TABLE, source.owned())
    assert source.deleter_calls <= 1


def test_import_of_what_the_table_exported():
    array = db.asarray(np.arange(3.0))
    again = lab.api_import(TABLE, lab.api_export(TABLE, array))
    assert again.data_ptr == array.data_ptr


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4), (1,) * 8])
@pytest.mark.parametrize("dtype", [(2, 32, 1), (6, 8, 1), (4, 16, 1), (5, 128, 1), (10, 8, 1)])
def test_allocation_gives_fresh_contiguous_memory(shape, dtype):
    before = live()
    owned, errors, _, _ = lab.api_allocate(TABLE, shape, dtype, CPU)
    assert errors == 0
    fields = owned.fields()
    assert fields["dtype"] == dtype and fields["device"] == CPU and fields["flags"] & 1 == 0
    assert (fields["ndim"], fields["version"]) == (len(shape), (1, 3))
    if shape:
        assert fields["shape"] == shape
        assert fields["strides"] is not None
    if 0 not in shape:
        assert fields["data"] % 16 == 0 and fields["data"]
    array = lab.api_import(TABLE, owned)
    if dtype == (2, 32, 1) and shape:
        a = db.to_numpy(array)
        a[...] = 7
        assert (db.to_numpy(array) == 7).all()
        del a
    del array
    assert live() == before


@pytest.mark.parametrize(
    "shape, dtype, device",
    [
        ((-1,), (2, 32, 1), CPU),
        ((2**40, 2**40), (2, 32, 1), CPU),
        ((2**62,), (2, 64, 1), CPU),
        ((3,), (99, 8, 1), CPU),
        ((3,), (2, 32, 0), CPU),
        ((3,), (2, 32, 1), (99, 0)),
    ],
)
def test_a_failed_allocation_reports_exactly_once(shape, dtype, device):
    owned, errors, kind, message = lab.api_allocate(TABLE, shape, dtype, device)
    if owned is not None:
        owned.release()
    assert owned is None and errors == 1
    assert kind and message


def test_memory_that_is_not_there_is_reported():
    owned, errors, kind, message = lab.api_allocate(TABLE, (2**58,), (1, 8, 1), CPU)
    assert owned is None and errors == 1
    assert kind in ("MemoryError", "BufferError", "RuntimeError") and message


def test_the_work_stream_of_the_host_is_null():
    assert lab.api_stream(TABLE, 1, 0) == 0


def test_released_on_a_foreign_thread():
    source = export()
    array = db.asarray(source.capsule())
    owned = lab.api_export(TABLE, array)
    del array
    assert owned.release_on_thread(hold_gil=True)
    db.collect()
    assert source.deleter_calls == 1


def test_other_libraries_take_arrays_through_the_table():
    tvm_ffi = pytest.importorskip("tvm_ffi")
    array = db.asarray(np.arange(6, dtype="f4"))
    taken = tvm_ffi.from_dlpack(array)
    assert np.from_dlpack(taken).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("strides", [(0, 1), (2, 1), (1, 1), (0, 0)])
def test_an_imported_tensor_that_overlaps_itself_is_read_only(strides):
    source = export(np.arange(16.0), "float64", shape=(3, 4), strides=strides)
    array = lab.api_import(TABLE, source.owned())
    assert array.readonly and not array.copied
    assert (array.data_ptr, array.strides) == (source.address, strides)
    assert not db.to_numpy(array).flags.writeable
    assert source.deleter_calls == 0
    del array
    assert source.deleter_calls == 1


@pytest.mark.parametrize("ndim", [65, 66, 1000])
def test_import_of_too_many_axes_is_refused(ndim):
    source = export([1.0], shape=(1,) * ndim)
    owned = source.owned()
    with pytest.raises(BufferError, match=str(ndim)):
        lab.api_import(TABLE, owned)
    assert owned.alive and source.deleter_calls == 0
    owned.release()
    assert source.deleter_calls == 1


def test_import_of_64_axes_works():
    source = export([1.0], shape=(1,) * 64)
    array = lab.api_import(TABLE, source.owned())
    assert array.ndim == 64 and array.data_ptr == source.address
    del array
    assert source.deleter_calls == 1


@pytest.mark.parametrize("fields", [{"misalign": 1}, {"misalign": 2}, {"byte_offset": 2}])
def test_import_of_a_misaligned_address_is_a_copy(fields):
    values = np.arange(4, dtype="f4")
    if "byte_offset" in fields:  # the same elements, two bytes further on
        shifted = np.frombuffer(b"\0\0" + values.tobytes() + b"\0\0", dtype="u1")
        source = lab.Export(shifted, (4,), dtype=(2, 32, 1), **fields)
    else:
        source = export(values, **fields)
    array = lab.api_import(TABLE, source.owned())
    assert array.copied and not array.readonly
    assert array.data_ptr % 4 == 0
    assert db.to_numpy(array).tolist() == [0, 1, 2, 3]
    assert source.deleter_calls == 1
    del array
    assert source.deleter_calls == 1


class Prototype(ctypes.Structure):
    """A DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


SET_ERROR = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
ALLOCATE = ctypes.PYFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(Prototype),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
    SET_ERROR,
)


def allocate(ndim, shape):
    """Calls the allocator: (status, whether it gave a tensor, what it told the callback)."""
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    header = 2 * 4 + ctypes.sizeof(ctypes.c_void_p)  # version and previous table
    table = pointer_of(TABLE, b"dlpack_exchange_api")
    function = ALLOCATE(ctypes.c_void_p.from_address(table + header).value)
    told = []
    report = SET_ERROR(lambda context, kind, message: told.append((kind, message)))
    extents = None if shape is None else (ctypes.c_int64 * len(shape))(*shape)
    prototype = Prototype(device=(ctypes.c_int32 * 2)(*CPU), ndim=ndim, code=2, bits=32, lanes=1)
    if extents is not None:
        prototype.shape = ctypes.cast(extents, ctypes.POINTER(ctypes.c_int64))
    made = ctypes.c_void_p()
    status = function(ctypes.byref(prototype), ctypes.byref(made), None, report)
    return status, made.value is not None, told


@pytest.mark.parametrize(
    "ndim, shape", [(1, None), (3, None), (-1, None), (-1, (3,)), (-(2**31), None)]
)
def test_a_malformed_prototype_is_reported_once(ndim, shape):
    status, made, told = isolated.forked(lambda: allocate(ndim, shape))
    assert status != 0 and not made
    ((kind, message),) = told
    assert kind and message


def test_a_prototype_without_axes_needs_no_shape():
    assert isolated.forked(lambda: allocate(0, None)) == (0, True, [])


def test_import_refuses_padded_elements_as_a_capsule_of_them_is_refused():
    is_padded = 4
    source = export(np.arange(8), "uint8", shape=(8,), dtype=(17, 4, 1), flags=is_padded)
    with refuses("dtype") as by_table:
        lab.api_import(TABLE, lab.take(source.capsule()))
    with refuses("dtype") as by_capsule:
        db.asarray(source.capsule())
    assert str(by_table.value) == str(by_capsule.value)
