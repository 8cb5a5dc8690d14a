"""References are exact: one while shared, none after a copy, none after a failure."""

import gc
import sys
import weakref

import numpy as np
import pytest
import torch
from checks import live, plan_of, settle
from producers import Producer, Table13, WithoutKeywords, export, export_of

import dlpack_bridge as db


class Memory(np.ndarray):
    """An ndarray that can be watched."""


def watched():
    a = np.arange(6.0).view(Memory)
    return a, weakref.ref(a)


@pytest.mark.parametrize("to", ["torch", "array"])
def test_a_share_holds_exactly_one_reference(to):
    a = np.arange(6.0)
    before = sys.getrefcount(a)
    result = db.convert(a, to)
    assert sys.getrefcount(a) == before + 1
    del result
    if to == "torch":
        settle()
    assert sys.getrefcount(a) == before


@pytest.mark.parametrize("to", ["torch", "array"])
def test_each_share_holds_its_own_reference(to):
    a = np.arange(6.0)
    before = sys.getrefcount(a)
    results = [db.convert(a, to) for _ in range(10)]
    assert sys.getrefcount(a) == before + 10
    results.clear()
    if to == "torch":
        settle()
    assert sys.getrefcount(a) == before


def test_chains_release_in_any_order():
    a = np.arange(6.0)
    before = sys.getrefcount(a)
    array = db.asarray(a)
    t = db.to_torch(array)
    n = db.to_numpy(t)
    del t, array
    gc.collect()
    assert sys.getrefcount(a) == before + 1 and n.tolist() == [0, 1, 2, 3, 4, 5]
    del n
    gc.collect()
    assert sys.getrefcount(a) == before


@pytest.mark.parametrize("make", [bytearray, lambda n: memoryview(bytearray(n)), bytes])
def test_buffers_are_held_once(make):
    data = make(16)
    before = sys.getrefcount(data)
    result = db.asarray(data)
    assert sys.getrefcount(data) == before + 1
    del result
    assert sys.getrefcount(data) == before


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
@pytest.mark.parametrize("keywords", [{"copy": True}, {"dtype": "float32"}])
def test_a_copy_does_not_keep_its_source_alive(keywords, to):
    a, gone = watched()
    result = db.convert(a, to, **keywords)
    del a
    assert gone() is None
    assert db.to_numpy(result).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_copy_of_a_tensor_does_not_keep_its_source_alive():
    t = torch.arange(6.0)
    gone = weakref.ref(t)
    result = db.to_numpy(t, copy=True)
    del t
    assert gone() is None and result.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_copy_forced_by_layout_does_not_keep_its_source_alive():
    a, gone = watched()
    t = db.to_torch(a[::-1])
    del a
    assert gone() is None and t.tolist() == [5, 4, 3, 2, 1, 0]


def test_a_shared_result_keeps_its_source_alive_and_releases_it_at_once():
    a, gone = watched()
    array = db.asarray(a)
    del a
    settle()
    assert gone() is not None
    del array
    assert gone() is None


def test_what_torch_frees_without_the_gil_is_given_back_before_the_next_statement_ends():
    a, gone = watched()
    t = db.to_torch(a)
    del a
    settle()
    assert gone() is not None
    del t
    len("any call")
    assert gone() is None


def test_views_of_the_result_keep_the_source_alive():
    a, gone = watched()
    view = db.to_torch(a)[2:4]
    del a
    gc.collect()
    assert gone() is not None
    del view
    settle()
    assert gone() is None


def test_a_tensor_is_released_with_its_result():
    t = torch.arange(6.0)
    gone = weakref.ref(t)
    n = db.to_numpy(t)
    del t
    assert n.tolist() == [0, 1, 2, 3, 4, 5]
    del n
    gc.collect()
    assert gone() is None


def test_tensors_keep_their_count_of_references():
    t = torch.arange(6.0)
    before = sys.getrefcount(t)
    results = [db.to_numpy(t) for _ in range(10)]
    assert len({result.ctypes.data for result in results}) == 1
    results.clear()
    assert sys.getrefcount(t) == before


FAILURES = {
    "copy=False": (lambda a: a[::-1], {"copy": False}, db.CopyRequiredError),
    "dtype": (lambda a: a, {"dtype": "int8", "copy": False}, db.CopyRequiredError),
    "wrong policy": (lambda a: a, {"readonly": "maybe"}, ValueError),
    "wrong order": (lambda a: a, {"order": "F"}, (ValueError, TypeError)),
    "wrong alignment": (lambda a: a, {"alignment": 3}, ValueError),
    "wrong keyword": (lambda a: a, {"nonsense": 1}, TypeError),
    "wrong device": (lambda a: a, {"device": "nonsense"}, ValueError),
    "wrong stream": (lambda a: a, {"stream": "x"}, TypeError),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_call_leaves_no_reference(failure):
    view, keywords, error = FAILURES[failure]
    a = np.arange(6.0)
    before, alive = sys.getrefcount(a), live()
    for _ in range(10):
        with pytest.raises(error):
            db.to_torch(view(a), **keywords)
    gc.collect()
    assert sys.getrefcount(a) == before
    assert live() == alive


@pytest.mark.parametrize("kind", [Producer, WithoutKeywords, Table13])
def test_a_producer_object_is_not_kept_beyond_its_own_capsule(kind):
    source = export()
    producer = kind(source)
    before = sys.getrefcount(producer)
    result = db.to_numpy(producer)
    assert sys.getrefcount(producer) == before
    del producer
    assert result.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", [Producer, Table13])
@pytest.mark.parametrize("keywords", [{"copy": False, "dtype": "int8"}, {"copy": True}])
def test_what_a_producer_lent_is_given_back(kind, keywords):
    a = np.arange(6.0)
    source = export_of(a)
    held = sys.getrefcount(a)
    try:
        result = db.to_torch(kind(source), **keywords)
        assert result.tolist() == a.tolist()
    except db.CopyRequiredError:
        pass
    gc.collect()
    assert sys.getrefcount(a) == held


@pytest.mark.parametrize("first", ["array", "exports"])
def test_exports_and_their_array_share_one_reference_to_the_source(first):
    a, gone = watched()
    array = db.asarray(a)
    before = sys.getrefcount(a)
    exports = [array.__dlpack__(), np.from_dlpack(array), torch.from_dlpack(array)]
    assert sys.getrefcount(a) == before and live() >= 4
    if first == "array":
        del array
        assert sys.getrefcount(a) == before and exports[1].tolist() == a.tolist()
    exports.clear()
    if first == "exports":
        settle()
        assert sys.getrefcount(a) == before
        del a
        assert gone() is not None
        del array
        assert gone() is None
    else:
        settle()
        assert sys.getrefcount(a) == before - 1


def test_what_a_producers_deleter_frees_waits_for_the_array():
    source = export()
    array = db.asarray(source.capsule())
    exported = array.__dlpack__()
    held = sys.getrefcount(array)
    del exported
    assert sys.getrefcount(array) == held - 1 and source.deleter_calls == 0
    del array
    assert source.deleter_calls == 1


def test_plan_info_and_shares_memory_hold_nothing():
    a = np.arange(6.0)
    before = sys.getrefcount(a)
    plan, info = plan_of(a, "torch"), db.info(a)
    db.shares_memory(a, a)
    assert sys.getrefcount(a) == before
    del plan, info


def test_types_are_not_leaked_by_the_cache_of_sources():
    class Short(Producer):
        pass

    gone = weakref.ref(Short)
    for _ in range(3):
        db.to_numpy(Short())
    before = sys.getrefcount(Short)
    for _ in range(100):
        db.to_numpy(Short())
    assert sys.getrefcount(Short) == before
    del Short
    gc.collect()
    assert gone() is None


def test_a_new_type_at_the_address_of_an_old_one_is_looked_at_anew():
    for n in range(100):
        kind = type(f"Kind{n}", (Producer,), {})
        assert db.to_numpy(kind()).tolist() == [0, 1, 2, 3, 4, 5]
        del kind
        gc.collect()
        with pytest.raises(db.NotAnArrayError):
            db.to_numpy(type(f"NoKind{n}", (), {})())


def test_keyword_values_are_not_kept():
    dtype, device = np.dtype("f4"), torch.device("cpu")
    counts = sys.getrefcount(dtype), sys.getrefcount(device)
    for _ in range(50):
        db.to_torch(np.arange(3.0), dtype=dtype, device=device)
    assert sys.getrefcount(device) == counts[1]
    assert sys.getrefcount(dtype) <= counts[0] + 1
