"""`plan` decides exactly what `convert` does, does nothing itself and never raises a refusal."""

import gc
import sys

import dlpack_lab as lab
import numpy as np
import pytest
import torch
from cases import CASES
from checks import address, assert_same_elements, codes, is_writable, live, plan_of
from producers import Producer, Raising, Table13, export

import dlpack_bridge as db


@pytest.mark.parametrize("name", CASES)
def test_the_plan_says_what_the_table_says(name):
    case = CASES[name]
    x = case.make()
    before = live()
    plan = plan_of(x, case.to, **case.keywords)
    assert plan.action == case.action, str(plan)
    if case.action == "refuse":
        assert case.codes <= codes(plan.blockers), str(plan)
    else:
        assert codes(plan.reasons) == case.codes, str(plan)
        assert plan.nbytes == case.nbytes
        assert plan.readonly is case.readonly
    assert plan.waits == ()
    assert live() == before


@pytest.mark.parametrize("name", CASES)
def test_convert_does_what_the_plan_says(name):
    case = CASES[name]
    x = case.make()
    plan = plan_of(x, case.to, **case.keywords)
    before = db.stats()
    if plan.action == "refuse":
        with pytest.raises(db.ExchangeError) as caught:
            db.convert(x, case.to, **case.keywords)
        assert codes(caught.value.blockers) == codes(plan.blockers)
        assert [b.message for b in caught.value.blockers] == [b.message for b in plan.blockers]
        return
    result = db.convert(x, case.to, **case.keywords)
    after = db.stats()
    assert after.copies - before.copies == (plan.action == "copy")
    assert after.copied_bytes - before.copied_bytes == plan.nbytes
    known = isinstance(x, (np.ndarray, torch.Tensor, db.Array)) and 0 not in x.shape
    if known and result is not x:
        assert (address(result) == address(x)) == (plan.action == "share")
    if case.to != "torch" and result is not x:
        assert is_writable(result) == (not plan.readonly)


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n].action == "copy"])
def test_with_copy_false_the_reasons_become_the_blockers(name):
    case = CASES[name]
    if "copy" in case.keywords:
        return
    plan = plan_of(case.make(), case.to, **{**case.keywords, "copy": False})
    assert plan.action == "refuse"
    assert case.codes <= codes(plan.blockers)
    with pytest.raises(db.CopyRequiredError):
        db.convert(case.make(), case.to, **{**case.keywords, "copy": False})


def test_a_plan_holds_nothing():
    a = np.arange(6.0)
    before = sys.getrefcount(a)
    plan = db.plan(a, "torch")
    assert sys.getrefcount(a) == before
    del a
    assert "torch" in str(plan)


def test_a_plan_leaves_a_capsule_as_it_is():
    source = export()
    capsule = source.capsule()
    for to in ("numpy", "torch", "array"):
        db.plan(capsule, to)
        db.plan(capsule, to, copy=True, dtype="float64")
    assert lab.name(capsule) == "dltensor_versioned"
    assert source.deleter_calls == 0
    assert address(db.to_numpy(capsule)) == source.address


def test_a_plan_drops_the_capsule_that_it_had_to_ask_for():
    producer = Producer()
    db.plan(producer, "torch")
    gc.collect()
    assert len(producer.calls) == producer.export.exports == producer.export.deleter_calls == 1


def test_a_plan_releases_what_the_exchange_table_gave():
    source = export()
    db.plan(Table13(source), "torch")
    assert source.exports == source.deleter_calls <= 1


def test_a_refused_plan_lists_every_blocker():
    t = torch.zeros(3, dtype=torch.complex64, requires_grad=True).conj()
    assert {"requires_grad", "conj"} <= codes(plan_of(t, "numpy", copy=False).blockers)


@pytest.mark.parametrize("error", [BufferError("b"), RuntimeError("r"), TypeError("t")])
def test_what_a_producer_raises_is_a_blocker(error):
    plan = plan_of(Raising(error), "numpy")
    assert codes(plan.blockers) == {"producer"}
    assert str(error) in plan.blockers[0].message


@pytest.mark.parametrize("x", [[1, 2], 3, "abc", None, (1,), object()])
def test_a_plan_for_what_is_no_array_is_a_type_error(x):
    with pytest.raises(TypeError):
        db.plan(x, "torch")


def test_a_plan_with_wrong_keywords_raises():
    with pytest.raises(ValueError):
        db.plan(np.zeros(3), "torch", readonly="maybe")
    with pytest.raises(ValueError):
        db.plan(np.zeros(3), "no such framework")
    with pytest.raises(TypeError):
        db.plan(np.zeros(3), "torch", no_such_keyword=1)


@pytest.mark.parametrize("name", ["numpy to torch", "reversed to torch", "requires grad"])
def test_a_plan_can_be_read_by_a_person(name):
    case = CASES[name]
    plan = plan_of(case.make(), case.to, **case.keywords)
    text = str(plan)
    assert plan.action in text
    assert case.to in text
    assert 1 <= len(text.strip().splitlines()) <= 12
    for reason in plan.reasons + plan.blockers:
        assert reason.code in text
        assert reason.code in str(reason) and reason.message in str(reason)


def test_a_plan_names_both_ends_and_the_protocol():
    plan = plan_of(np.zeros((2, 3)), "torch")
    assert "numpy" in str(plan.source).lower()
    assert "torch" in str(plan.target).lower()
    assert plan.protocol and isinstance(plan.protocol, str)


def test_the_same_plan_twice_is_the_same_decision():
    a = np.zeros(3)[::-1]
    first, second = db.plan(a, "torch"), db.plan(a, "torch")
    assert str(first) == str(second)


def test_elements_are_not_touched_by_a_plan():
    a = np.arange(6.0)[::-1]
    db.plan(a, "torch", dtype="int32")
    assert_same_elements(a, np.arange(6.0)[::-1])
