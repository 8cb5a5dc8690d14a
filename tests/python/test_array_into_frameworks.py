"""What the frameworks' own functions make of an Array: always the right elements."""

import numpy as np
import pytest
import samples
import torch
from checks import address, assert_same_elements

import dlpack_bridge as db

DTYPES = [name for name in samples.COMMON_DTYPES]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [torch.asarray, torch.as_tensor, torch.tensor])
def test_torch_functions_get_the_right_elements(function, dtype):
    a = samples.numpy_values(dtype)
    t = function(db.asarray(a))
    assert t.dtype is getattr(torch, dtype)
    assert_same_elements(t, a)


@pytest.mark.parametrize("dtype", DTYPES + list(samples.SMALL_FLOATS))
def test_torch_from_dlpack_gets_the_right_elements(dtype):
    source = samples.torch_values(dtype)
    array = db.asarray(source)
    t = torch.from_dlpack(array)
    assert t.dtype is source.dtype and t.data_ptr() == array.data_ptr
    assert_same_elements(t, source)
    assert_same_elements(torch.utils.dlpack.from_dlpack(array.__dlpack__()), source)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [np.asarray, np.array, np.from_dlpack, np.ascontiguousarray])
def test_numpy_functions_get_the_right_elements(function, dtype):
    source = samples.torch_values(dtype)
    a = function(db.asarray(source))
    assert a.dtype == dtype
    assert_same_elements(a, source)


@pytest.mark.parametrize("layout", samples.PLAIN_LAYOUTS)
def test_layouts_arrive_whole(layout):
    a = samples.PLAIN_LAYOUTS[layout]()
    array = db.asarray(a)
    for function in (torch.asarray, torch.as_tensor, torch.tensor, torch.from_dlpack):
        assert_same_elements(function(array), a)
    for function in (np.asarray, np.array, np.from_dlpack):
        assert_same_elements(function(array), a)


@pytest.mark.parametrize("layout", samples.NEGATIVE_STRIDES)
def test_negative_strides_neither_abort_torch_nor_change_the_elements(layout):
    a = samples.NEGATIVE_STRIDES[layout][0]()
    array = db.asarray(a)
    assert_same_elements(torch.from_dlpack(array), a)
    assert_same_elements(np.from_dlpack(array), a)
    assert_same_elements(np.asarray(array), a)
    assert address(np.asarray(array)) == address(a)


def test_float64_is_not_read_as_float32_bytes():
    array = db.asarray(np.array([1.5, 2.5]))
    assert torch.asarray(array).tolist() == [1.5, 2.5]
    assert torch.asarray(array).dtype is torch.float64


def test_np_from_dlpack_keywords():
    a = np.arange(6.0)
    array = db.asarray(a)
    assert address(np.from_dlpack(array, copy=False)) == address(a)
    assert address(np.from_dlpack(array, copy=True)) != address(a)
    assert address(np.from_dlpack(array, device="cpu")) == address(a)


def test_torch_from_dlpack_keywords():
    array = db.asarray(np.arange(6.0))
    assert torch.from_dlpack(array, copy=False).data_ptr() == array.data_ptr
    assert torch.from_dlpack(array, copy=True).data_ptr() != array.data_ptr
    assert torch.from_dlpack(array, device="cpu").data_ptr() == array.data_ptr
    assert_same_elements(torch.from_dlpack(array, copy=True), np.arange(6.0))


def test_a_read_only_array_goes_into_torch_by_the_documented_road():
    a = np.arange(6.0)
    a.flags.writeable = False
    t = db.to_torch(db.asarray(a))
    t.zero_()
    assert a.tolist() == [0, 1, 2, 3, 4, 5]


def test_capsules_by_hand_in_both_kinds():
    a = np.eye(3)
    array = db.asarray(a)
    for max_version, name in ((None, "dltensor"), ((1, 0), "dltensor_versioned")):
        capsule = array.__dlpack__(max_version=max_version)
        assert f'"{name}"' in repr(capsule)
        t = torch.utils.dlpack.from_dlpack(capsule)
        assert t.data_ptr() == address(a)
        assert f'"used_{name}"' in repr(capsule)
        with pytest.raises(db.ExchangeError):
            db.from_dlpack(capsule)
    back = db.from_dlpack(torch.utils.dlpack.to_dlpack(t))
    assert back.data_ptr == address(a)


def test_array_api_strict_takes_arrays():
    strict = pytest.importorskip("array_api_strict")
    x = strict.from_dlpack(db.asarray(np.arange(6.0)))
    assert [float(value) for value in x] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("step", [1, 2, -1])
def test_pandas_gets_the_elements(dtype, step):
    pandas = pytest.importorskip("pandas")
    a = np.arange(12).astype(dtype)[::step]
    array = db.asarray(a)
    for series in (
        pandas.Series(array),
        pandas.Series(array, dtype=dtype),
        pandas.DataFrame({"x": array})["x"],
        pandas.DataFrame(array)[0],
        pandas.Index(array).to_series(),
    ):
        assert series.dtype == dtype
        assert series.tolist() == a.tolist()
    table = pandas.DataFrame(db.asarray(a[:4].reshape(2, 2)), columns=["x", "y"])
    assert table.to_numpy().tolist() == a[:4].reshape(2, 2).tolist()


PICTURES = {
    "grey": lambda: np.arange(12, dtype="u1").reshape(3, 4),
    "colours": lambda: np.arange(24, dtype="u1").reshape(2, 4, 3),
    "every second column": lambda: np.arange(12, dtype="u1").reshape(3, 4)[:, ::2],
    "upside down": lambda: np.arange(12, dtype="u1").reshape(3, 4)[::-1],
    "transposed": lambda: np.arange(12, dtype="u1").reshape(3, 4).T,
    "floats": lambda: np.arange(4, dtype="f4").reshape(2, 2),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_pillow_gets_the_elements(picture):
    image = pytest.importorskip("PIL.Image")
    a = PICTURES[picture]()
    assert np.array_equal(np.asarray(image.fromarray(db.asarray(a))), a)
