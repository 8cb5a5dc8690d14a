"""How producers with `__dlpack__` are asked: with what, how often, and what their errors become."""

import dlpack_lab as lab
import numpy as np
import pytest
import torch
from checks import address, codes, live, plan_of, refuses
from producers import (
    AnyKeyword,
    OnDevice,
    OnlyStream,
    Producer,
    Raising,
    Returning,
    UpToVersion,
    WithoutKeywords,
    export,
    export_of,
)

import dlpack_bridge as db

SIGNATURES = [Producer, AnyKeyword, UpToVersion, OnlyStream, WithoutKeywords]


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_every_signature_is_asked_exactly_once(signature, versioned, to):
    producer = signature(export(versioned=versioned))
    result = db.convert(producer, to)
    assert len(producer.calls) == producer.export.exports == 1
    assert address(result) == producer.export.address
    assert producer.export.deleter_calls == 0
    del result
    assert producer.export.deleter_calls == producer.export.destructor_calls == 1


@pytest.mark.parametrize("signature", SIGNATURES)
def test_copy_false_works_with_every_signature(signature):
    producer = signature()
    assert address(db.to_numpy(producer, copy=False)) == producer.export.address
    assert len(producer.calls) == 1


@pytest.mark.parametrize("signature", SIGNATURES)
def test_copies_are_made_by_the_hub(signature):
    producer = signature()
    result = db.to_numpy(producer, copy=True, dtype="float64")
    assert result.tolist() == [0, 1, 2, 3, 4, 5]
    assert producer.export.deleter_calls == 1


@pytest.mark.parametrize("signature", [Producer, AnyKeyword])
def test_what_a_producer_is_asked(signature):
    producer = signature()
    db.asarray(producer)
    (given,) = producer.calls
    assert given["max_version"][0] == 1
    assert given.get("stream") is None
    assert given.get("dl_device") is None
    assert given.get("copy") is None
    db.asarray(producer, copy=False, device="cpu", dtype="float32")
    assert producer.calls[1]["copy"] is False
    assert producer.calls[1].get("dl_device") is None


class StreamAndCopy(Producer):
    """Takes `copy`, but no `max_version`: its legacy capsules cannot say that it copied."""

    def __dlpack__(self, *, stream=None, copy=None):
        self.calls.append({"stream": stream, "copy": copy})
        if copy is False:
            raise BufferError("not without a copy")
        return self.answer()


def test_a_forbidden_copy_is_forbidden_to_whom_takes_no_version():
    producer = StreamAndCopy(export(versioned=False))
    with refuses("producer", says=["not without a copy"]):
        db.to_numpy(producer, copy=False)
    assert [call["copy"] for call in producer.calls] == [False]
    assert db.to_numpy(producer).tolist() == [0, 1, 2, 3, 4, 5]
    assert producer.calls[1:] == [{"stream": None, "copy": None}]


def test_the_device_may_be_told_in_numpys_ints():
    producer = Producer()
    producer.__class__ = type(
        "Announcing",
        (Producer,),
        {
            "__dlpack_device__": lambda self: (np.int64(1), np.int32(0)),
        },
    )
    assert address(db.to_numpy(producer)) == producer.export.address


def test_a_plan_asks_once_and_lets_go():
    for signature in SIGNATURES:
        producer = signature()
        db.plan(producer, "numpy")
        assert producer.export.exports == producer.export.deleter_calls == 1


ERRORS = [
    BufferError("cannot export"),
    RuntimeError("broken"),
    AssertionError("no"),
    ValueError("bad"),
    AttributeError("missing"),
    NotImplementedError("later"),
    OSError("disk"),
    ZeroDivisionError(),
    TypeError("my own"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_what_a_producer_raises_becomes_an_exchange_error_with_its_cause(error):
    producer = Raising(error)
    with refuses("producer") as caught:
        db.to_numpy(producer)
    assert caught.value.__cause__ is error
    assert str(error) in str(caught.value)
    assert len(producer.calls) == 1
    assert codes(plan_of(producer, "torch").blockers) == {"producer"}


def test_an_exchange_error_of_a_producer_is_a_producer_error_too():
    error = db.ExchangeError("from within")
    with refuses("producer") as caught:
        db.to_numpy(Raising(error))
    assert caught.value.__cause__ is error


class DeepTypeError(Producer):
    """Its TypeError comes from a call inside, which looks like a binding error and is none."""

    def answer(self):
        len(3)


class UnexpectedKeywordInside(Producer):
    """Raises the very words of a binding error, from its own body."""

    def answer(self):
        raise TypeError("__dlpack__() got an unexpected keyword argument 'copy'")


@pytest.mark.parametrize("producer", [DeepTypeError, UnexpectedKeywordInside])
def test_a_type_error_of_its_own_is_not_retried(producer):
    instance = producer()
    with refuses("producer"):
        db.to_numpy(instance)
    assert len(instance.calls) == 1


class Unaskable(Producer):
    """Wants an argument that nobody gives."""

    def __dlpack__(self, secret):
        raise AssertionError("never reached")


def test_a_producer_that_cannot_be_called_at_all_is_refused():
    with refuses("producer") as caught:
        db.to_numpy(Unaskable())
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), MemoryError(), SystemExit(3), GeneratorExit()]
)
def test_what_is_no_answer_passes_through(error):
    before = live()
    for call in (db.to_numpy, db.to_torch, db.asarray, lambda x: db.plan(x, "numpy")):
        with pytest.raises(type(error)) as caught:
            call(Raising(error))
        assert caught.value is error
    assert live() == before


@pytest.mark.parametrize("value", [None, 3, "capsule", (1, 2), object(), np.zeros(3), {}])
def test_an_answer_that_is_no_capsule_is_refused(value):
    with refuses():
        db.to_numpy(Returning(value))


def test_an_answer_with_a_foreign_or_used_capsule_is_refused():
    foreign = export()
    with refuses("capsule"):
        db.to_numpy(Returning(foreign.capsule(name="something else")))
    used = export()
    capsule = used.capsule()
    lab.take(capsule).release()
    with refuses("capsule"):
        db.to_numpy(Returning(capsule))
    assert used.deleter_calls == 1


def test_a_producer_that_answers_twice_with_one_capsule_is_refused_the_second_time():
    source = export()
    producer = Returning(source.capsule())
    first = db.to_numpy(producer)
    with refuses("capsule"):
        db.to_numpy(producer)
    assert first.tolist() == [0, 1, 2, 3, 4, 5]
    del first, producer
    assert source.deleter_calls == 1


def test_a_producer_without_a_device_method_still_has_a_capsule():
    class WithoutDevice:
        def __init__(self):
            self.export = export()

        def __dlpack__(self, **keywords):
            return self.export.capsule()

    try:
        assert db.to_numpy(WithoutDevice()).tolist() == [0, 1, 2, 3, 4, 5]
    except db.ExchangeError as error:
        assert codes(error.blockers)


@pytest.mark.parametrize(
    "device",
    [None, (), (1,), (1, 0, 0), "cpu", ("cpu", 0), 1, (2.5, 0), (2**40, 0), RuntimeError("d")],
)
def test_rubbish_from_the_device_method_is_an_error_or_ignored(device):
    producer = OnDevice(device)
    try:
        assert db.to_numpy(producer).tolist() == [0, 1, 2, 3, 4, 5]
    except db.ExchangeError as error:
        assert codes(error.blockers)
    assert producer.export.exports == producer.export.deleter_calls


def test_pinned_memory_that_says_cpu_in_the_capsule_is_shared():
    producer = OnDevice((3, 0))
    assert address(db.to_numpy(producer)) == producer.export.address


def test_a_capsule_on_a_device_that_the_producer_did_not_announce_is_never_read():
    producer = Producer(lab.Export(0x10, (3,), device=(8, 0)))
    for to in ("numpy", "torch"):
        with refuses():
            db.convert(producer, to)


def test_the_capsule_is_used_up_and_dropped():
    producer = Producer()
    array = db.asarray(producer)
    assert producer.export.destructor_calls == 1
    assert producer.export.deleter_calls == 0
    del array
    assert producer.export.deleter_calls == 1


def test_an_owner_is_held_exactly_once_while_shared():
    import sys

    a = np.arange(6.0)
    before = sys.getrefcount(a)
    source = export_of(a)
    held = sys.getrefcount(a)
    result = db.to_torch(Producer(source))
    assert sys.getrefcount(a) == held + 1
    result[0] = 9
    assert a[0] == 9
    del result
    assert sys.getrefcount(a) == held
    del source
    assert sys.getrefcount(a) == before


def test_the_same_producer_can_be_asked_again_and_again():
    producer = Producer()
    for round_number in range(1, 6):
        assert db.to_numpy(producer).tolist() == [0, 1, 2, 3, 4, 5]
        assert producer.export.deleter_calls == len(producer.calls) == round_number


def test_a_bound_method_is_found_through_inheritance_and_descriptors():
    class Static:
        export = export()

        @staticmethod
        def __dlpack__(**keywords):
            return Static.export.capsule()

        @classmethod
        def __dlpack_device__(cls):
            return (1, 0)

    assert db.to_numpy(Static()).tolist() == [0, 1, 2, 3, 4, 5]
    assert torch.equal(db.to_torch(type("Child", (Producer,), {})()), torch.arange(6.0))


SAID = {
    "all lines, as one": (
        "cannot export:\n  this is why\n\n  and this",
        "cannot export: this is why; and this",
    ),
    "no stack trace": (
        "no such device\nException raised from get at x.cpp:3 (most recent call first):\nframe #0: f",
        "no such device",
    ),
    "no stack trace, of which the frames are left": ("bad\nframe #0: f + 0x1\n", "bad"),
    "not more than anybody reads": ("word " * 1000, ("word " * 1000)[:1999] + " ..."),
    "no half of a character": ("\u00e9" * 3000, "\u00e9" * 1000 + " ..."),
    "no half of a character at an odd place": (
        "x" + "\u00e9" * 3000,
        "x" + "\u00e9" * 999 + " ...",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_a_producer_says_is_in_the_message(case):
    said, heard = SAID[case]
    with pytest.raises(db.ExchangeError) as caught:
        db.to_numpy(Raising(RuntimeError(said)))
    assert f"failed: RuntimeError: {heard}; mend it, or" in str(caught.value)


def test_a_refusal_of_the_hub_itself_keeps_its_reasons_and_remedies():
    locked = np.arange(3.0)
    locked.flags.writeable = False
    array = db.asarray(locked)

    class Wrapper:
        def __dlpack__(self, **keywords):
            return array.__dlpack__()

        def __dlpack_device__(self):
            return (1, 0)

    plan = db.plan(Wrapper(), "numpy")
    assert [blocker.code for blocker in plan.blockers] == ["producer"]
    assert "readonly" in plan.blockers[0].message and "max_version" in plan.blockers[0].message
