"""Which streams are ordered is said by plans and traces: pairs (consumer, producer)."""

import cupy
import fake_driver as driver
import jax
import numpy as np
import pytest
import raw_cuda as raw
from cuda_checks import KINDS, makes, on_torch, torch_array

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]


@pytest.mark.parametrize("p", KINDS)
@pytest.mark.parametrize("c", KINDS)
def test_a_plan_names_both_streams(p, c):
    p, c = raw.Stream(p), raw.Stream(c)
    x = torch_array(VALUES, p)
    expected = () if p.handle == c.handle else ((c.handle, p.handle),)
    with on_torch(p), makes(0, 0):
        assert db.plan(x, "torch", stream=c).waits == expected
        assert db.plan(x, "array", stream=c).waits == expected


def test_a_plan_orders_nothing_and_takes_nothing():
    p, c = raw.Stream(), raw.Stream()
    for make in (torch_array, raw.array):
        x = make(VALUES, p)
        with on_torch(p), makes(0, 0):
            db.plan(x, "torch", stream=c)
            db.plan(x, "numpy")
    assert db.stats().live_arrays == 0


def test_a_plan_asks_a_producer_with_minus_one():
    x = raw.array(VALUES, raw.Stream())
    db.plan(x, "torch", stream=raw.Stream())
    assert [asked["stream"] for asked in x.asked] == [-1]


def test_a_plan_does_not_call_jax():
    x, c = jax.numpy.full(3, 1.0), raw.Stream()
    with makes(0, 0):
        db.plan(x, "torch", stream=c)
        db.plan(x, "numpy")


UNKNOWN = {
    "protocol": lambda: raw.array(VALUES, raw.Stream()),
    "cupy": lambda: cupy.full(4, 1.0),
    "ignores": lambda: raw.array(VALUES, raw.Stream(), kind=raw.IgnoresStream),
}


@pytest.mark.parametrize("producer", UNKNOWN)
def test_a_producer_that_orders_itself_is_listed_as_unknown(producer):
    c = raw.Stream()
    assert db.plan(UNKNOWN[producer](), "torch", stream=c).waits == ((c.handle, "unknown"),)


def test_a_trace_tells_what_was_ordered():
    p, c = raw.Stream(), raw.Stream()
    x = torch_array(VALUES, p)
    with on_torch(p), db.trace() as t:
        a = db.asarray(x)
        db.to_torch(a, stream=p)
        db.to_torch(a, stream=c)
    assert [record.waits for record in t.records] == [(), (), ((c.handle, p.handle),)]


def test_the_texts_name_the_streams():
    p, c = raw.Stream(), raw.Stream()
    x = torch_array(VALUES, p)
    with on_torch(p):
        plan = db.plan(x, "torch", stream=c)
        with db.trace() as t:
            db.asarray(x, stream=c)
    for text in (str(plan), str(t.records[-1])):
        assert hex(c.handle) in text or str(c.handle) in text, text
    assert driver.host_waits() == 0


def test_minus_one_and_host_arrays_have_no_waits():
    x = torch_array(VALUES, raw.Stream())
    assert db.plan(x, "torch", stream=-1).waits == ()
    assert db.plan(np.zeros(3), "torch", stream=raw.Stream()).waits == ()
