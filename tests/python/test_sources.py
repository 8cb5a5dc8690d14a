"""Everything that is an array: buffers, interfaces, scalars, and DLPack producers of others."""

import array as array_module
import ctypes
import gc
import mmap
import sys
from multiprocessing import shared_memory

import dlpack_lab
import isolated
import numpy as np
import pytest
import samples
import torch
from checks import address, assert_same_elements, codes, plan_of, refuses
from producers import ByInterface

import dlpack_bridge as db


def test_bytes_are_read_only_uint8():
    data = b"abc"
    a = db.to_numpy(data)
    assert a.dtype == np.uint8 and a.tolist() == [97, 98, 99]
    assert not a.flags.writeable
    assert address(a) == address(np.frombuffer(data, "u1"))


def test_bytearrays_are_shared_writable():
    data = bytearray(b"abc")
    t = db.to_torch(data)
    assert t.dtype is torch.uint8
    t[0] = 0
    assert data == b"\x00bc"


@pytest.mark.parametrize(
    "code, dtype",
    [("b", "i1"), ("B", "u1"), ("h", "i2"), ("H", "u2"), ("i", "i4"), ("I", "u4")]
    + [("l", "long"), ("L", "ulong"), ("q", "i8"), ("Q", "u8"), ("f", "f4"), ("d", "f8")],
)
def test_array_array_of_every_number(code, dtype):
    source = array_module.array(code, [1, 2, 3])
    a = db.to_numpy(source)
    assert a.dtype == np.dtype(dtype) and a.tolist() == [1, 2, 3]
    assert address(a) == source.buffer_info()[0] and a.flags.writeable


@pytest.mark.parametrize("dtype", samples.COMMON_DTYPES)
def test_memoryviews_of_every_type(dtype):
    a = samples.numpy_values(dtype)
    t = db.to_torch(memoryview(a))
    assert t.dtype is getattr(torch, dtype) and t.data_ptr() == address(a)
    assert_same_elements(t, a)


@pytest.mark.parametrize("layout", {**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES})
def test_memoryviews_of_every_layout(layout):
    a = {**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES}[layout]()
    result = db.to_numpy(memoryview(a))
    assert_same_elements(result, a)
    if a.size:
        assert address(result) == address(a)


def test_memoryviews_backwards_and_cast():
    data = memoryview(bytearray(range(12)))
    assert db.to_numpy(data[::-1]).tolist() == list(range(11, -1, -1))
    cast = data.cast("H", shape=[2, 3])
    a = db.to_numpy(cast)
    assert a.shape == (2, 3) and a.dtype == np.uint16 and a.tolist() == cast.tolist()


def test_ctypes_arrays_are_buffers():
    """Their buffers have no strides, whatever was asked for."""

    def attempt():
        numbers = (ctypes.c_double * 3)(1, 2, 3)
        a = db.to_numpy(numbers)
        a[0] = 7
        grid = ((ctypes.c_int32 * 3) * 2)()
        return list(numbers), tuple(db.to_torch(grid).shape)

    assert isolated.forked(attempt) == ([7, 2, 3], (2, 3))


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_a_buffer_has_at_most_as_many_axes_as_python_allows(to):
    assert db.convert(dlpack_lab.Buffer(64), to).ndim == 64
    for ndim in (65, 200, 1000, -1):
        with refuses("malformed", says=[f"{ndim} axes", "PyBUF_MAX_NDIM"]):
            db.convert(dlpack_lab.Buffer(ndim), to)


def test_structures_are_refused():
    class Pair(ctypes.Structure):
        _fields_ = [("a", ctypes.c_int32), ("b", ctypes.c_double)]

    with refuses("dtype"):
        db.to_numpy((Pair * 2)())


def test_a_memory_map_cannot_be_closed_under_a_view(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(range(16)))
    with open(path, "r+b") as stream:
        mapped = mmap.mmap(stream.fileno(), 0)
    t = db.to_torch(mapped)
    with pytest.raises(BufferError):
        mapped.close()
    t[0] = 255
    assert mapped[0] == 255
    del t
    db.collect()  # beside other threads torch's results go back a step later
    mapped.close()


@pytest.mark.parametrize("view", [lambda a: a, lambda a: a[1:][::2], lambda a: a.view("u1")])
@pytest.mark.parametrize("to", ["torch", "array"])
def test_shared_memory_cannot_be_closed_under_an_array_that_does_not_hold_it(to, view):
    shared = shared_memory.SharedMemory(create=True, size=64)
    try:
        a = view(np.ndarray((8,), "f8", buffer=shared.buf))
        references = sys.getrefcount(a)
        result = db.convert(a, to, copy=False)
        assert sys.getrefcount(a) == references + 1
        with pytest.raises(BufferError):
            shared.close()
        del result
        db.collect()
        assert sys.getrefcount(a) == references
        del a
        shared.close()
    finally:
        shared.unlink()


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_shared_memory_cannot_be_closed_under_a_view(to):
    shared = shared_memory.SharedMemory(create=True, size=64)
    try:
        result = db.convert(shared.buf, to)
        with pytest.raises(BufferError):
            shared.close()
        assert db.to_numpy(result).nbytes >= 64
        del result
        gc.collect()
        shared.close()
    finally:
        shared.unlink()


def test_a_bytearray_cannot_be_resized_under_a_view():
    data = bytearray(8)
    array = db.asarray(data)
    with pytest.raises(BufferError):
        data.append(1)
    del array
    data.append(1)


def test_a_copied_buffer_is_let_go_at_once():
    data = bytearray(8)
    copied = db.to_torch(data, copy=True)
    data.append(1)
    assert copied.numel() == 8


@pytest.mark.parametrize(
    "scalar",
    [np.float64(2.5), np.float32(2.5), np.int16(2), np.uint8(2), np.bool_(True), np.complex64(2j)],
)
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_numpy_scalars_are_arrays_without_dimensions(scalar, to):
    result = db.to_numpy(db.convert(scalar, to))
    assert result.shape == () and result.dtype == scalar.dtype
    assert result[()] == scalar


def test_a_numpy_scalar_never_changes():
    scalar = np.float64(2.5)
    db.to_torch(scalar).fill_(9)
    assert scalar == 2.5


def test_a_datetime_scalar_is_refused_by_name():
    with refuses("dtype", says=["datetime64"]):
        db.to_torch(np.datetime64("2024-01-01", "s"))


@pytest.mark.parametrize("layout", {**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES})
def test_the_array_interface_of_every_layout(layout):
    a = {**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES}[layout]()
    result = db.to_numpy(ByInterface(a))
    assert_same_elements(result, a)
    if a.size:
        assert address(result) == address(a)


@pytest.mark.parametrize("dtype", samples.COMMON_DTYPES)
def test_the_array_interface_of_every_type(dtype):
    a = samples.numpy_values(dtype)
    t = db.to_torch(ByInterface(a))
    assert t.dtype is getattr(torch, dtype) and t.data_ptr() == address(a)


@pytest.mark.parametrize("strides", [None, (24, 8), [24, 8]])
def test_strides_of_the_interface_are_none_a_tuple_or_a_list(strides):
    a = np.arange(6.0).reshape(2, 3)
    result = db.to_numpy(ByInterface(a, strides=strides))
    assert result.tolist() == a.tolist() and address(result) == address(a)


def test_the_interface_without_strides_at_all():
    source = ByInterface(np.arange(6.0).reshape(2, 3))
    del source.interface["strides"]
    assert db.to_torch(source).shape == (2, 3)


def test_read_only_foreign_and_unknown_types_of_the_interface():
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    assert not db.to_numpy(ByInterface(frozen)).flags.writeable
    swapped = np.arange(3, dtype=np.dtype("i4").newbyteorder("S"))
    assert codes(plan_of(ByInterface(swapped), "array").reasons) == {"byte_order"}
    assert db.to_numpy(ByInterface(swapped)).tolist() == [0, 1, 2]
    with refuses("dtype"):
        db.to_numpy(ByInterface(np.zeros(3, "M8[s]")))


@pytest.mark.parametrize(
    "fields",
    [
        {"strides": (8,)},
        {"strides": (8, 8, 8)},
        {"strides": "24"},
        {"shape": (-2, 3)},
        {"shape": (2**40, 2**40)},
        {"shape": 6},
        {"shape": ("2", "3")},
        {"shape": None},
        {"typestr": "nonsense"},
        {"typestr": 3},
        {"data": (0, False)},
        {"data": ("x", False)},
        {"data": (1,)},
        {"data": 17},
    ],
)
def test_a_malformed_interface_is_one_clear_error(fields):
    with refuses():
        db.to_numpy(ByInterface(np.arange(6.0).reshape(2, 3), **fields))


def test_an_interface_keeps_its_owner_alive():
    source = ByInterface(np.arange(1000.0))
    before = sys.getrefcount(source)
    result = db.to_numpy(source)
    assert sys.getrefcount(source) == before + 1
    del source
    assert result.sum() == 499500


def test_tvm_tensors_are_sources():
    tvm_ffi = pytest.importorskip("tvm_ffi")
    a = np.arange(6, dtype="f4").reshape(2, 3)
    tensor = tvm_ffi.from_dlpack(a)
    for to in ("numpy", "torch", "array"):
        result = db.convert(tensor, to)
        assert address(result) == address(a)
        assert_same_elements(result, a)


def test_arrays_of_the_array_api_are_sources():
    strict = pytest.importorskip("array_api_strict")
    x = strict.reshape(strict.arange(6, dtype=strict.float64), (2, 3))
    t = db.to_torch(x)
    assert t.tolist() == [[0, 1, 2], [3, 4, 5]]
    t[0, 0] = 5
    assert float(x[0, 0]) == 5


def test_torch_storage_of_a_module_is_shared():
    layer = torch.nn.Linear(3, 2)
    weight = db.to_numpy(layer.weight, detach=True)
    weight[...] = 1
    assert layer.weight.sum().item() == 6


class OverBuffer:
    """An interface whose data is an object with the buffer protocol: two float64."""

    def __init__(self, data, **fields):
        self.interface = {"shape": (2,), "typestr": "<f8", "version": 3, "data": data, **fields}

    @property
    def __array_interface__(self):
        return self.interface


NUMBERS = np.array([1.0, 2.0, 3.0], dtype="<f8").tobytes()


@pytest.mark.parametrize(
    "data, fields, expected",
    [
        (NUMBERS[:16], {}, [1, 2]),
        (NUMBERS[:16], {"offset": 0}, [1, 2]),
        (NUMBERS, {}, [1, 2]),
        (NUMBERS, {"offset": 8}, [2, 3]),
        (NUMBERS, {"strides": (16,)}, [1, 3]),
        (NUMBERS, {"strides": (-8,), "offset": 16}, [3, 2]),
        (NUMBERS, {"shape": (0,), "offset": 24}, []),
        (NUMBERS, {"shape": (), "offset": 16}, 3),
    ],
)
def test_an_interface_whose_buffer_fits_exactly_is_shared(data, fields, expected):
    source = OverBuffer(data, **fields)
    result = db.to_numpy(source)
    assert result.tolist() == expected and not result.flags.writeable
    if result.size:
        start = address(np.frombuffer(data, "u1"))
        assert address(result) == start + fields.get("offset", 0)


def test_an_interface_over_writable_memory_is_writable():
    data = bytearray(NUMBERS)
    result = db.to_numpy(OverBuffer(data, offset=8))
    result[0] = 7
    assert np.frombuffer(data, "<f8").tolist() == [1, 7, 3]


@pytest.mark.parametrize(
    "data, fields",
    [
        (b"", {}),
        (NUMBERS[:8], {}),
        (NUMBERS[:15], {}),
        (NUMBERS[:16], {"offset": 1}),
        (NUMBERS, {"offset": 9}),
        (NUMBERS, {"offset": 24}),
        (NUMBERS, {"offset": 25}),
        (NUMBERS, {"offset": -1}),
        (NUMBERS, {"offset": -8}),
        (NUMBERS, {"offset": 2**63 - 1}),
        (NUMBERS, {"offset": 2**63 - 8}),
        (NUMBERS, {"offset": 2**70}),
        (NUMBERS, {"offset": -(2**70)}),
        (NUMBERS[:16], {"strides": (16,)}),
        (NUMBERS, {"strides": (-8,)}),
        (NUMBERS, {"strides": (2**60,)}),
        (NUMBERS, {"strides": (2**62 + 1,)}),
        (NUMBERS, {"strides": (-(2**62) - 1,)}),
        (NUMBERS, {"shape": (5,), "strides": (2**62,)}),
        (NUMBERS, {"shape": (2**50,)}),
        (NUMBERS, {"shape": (2, 2)}),
        (NUMBERS, {"offset": "8"}),
    ],
)
@pytest.mark.parametrize("keywords", [{}, {"copy": True}])
def test_an_interface_that_reaches_beyond_its_buffer_is_malformed(data, fields, keywords):
    def attempt():
        found = set()
        for to in ("numpy", "torch", "array"):
            with refuses("malformed") as caught:
                db.convert(OverBuffer(data, **fields), to, **keywords)
            found |= codes(caught.value.blockers)
        return found

    assert isolated.forked(attempt) == {"malformed"}


class Both:
    """Has both interfaces, each where it holds: the pattern of torch and of `db.Array`."""

    def __init__(self, host, cuda):
        self.host, self.cuda = host, cuda

    @property
    def __array_interface__(self):
        return self.answer(self.host)

    @property
    def __cuda_array_interface__(self):
        return self.answer(self.cuda)

    def answer(self, value):
        if isinstance(value, Exception):
            raise value
        return value


ABSENT = [AttributeError("on the host"), None]


@pytest.mark.parametrize("absent", ABSENT, ids=["AttributeError", "None"])
def test_an_interface_that_is_not_there_gives_way_to_the_other(absent):
    a = np.arange(3.0)
    x = Both(a.__array_interface__, absent)
    assert address(db.to_numpy(x)) == a.ctypes.data
    assert db.plan(x, "torch").protocol == "array_interface"
    assert db.to_torch(x, copy=False).tolist() == [0, 1, 2]


@pytest.mark.parametrize("absent", ABSENT, ids=["AttributeError", "None"])
def test_where_neither_interface_is_there_it_is_no_array(absent):
    for function in (db.to_numpy, db.info, lambda x: db.plan(x, "numpy")):
        with pytest.raises(db.NotAnArrayError, match="Both"):
            function(Both(absent, absent))


def test_an_interface_that_a_type_sets_to_none_is_absent():
    a = np.arange(3.0)
    only_host = type("OnlyHost", (Both,), {"__cuda_array_interface__": None})
    assert address(db.to_numpy(only_host(a.__array_interface__, None))) == a.ctypes.data
    neither = type("Neither", (only_host,), {"__array_interface__": None})
    with pytest.raises(db.NotAnArrayError):
        db.to_numpy(neither(a.__array_interface__, None))


def test_other_errors_of_an_interface_are_the_producers():
    with refuses("producer", says=["ValueError: why"]):
        db.to_numpy(Both(None, ValueError("why")))


def test_an_interface_of_objects_is_probably_ragged():
    with refuses("dtype", says=["'|O'", "ragged"]):
        db.to_numpy(Both({**np.arange(3.0).__array_interface__, "typestr": "|O"}, None))


def test_a_malformed_interface_of_a_gpu_does_not_claim_to_be_on_the_cpu():
    with refuses("malformed") as caught:
        db.to_numpy(Both(None, {"shape": (3,), "version": 3}))
    assert "cpu" not in str(caught.value).splitlines()[0].split(" with ")[0]


class Fickle:
    """An extent that empties the list it stands in."""

    def __init__(self, extents):
        self.extents = extents

    def __index__(self):
        self.extents.clear()
        return 1


def test_a_shape_that_changes_while_it_is_read_is_read_as_it_was():
    shape = []
    shape += [Fickle(shape), 3]
    source = ByInterface(np.arange(3.0))
    source.interface = {**source.interface, "shape": shape, "strides": None}
    assert db.to_numpy(source).shape == (1, 3)
