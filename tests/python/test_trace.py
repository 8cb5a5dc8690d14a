"""`with db.trace()`: every exchange of this thread and context, and why it copied."""

import asyncio
import contextvars
import threading

import numpy as np
import pytest
import torch
from cases import CASES
from checks import address, codes, live, plan_of

import dlpack_bridge as db


@pytest.mark.parametrize("name", CASES)
def test_each_exchange_leaves_a_record_that_equals_its_plan(name):
    case = CASES[name]
    x = case.make()
    plan = plan_of(x, case.to, **case.keywords)
    result = None
    with db.trace() as trace:
        try:
            result = db.convert(x, case.to, **case.keywords)
        except db.ExchangeError:
            pass
    if result is x:
        assert list(trace.records) == []
        return
    if name == "detached to torch":
        return  # an alias of the tensor itself: on record or not
    (record,) = trace.records
    assert record.action == plan.action
    assert record.nbytes == (plan.nbytes if plan.action != "refuse" else 0)
    assert str(record.source) == str(plan.source)
    assert str(record.target) == str(plan.target)
    assert record.protocol == plan.protocol
    if plan.action != "refuse":
        assert codes(record.reasons) == codes(plan.reasons)
    assert trace.copied_bytes == record.nbytes


def test_records_stand_in_order_and_add_up():
    a = np.arange(6.0)
    with db.trace() as trace:
        db.to_torch(a)
        db.to_torch(a, dtype="float32")
        db.asarray(a, copy=True)
    assert [record.action for record in trace.records] == ["share", "copy", "copy"]
    assert [record.nbytes for record in trace.records] == [0, 24, 48]
    assert trace.copied_bytes == 72


@pytest.mark.parametrize(
    "exchange",
    [
        lambda: db.to_torch(np.arange(3.0)),
        lambda: db.to_numpy(torch.arange(3.0)),
        lambda: db.asarray(np.arange(3.0)),
        lambda: db.from_dlpack(np.arange(3.0)),
        lambda: db.convert(np.arange(3.0), "torch"),
        lambda: db.convert_tree([np.arange(3.0)], "torch"),
    ],
    ids=["to_torch", "to_numpy", "asarray", "from_dlpack", "convert", "convert_tree"],
)
def test_every_function_is_traced(exchange):
    with db.trace() as trace:
        exchange()
    assert len(trace.records) == 1


def test_nothing_is_recorded_outside_the_block():
    a = np.arange(3.0)
    db.to_torch(a)
    with db.trace() as trace:
        pass
    db.to_torch(a)
    assert list(trace.records) == [] and trace.copied_bytes == 0


def test_plans_are_not_exchanges():
    with db.trace() as trace:
        db.plan(np.arange(3.0), "torch", copy=True)
    assert list(trace.records) == []


def test_the_block_may_end_with_an_error():
    with pytest.raises(ZeroDivisionError), db.trace() as trace:
        db.to_torch(np.arange(3.0))
        raise ZeroDivisionError
    assert len(trace.records) == 1
    db.to_torch(np.arange(3.0))
    assert len(trace.records) == 1


def test_refused_exchanges_are_on_record():
    with db.trace() as trace, pytest.raises(db.ExchangeError):
        db.to_numpy(torch.ones(3, requires_grad=True))
    (record,) = trace.records
    assert record.action == "refuse"
    assert "requires_grad" in str(trace)


def test_nested_traces_both_see_the_exchange():
    with db.trace() as outer:
        db.to_torch(np.arange(3.0))
        with db.trace() as inner:
            db.to_torch(np.arange(3.0))
    assert (len(outer.records), len(inner.records)) == (2, 1)


def test_other_threads_are_not_recorded():
    with db.trace() as trace:
        thread = threading.Thread(target=lambda: db.to_torch(np.arange(3.0)))
        thread.start()
        thread.join()
    assert list(trace.records) == []


def test_each_thread_has_its_own_trace():
    counts = {}
    barrier = threading.Barrier(4)

    def work(n):
        with db.trace() as trace:
            barrier.wait()
            for _ in range(n):
                db.to_torch(np.arange(3.0))
            barrier.wait()
            counts[n] = len(trace.records)

    threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {1: 1, 2: 2, 3: 3, 4: 4}


def test_a_copied_context_is_recorded():
    with db.trace() as trace:
        contextvars.copy_context().run(db.to_torch, np.arange(3.0))
    assert len(trace.records) == 1


def test_another_context_is_not_recorded():
    other = contextvars.copy_context()
    with db.trace() as trace:
        other.run(db.to_torch, np.arange(3.0))
    assert list(trace.records) == []


def test_tasks_are_recorded_where_their_context_says():
    async def exchange():
        await asyncio.sleep(0)
        db.to_torch(np.arange(3.0))

    async def traced():
        with db.trace() as trace:
            await exchange()
            await asyncio.sleep(0)
        return len(trace.records)

    async def main():
        return await asyncio.gather(traced(), exchange(), exchange(), traced())

    assert asyncio.run(main()) == [1, None, None, 1]


def test_a_trace_can_be_read_by_a_person():
    with db.trace() as trace:
        db.to_torch(np.arange(6.0)[::-1])
        db.to_numpy(torch.arange(3.0))
    text = str(trace)
    for word in ("numpy", "torch", "copy", "share", "negative_stride", "48"):
        assert word in text, text
    assert "negative_stride" in str(trace.records[0])


def test_a_trace_keeps_no_array_alive():
    before = live()
    with db.trace() as trace:
        db.to_torch(np.arange(3.0))
        db.asarray(np.arange(3.0), copy=True)
    assert live() == before
    assert len(trace.records) == 2


def test_records_have_stream_waits_and_there_are_none_on_the_host():
    with db.trace() as trace:
        db.to_torch(np.arange(3.0))
    assert tuple(trace.records[0].waits) == ()


def frozen():
    a = np.arange(6.0).reshape(2, 3)
    a.flags.writeable = False
    return db.asarray(a)


def plain():
    return db.asarray(np.arange(6.0).reshape(2, 3))


REFUSED_EXPORTS = {
    "read-only, legacy": (frozen, {}, "readonly"),
    "read-only, legacy by version": (frozen, {"max_version": (0, 8)}, "readonly"),
    "stream on the host": (plain, {"stream": 1}, "stream"),
    "stream on the host, versioned": (plain, {"stream": -1, "max_version": (1, 3)}, "stream"),
    "device without an adapter": (plain, {"dl_device": (8, 0)}, "device"),
}


@pytest.mark.parametrize("case", REFUSED_EXPORTS)
def test_refused_exports_of_an_array_are_on_record_with_everything_known(case):
    make, keywords, code = REFUSED_EXPORTS[case]
    array = make()
    with db.trace() as trace, pytest.raises(db.ExchangeError) as caught:
        array.__dlpack__(**keywords)
    (record,) = trace.records
    assert (record.action, record.nbytes) == ("refuse", 0)
    assert code in codes(record.blockers) and code in codes(caught.value.blockers)
    text = str(caught.value)
    for word in ("cpu", "float64", "(2, 3)", "(3, 1)", "DLPack consumer", code):
        assert word in text, (word, text)
    assert code in str(trace) and "refuse" in str(trace)


@pytest.mark.parametrize("consume", [np.from_dlpack, torch.from_dlpack])
def test_what_others_take_from_an_array_is_on_record(consume):
    array = plain()
    with db.trace() as trace:
        result = consume(array)
    assert address(result) == array.data_ptr
    (record,) = trace.records
    assert (record.action, record.nbytes, tuple(record.reasons)) == ("share", 0, ())
    assert "array" in str(record.source)


def test_a_copy_that_an_export_makes_is_on_record():
    array = plain()
    with db.trace() as trace:
        np.from_dlpack(array, copy=True)
    (record,) = trace.records
    assert (record.action, record.nbytes) == ("copy", 48)
    assert codes(record.reasons) == {"copy_requested"}
    assert trace.copied_bytes == 48


def test_a_trace_that_is_entered_twice_records_once():
    trace = db.trace()
    with trace:
        with trace:
            db.to_torch(np.arange(3.0))
        assert len(trace.records) == 1
        db.to_torch(np.arange(3.0))
    assert len(trace.records) == 2
    db.to_torch(np.arange(3.0))
    assert len(trace.records) == 2


def test_traces_may_end_in_another_order_than_they_began():
    outer, inner = db.trace(), db.trace()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    db.to_torch(np.arange(3.0))
    assert (len(outer.records), len(inner.records)) == (0, 1)
    inner.__exit__(None, None, None)
    db.to_torch(np.arange(3.0))
    assert (len(outer.records), len(inner.records)) == (0, 1)


def test_a_trace_is_left_where_it_was_entered():
    trace = db.trace()
    with pytest.raises(ValueError, match="not active"):
        trace.__exit__(None, None, None)
    other = contextvars.copy_context()
    other.run(trace.__enter__)
    with pytest.raises(ValueError, match="another thread or task"):
        trace.__exit__(None, None, None)


def test_a_trace_that_was_left_in_another_thread_can_still_be_left():
    trace, caught = db.trace(), []

    def leave():
        try:
            trace.__exit__(None, None, None)
        except ValueError as error:
            caught.append(str(error))

    with trace:
        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        db.to_torch(np.arange(3.0))
    assert "another thread" in caught[0] and len(trace.records) == 1
    with pytest.raises(ValueError, match="not active"):
        trace.__exit__(None, None, None)


def test_a_subclass_of_trace_may_have_its_own_new():
    class Named(db.trace):
        def __new__(cls, name):
            self = super().__new__(cls)
            self.name = name
            return self

        def __init__(self, name):
            super().__init__()

    with Named("x") as trace:
        db.to_torch(np.arange(3.0))
    assert (type(trace), trace.name, len(trace.records)) == (Named, "x", 1)
    assert len(db.trace.__new__(db.trace).records) == 0


def test_new_of_trace_makes_traces_only():
    with db.trace() as trace:
        plan = db.plan(np.arange(3.0), "numpy")
        db.to_torch(np.arange(3.0))
    base, reports = db.trace.__mro__[1], [type(plan), type(trace.records[0])]
    for new, kinds in (
        (db.trace.__new__, reports + [int, 3]),
        (base.__new__, reports + [db.trace]),
        (object.__new__, reports + [db.trace]),
    ):
        for kind in kinds:
            with pytest.raises(TypeError):
                new(kind)
    with pytest.raises(TypeError):
        db.trace.__new__()


def test_a_subclass_of_trace_is_one():
    class Named(db.trace):
        def __init__(self, name):
            super().__init__()
            self.name = name

    with Named("x") as trace:
        db.to_torch(np.arange(3.0))
    assert (type(trace), trace.name, len(trace.records)) == (Named, "x", 1)
    with pytest.raises(TypeError):
        db.trace("x")


def test_a_trace_around_another_that_is_entered_twice():
    outer, inner = db.trace(), db.trace()
    with outer, inner, outer:
        db.to_torch(np.arange(3.0), copy=True)
    assert (len(outer.records), len(inner.records)) == (1, 1)
    assert outer.copied_bytes == inner.copied_bytes == 24


@pytest.mark.parametrize(
    "make, keywords",
    [
        (lambda: np.zeros(3), {"alignment": 2**40}),
        (lambda: np.broadcast_to(np.zeros(1, "u1"), (2**60,)), {"copy": True}),
    ],
)
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_an_exchange_without_memory_is_not_on_record_as_done(to, make, keywords):
    x, before = make(), db.stats()
    try:
        with db.trace() as trace:
            result = db.convert(x, to, **keywords)
    except MemoryError:
        assert [record.action for record in trace.records if record.action != "refuse"] == []
        assert trace.copied_bytes == 0
        after = db.stats()
        assert (after.copies, after.copied_bytes) == (before.copies, before.copied_bytes)
    else:  # a system that promises any memory
        assert keywords == {"alignment": 2**40} and address(result) % 2**40 == 0
