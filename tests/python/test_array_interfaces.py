"""What an array offers beside DLPack: `__array__`, `__array_interface__`, `.memoryview()`."""

import gc

import ml_dtypes
import numpy as np
import pytest
import samples
import torch
from checks import address, assert_same_elements, live
from producers import export

import dlpack_bridge as db

LAYOUTS = {
    **samples.PLAIN_LAYOUTS,
    **samples.MEANINGLESS_STRIDES,
    **{name: make for name, (make, _) in samples.NEGATIVE_STRIDES.items()},
    **samples.OVERLAPPING,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numpy_asarray_shares_every_layout(layout):
    a = LAYOUTS[layout]()
    array = db.asarray(a)
    result = np.asarray(array)
    assert type(result) is np.ndarray and result.dtype == a.dtype
    assert_same_elements(result, a)
    assert result.flags.writeable is not array.readonly
    if a.size:
        assert address(result) == address(a)


@pytest.mark.parametrize("dtype", samples.COMMON_DTYPES)
def test_numpy_asarray_gets_every_native_type(dtype):
    a = samples.numpy_values(dtype)
    result = np.asarray(db.asarray(a))
    assert result.dtype == a.dtype and address(result) == address(a)
    assert_same_elements(result, a)


@pytest.mark.parametrize("dtype", samples.SMALL_FLOATS)
def test_the_array_method_serves_types_without_a_typestr(dtype):
    t = samples.torch_values(dtype)
    result = np.asarray(db.asarray(t))
    assert result.dtype == np.dtype(getattr(ml_dtypes, dtype))
    assert address(result) == address(t)
    assert_same_elements(result, t)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_interface_describes_the_memory(layout):
    a = LAYOUTS[layout]()
    array = db.asarray(a)
    interface = array.__array_interface__
    assert interface["version"] == 3
    assert interface["typestr"] == a.dtype.str
    assert interface["shape"] == a.shape
    assert interface["data"] == (array.data_ptr, array.readonly)
    strides = interface.get("strides")
    if strides is not None and a.size:
        meaningful = [i for i, extent in enumerate(a.shape) if extent > 1]
        assert [strides[i] for i in meaningful] == [a.strides[i] for i in meaningful]


def test_the_interface_exists_only_for_native_types_on_the_host():
    for absent in (
        db.asarray(torch.zeros(3, dtype=torch.bfloat16)),
        db.asarray(export(device=(8, 0)).capsule()),
    ):
        assert not hasattr(absent, "__array_interface__")
        with pytest.raises(AttributeError):
            _ = absent.__array_interface__


def test_the_cuda_interface_exists_only_on_cuda_memory():
    assert not hasattr(db.asarray(np.zeros(3)), "__cuda_array_interface__")
    assert not hasattr(db.asarray(export(device=(3, 0)).capsule()), "__cuda_array_interface__")


def test_the_array_method_and_its_keywords():
    a = np.arange(3.0)
    array = db.asarray(a)
    assert address(array.__array__()) == address(a)
    assert array.__array__(np.float32).dtype == np.float32
    assert array.__array__(dtype=np.dtype("i4")).tolist() == [0, 1, 2]
    assert address(array.__array__(copy=True)) != address(a)
    assert address(array.__array__(copy=False)) == address(a)
    with pytest.raises(ValueError):
        array.__array__(dtype=np.float32, copy=False)


def test_numpy_functions_take_arrays():
    a = np.arange(6.0)
    array = db.asarray(a)
    assert np.add(array, 1).tolist() == (a + 1).tolist()
    assert np.array(array).tolist() == a.tolist()
    assert address(np.array(array)) != address(a)
    assert address(np.array(array, copy=False)) == address(a)
    assert np.asarray(array, dtype="float32").dtype == np.float32
    assert np.stack([array, array]).shape == (2, 6)


def test_memory_on_a_device_is_not_readable_on_the_host():
    array = db.asarray(export(device=(8, 0)).capsule())
    for read in (array.__array__, array.memoryview, lambda: np.asarray(array)):
        with pytest.raises(db.ExchangeError):
            read()


def test_pinned_memory_is_readable_on_the_host():
    array = db.asarray(export(device=(3, 0)).capsule())
    assert np.asarray(array).tolist() == [0, 1, 2, 3, 4, 5]
    assert array.memoryview().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_memoryview_of_the_elements(layout):
    a = LAYOUTS[layout]()
    array = db.asarray(a)
    view = array.memoryview()
    assert type(view) is memoryview
    assert view.shape == a.shape and view.itemsize == a.itemsize and view.nbytes == a.nbytes
    assert view.readonly is array.readonly
    assert view.tolist() == a.tolist()
    assert_same_elements(np.asarray(view), a)
    if a.size:
        assert address(np.asarray(view)) == address(a)


@pytest.mark.parametrize("dtype", samples.COMMON_DTYPES)
def test_a_memoryview_has_the_format_where_one_exists(dtype):
    a = samples.numpy_values(dtype)
    view = db.asarray(a).memoryview()
    assert np.asarray(view).dtype == a.dtype
    assert_same_elements(np.asarray(view), a)


@pytest.mark.parametrize("dtype", samples.SMALL_FLOATS)
def test_a_memoryview_is_bytes_where_no_format_exists(dtype):
    t = samples.torch_values(dtype)
    view = db.asarray(t).memoryview()
    assert view.format in ("B", "<B", "=B", "@B") and view.nbytes == t.numel() * t.itemsize
    assert_same_elements(np.frombuffer(view, "u1"), t.reshape(-1).view(torch.uint8))


def test_a_memoryview_is_writable_and_shares():
    a = np.arange(3.0)
    view = db.asarray(a).memoryview()
    view[1] = 9.0
    assert a[1] == 9.0
    with pytest.raises(TypeError):
        db.asarray(b"abc").memoryview()[0] = 1


def test_a_memoryview_keeps_the_array_alive():
    source = export()
    view = db.asarray(source.capsule()).memoryview()
    gc.collect()
    assert source.deleter_calls == 0
    assert view.tolist() == [0, 1, 2, 3, 4, 5]
    view.release()
    del view
    assert source.deleter_calls == 1


def test_memoryviews_leave_nothing_behind():
    before = live()
    for _ in range(100):
        db.asarray(np.arange(3.0)).memoryview()[0:2].tolist()
    assert live() == before


@pytest.mark.parametrize("use", [memoryview, bytes, bytearray().extend, np.frombuffer])
def test_an_array_is_no_buffer_itself(use):
    with pytest.raises((TypeError, ValueError, BufferError, AttributeError)):
        use(db.asarray(np.arange(3.0).astype("f8") + 0.5))


def test_memoryview_of_an_array_is_a_type_error():
    with pytest.raises(TypeError):
        memoryview(db.asarray(np.arange(3.0)))
