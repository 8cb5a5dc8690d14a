"""What an Array gives on the host by itself: iteration, truth, bytes, NumPy's own types."""

import copy
import operator
import pickle
import unittest.mock

import dlpack_lab as lab
import numpy as np
import pytest
import samples
import torch
from checks import assert_same_elements, refuses
from producers import export

import dlpack_bridge as db


def on_device():
    return db.asarray(export(device=(8, 0)).capsule())


def packed(shape=(4,), strides=None, dtype=(17, 4, 1)):
    """An Array of packed elements, and the bytes of which it is the first ones."""
    memory = np.arange(1, 65, dtype="u1")
    source = lab.Export(memory.ctypes.data, shape, strides, dtype=dtype, owner=memory)
    return db.asarray(source.capsule()), memory


@pytest.mark.parametrize("layout", {**samples.PLAIN_LAYOUTS, **samples.OVERLAPPING})
def test_iterating_gives_what_numpy_gives(layout):
    a = {**samples.PLAIN_LAYOUTS, **samples.OVERLAPPING}[layout]()
    array = db.asarray(a)
    if a.ndim == 0:
        with pytest.raises(TypeError, match="0-d"):
            iter(array)
        return
    rows = list(array)
    assert len(rows) == len(a)
    for row, expected in zip(rows, a, strict=True):
        assert type(row) is type(expected)
        assert_same_elements(np.asarray(row), np.asarray(expected))


def test_iterating_over_types_that_numpy_lacks():
    assert [float(x) for x in db.asarray(torch.arange(3).to(torch.bfloat16))] == [0, 1, 2]


@pytest.mark.parametrize(
    "a, truth",
    [
        (np.zeros(()), False),
        (np.ones(()), True),
        (np.zeros((1, 1)), False),
        (np.full(1, 0.5), True),
        (np.zeros((0, 3)), False),
        (np.array([False]), False),
    ],
)
def test_the_truth_of_at_most_one_element(a, truth):
    assert bool(db.asarray(a)) is truth


@pytest.mark.parametrize("a", [np.zeros(2), np.ones((2, 2))])
def test_several_elements_have_no_truth(a):
    with pytest.raises(ValueError, match="ambiguous"):
        bool(db.asarray(a))


@pytest.mark.parametrize("layout", {**samples.PLAIN_LAYOUTS, **samples.OVERLAPPING})
def test_bytes_are_in_c_order(layout):
    a = {**samples.PLAIN_LAYOUTS, **samples.OVERLAPPING}[layout]()
    assert db.asarray(a).tobytes() == a.tobytes()


@pytest.mark.parametrize("read", [iter, bool, lambda x: x.tobytes()])
def test_memory_on_a_device_has_no_values_here(read):
    with pytest.raises(db.ExchangeError, match="host"):
        read(on_device())


# ---- packed elements ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, dtype, nbytes",
    [
        ((4,), (17, 4, 1), 2),
        ((3,), (17, 4, 1), 2),
        ((2, 3), (17, 4, 1), 3),
        ((), (17, 4, 1), 1),
        ((0, 3), (17, 4, 1), 0),
        ((5,), (16, 6, 1), 4),
        ((4,), (15, 6, 1), 3),
    ],
)
def test_packed_elements_are_offered_as_their_bytes(shape, dtype, nbytes):
    array, memory = packed(shape, dtype=dtype)
    view = array.memoryview()
    assert (array.nbytes, view.shape, view.nbytes, view.format) == (nbytes, (nbytes,), nbytes, "B")
    assert view.tolist() == memory[:nbytes].tolist()
    assert array.tobytes() == memory[:nbytes].tobytes()
    for duplicate in (copy.copy(array), copy.deepcopy(array)):
        assert (duplicate.shape, duplicate.dtype) == (shape, array.dtype)
        assert duplicate.tobytes() == array.tobytes()


@pytest.mark.parametrize("shape, strides", [((4,), (2,)), ((2, 4), (1, 2)), ((4,), (-1,))])
def test_packed_elements_that_are_not_dense_have_no_bytes(shape, strides):
    array, _ = packed(shape, strides)
    for read in (array.memoryview, array.tobytes):
        with pytest.raises(db.ExchangeError) as refused:
            read()
        assert [reason.code for reason in refused.value.blockers] == ["layout"]


# ---- copies, NumPy's types, comparisons ---------------------------------------------------------


def test_copy_is_fresh_memory_and_counted():
    a = np.arange(6.0)
    array, before = db.asarray(a), db.stats().copies
    duplicate = copy.copy(array)
    assert db.stats().copies == before + 1
    assert duplicate.copied and not db.shares_memory(duplicate, a)
    assert_same_elements(duplicate, a)


def test_copy_of_what_cannot_be_read_says_what_stands_in_the_way():
    with pytest.raises(db.ExchangeError) as refused:
        copy.copy(on_device())
    assert "pickle" not in str(refused.value)


@pytest.mark.parametrize("dtype", [">f4", "<f4", "f4", object, np.longdouble, "D"])
def test_numpys_own_types_are_made_of_elements_that_numpy_lacks(dtype):
    array = db.asarray(torch.tensor([1, 2], dtype=torch.bfloat16))
    for a in (np.asarray(array, dtype=dtype), array.__array__(dtype)):
        assert a.dtype == np.dtype(dtype)
        assert a.tolist() == [1, 2]


def test_a_type_that_needs_a_copy_is_refused_where_none_is_allowed():
    array = db.asarray(torch.ones(2, dtype=torch.bfloat16))
    for dtype in (">f4", "f4", object):
        with pytest.raises(db.CopyRequiredError):
            array.__array__(dtype, copy=False)
    with pytest.raises(TypeError):
        array.__array__("no such type")


@pytest.mark.parametrize("other", [unittest.mock.ANY, 3, None, [], object(), np.float32(0)])
def test_comparing_leaves_strangers_their_say(other):
    array = db.asarray(np.zeros(3, "f4"))
    for own in (array.dtype, array.device):
        said = operator.eq(own, other)
        assert said is (other is unittest.mock.ANY)
        assert (own != other) is (not said)


@pytest.mark.parametrize("array", [np.zeros(1), np.float32(0), db.asarray(b"a"), torch.zeros(1)])
def test_an_array_is_no_dtype(array):
    with pytest.raises(TypeError):
        db.dtype(array)
    with pytest.raises(TypeError):
        db.to_numpy(np.zeros(3), dtype=array)


@pytest.mark.parametrize("of", [lambda a: a, lambda a: a.dtype, lambda a: a.device])
def test_the_types_cannot_be_changed(of):
    changed = type(of(db.asarray(b"abc")))
    for name in ("__dlpack_c_exchange_api__", "name", "shape"):
        with pytest.raises(TypeError, match="immutable"):
            setattr(changed, name, 1)


@pytest.mark.parametrize(
    "function", [torch.asarray, torch.as_tensor, torch.tensor, np.asarray, np.array]
)
def test_frameworks_do_not_iterate(function):
    """There is no way to an element but an iterator, and that is made of NumPy's view of the array."""
    a = np.arange(6, dtype="f4")
    array = db.asarray(a)
    with db.trace() as trace:
        list(array)
    assert [record.target for record in trace.records] == ["numpy"]
    with db.trace() as trace:
        result = function(array)
    assert "numpy" not in [record.target for record in trace.records]
    assert_same_elements(result, a)


@pytest.mark.parametrize(
    "use",
    [
        iter,
        bool,
        np.asarray,
        pickle.dumps,
        copy.copy,
        db.Array.tobytes,
        db.Array.memoryview,
        lambda array: array.__array__("f4"),
    ],
)
def test_device_memory_is_refused_with_all_that_is_known(use):
    with refuses("device", says=["metal:0", "float32", "(6,)", "with its own framework"]):
        use(on_device())
