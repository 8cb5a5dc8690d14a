"""Each deleter runs exactly once, whatever happens to the capsule, the result or the process."""

import gc
import threading
from contextlib import contextmanager

import dlpack_lab as lab
import numpy as np
import pytest
import torch
from checks import live, refuses
from producers import Producer, Table13, export

import dlpack_bridge as db


def drop(x):
    pass


@contextmanager
def another_thread():
    """One that waits, and has a thread state of Python's meanwhile."""
    end = threading.Event()
    waiting = threading.Thread(target=end.wait)
    waiting.start()
    try:
        yield
    finally:
        end.set()
        waiting.join()


def expect_copy_required(call):
    try:
        call()
    except db.CopyRequiredError:
        return
    raise AssertionError("this was to be refused")


# What can happen to a capsule; afterwards its deleter has run exactly once.
FATES = {
    "never looked at": drop,
    "planned": lambda c: db.plan(c, "torch"),
    "inspected": db.info,
    "to NumPy": db.to_numpy,
    "to torch": db.to_torch,
    "to an array": db.asarray,
    "copied to NumPy": lambda c: db.to_numpy(c, copy=True),
    "copied to torch": lambda c: db.to_torch(c, copy=True),
    "copied to an array": lambda c: db.asarray(c, copy=True),
    "converted": lambda c: db.to_torch(c, dtype="float64"),
    "seen as bits": lambda c: db.to_numpy(c, dtype="bits"),
    "refused": lambda c: expect_copy_required(lambda: db.to_numpy(c, dtype="int8", copy=False)),
    "refused twice": lambda c: [
        expect_copy_required(lambda: db.to_numpy(c, dtype="int8", copy=False)) for _ in range(2)
    ],
    "refused, then taken": lambda c: [
        expect_copy_required(lambda: db.to_numpy(c, dtype="int8", copy=False)),
        db.to_numpy(c),
    ],
    "with a wrong keyword": lambda c: pytest.raises(ValueError, db.to_torch, c, readonly="x"),
    "to an unknown target": lambda c: pytest.raises(ValueError, db.convert, c, "nowhere"),
    "through every hop": lambda c: db.to_numpy(db.asarray(db.to_torch(db.asarray(c)))),
    "exported again, unconsumed": lambda c: db.asarray(c).__dlpack__(max_version=(1, 3)),
    "exported again to torch": lambda c: torch.from_dlpack(db.asarray(c)),
    "exported again to NumPy": lambda c: np.from_dlpack(db.asarray(c)),
    "exported by the table": lambda c: lab.api_export(
        db.Array.__dlpack_c_exchange_api__, db.asarray(c)
    ).release(),
    "seen as a memoryview": lambda c: db.asarray(c).memoryview(),
    "in a tree": lambda c: db.convert_tree({"a": [c]}, "torch"),
    "consumed twice": lambda c: [db.asarray(c), pytest.raises(db.ExchangeError, db.asarray, c)],
}


@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "legacy"])
@pytest.mark.parametrize("fate", FATES)
def test_a_deleter_runs_exactly_once(fate, versioned):
    source = export(versioned=versioned)
    capsule = source.capsule()
    FATES[fate](capsule)
    del capsule
    gc.collect()
    assert source.exports == source.deleter_calls == source.destructor_calls == 1


@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "legacy"])
@pytest.mark.parametrize("data", [None, b"memory"], ids=["NULL", "not NULL"])
@pytest.mark.parametrize("fate", ["to NumPy", "to torch", "to an array", "copied to torch"])
def test_empty_data_is_released_too(fate, data, versioned):
    source = lab.Export(data, (0, 3), versioned=versioned)
    FATES[fate](source.capsule())
    gc.collect()
    assert source.deleter_calls == 1


@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "legacy"])
@pytest.mark.parametrize("fate", FATES)
def test_a_null_deleter_is_accepted_and_not_called(fate, versioned):
    source = export(versioned=versioned, deleter="null")
    FATES[fate](source.capsule())
    gc.collect()
    assert source.deleter_calls == 0


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_a_deleter_waits_for_the_last_result(to):
    source = export()
    first = db.convert(source.capsule(), to)
    second = db.asarray(first)
    third = torch.from_dlpack(second)
    view = third[1:3]
    for name in ("first", "second", "third"):
        assert source.deleter_calls == 0, name
        if name == "first":
            del first
        elif name == "second":
            del second
        else:
            del third
        gc.collect()
    assert source.deleter_calls == 0 and view.tolist() == [1, 2]
    del view
    gc.collect()
    assert source.deleter_calls == 1


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_a_copy_releases_its_source_before_it_returns(to):
    source = export()
    result = db.convert(source.capsule(), to, copy=True)
    assert source.deleter_calls == 1
    assert db.to_numpy(result).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", [Producer, Table13])
def test_many_exchanges_release_each_time(kind):
    source = export()
    for round_number in range(1, 51):
        db.to_torch(kind(source))
        assert source.deleter_calls == round_number


def test_a_deleter_may_use_the_hub():
    seen = []

    def reenter():
        seen.append(db.to_numpy(torch.arange(3)).tolist())
        db.asarray(np.arange(3.0), copy=True)
        db.collect()
        db.stats()

    source = export(callback=reenter)
    result = db.to_torch(source.capsule())
    del result
    db.asarray(source.capsule())
    assert seen == [[0, 1, 2], [0, 1, 2]] and source.deleter_calls == 2


def test_a_deleter_may_drop_other_arrays_of_the_hub():
    inner = export()
    kept = [db.asarray(inner.capsule())]
    outer = export(callback=kept.clear)
    result = db.asarray(outer.capsule())
    del result
    assert (outer.deleter_calls, inner.deleter_calls) == (1, 1)


def test_deleters_may_form_long_chains():
    first = export()
    kept = db.asarray(first.capsule())
    for _ in range(200):
        kept = db.asarray(export(owner=kept).capsule())
    assert first.deleter_calls == 0
    del kept
    assert first.deleter_calls == 1


@pytest.mark.parametrize("fate", ["to NumPy", "to torch", "to an array", "copied to NumPy"])
def test_a_deleter_that_leaves_an_error_harms_nobody(fate):
    source = export(deleter="raise")
    FATES[fate](source.capsule())
    gc.collect()
    assert source.deleter_calls == 1
    assert db.to_numpy(torch.arange(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("fate", ["to NumPy", "to torch", "to an array", "copied to NumPy"])
def test_beside_another_thread_a_deleter_that_leaves_an_error_harms_nobody(fate):
    """torch drops a tensor without the GIL, which is not taken while somebody else may want it."""
    with another_thread():
        source = export(deleter="raise")
        FATES[fate](source.capsule())
        assert source.deleter_calls == 1
        gc.collect()  # meets what is pending
        assert db.to_numpy(torch.arange(3)).tolist() == [0, 1, 2]


def test_beside_another_thread_a_deleter_that_leaves_an_error_does_not_replace_a_real_one():
    source = export(deleter="raise")

    def body():
        tensor = db.to_torch(source.capsule())
        raise ZeroDivisionError(tensor.shape)

    with another_thread():
        with pytest.raises(ZeroDivisionError):
            body()
        gc.collect()
        assert source.deleter_calls == 1


def test_a_deleter_that_leaves_an_error_does_not_replace_the_real_one():
    source = export(deleter="raise", dtype=(99, 8, 1))
    with refuses("dtype"):
        db.to_numpy(Producer(source))
    assert source.deleter_calls == 1


def test_a_deleter_runs_while_another_error_is_on_its_way():
    source = export()

    def body():
        result = db.asarray(source.capsule())
        raise ZeroDivisionError(len(result))

    with pytest.raises(ZeroDivisionError):
        body()
    gc.collect()
    assert source.deleter_calls == 1


def test_a_refused_capsule_is_whole_and_usable_afterwards():
    source = export()
    capsule = source.capsule()
    expect_copy_required(lambda: db.to_torch(capsule, dtype="int8", copy=False))
    assert lab.name(capsule) == "dltensor_versioned"
    assert torch.from_dlpack(capsule).tolist() == [0, 1, 2, 3, 4, 5]
    capsule = None
    assert source.deleter_calls == 1


def test_forgotten_capsules_are_all_released():
    before = live()
    array = db.asarray(np.zeros(1000))
    for _ in range(20000):
        array.__dlpack__(max_version=(1, 3))
    assert live() == before + 1
