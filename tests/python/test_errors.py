"""Error classes and words: everything that is known, every blocker at once, each with its remedy."""

import re

import dlpack_lab as lab
import numpy as np
import pytest
import samples
import torch
import torch_states
from checks import address, codes, needs_copy, refuses
from producers import Raising, export

import dlpack_bridge as db


def test_the_classes_inherit_from_what_people_catch():
    assert issubclass(db.ExchangeError, BufferError)
    assert issubclass(db.CopyRequiredError, db.ExchangeError)
    assert issubclass(db.CopyRequiredError, ValueError)
    assert issubclass(db.NotAnArrayError, TypeError)
    assert issubclass(db.NotAnArrayError, AttributeError)
    assert not issubclass(db.NotAnArrayError, db.ExchangeError)
    assert issubclass(db.CudaError, RuntimeError)
    assert not issubclass(db.ExchangeError, ValueError)


def message_of(call):
    with pytest.raises(db.ExchangeError) as caught:
        call()
    return str(caught.value)


def assert_shape(shape, text):
    assert re.search(r"\s*,\s*".join(str(extent) for extent in shape), text), text


REFUSALS = {
    "requires_grad": (lambda: torch.ones(2, 5, requires_grad=True), "numpy", {}, "float32"),
    "sparse": (torch_states.REFUSED["sparse COO"][1], "numpy", {}, "float32"),
    "negative_stride": (lambda: np.zeros((2, 5))[::-1], "torch", {"copy": False}, "float64"),
    "dtype": (lambda: np.zeros((2, 5), "i2"), "torch", {"dtype": "f4", "copy": False}, "int16"),
    "readonly": (lambda: np.broadcast_to(1.0, (2, 5)), "torch", {"copy": False}, "float64"),
    "lanes": (lambda: export(shape=(1, 3), dtype=(2, 32, 2)).capsule(), "numpy", {}, "float32"),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_message_names_source_target_and_blocker(code):
    make, to, keywords, dtype = REFUSALS[code]
    if "dtype" in keywords:
        keywords = {**keywords, "dtype": "float32"}
    x = make()
    text = message_of(lambda: db.convert(x, to, **keywords))
    assert "cpu" in text
    assert to in text
    assert code in text or code.replace("_", " ") in text or code.replace("_", "-") in text
    if code != "lanes":
        assert dtype in text
        assert_shape(x.shape, text)


@pytest.mark.parametrize("code", ["requires_grad", "negative_stride", "dtype", "readonly"])
def test_a_message_names_the_strides(code):
    make, to, keywords, _ = REFUSALS[code]
    if "dtype" in keywords:
        keywords = {**keywords, "dtype": "float32"}
    x = make()
    strides = x.stride() if isinstance(x, torch.Tensor) else [s // x.itemsize for s in x.strides]
    assert_shape(strides, message_of(lambda: db.convert(x, to, **keywords)))


def test_every_blocker_is_in_the_message_with_its_remedy():
    t = torch.zeros(2, 3, dtype=torch.complex64, requires_grad=True).conj()
    with refuses("requires_grad", "conj", "dtype") as caught:
        db.to_numpy(t, copy=False, dtype="complex128")
    for blocker in caught.value.blockers:
        assert blocker.message in str(caught.value)
    assert "detach=True" in str(caught.value) and "copy=None" in str(caught.value)


def test_read_only_and_reversed_are_told_together():
    a = np.arange(6.0)[::-1]
    a.flags.writeable = False
    with needs_copy("readonly", "negative_stride"):
        db.to_torch(a, copy=False)


def test_device_and_state_are_told_together():
    capsule = lab.Export(None, (3,), dtype=(2, 32, 2), device=(8, 0)).capsule()
    with pytest.raises(db.ExchangeError) as caught:
        db.to_numpy(capsule)
    assert codes(caught.value.blockers) & {"device", "lanes", "malformed"}


def test_blockers_are_reasons():
    with pytest.raises(db.ExchangeError) as caught:
        db.to_numpy(torch.ones(3, requires_grad=True))
    (blocker,) = caught.value.blockers
    assert type(caught.value.blockers) is tuple
    assert type(blocker) is db.Reason
    assert blocker.code == "requires_grad" and "detach=True" in blocker.message


REMEDIES = [
    (lambda: torch.ones(3, requires_grad=True), "numpy", {}, "detach=True", {"detach": True}),
    (lambda: np.zeros(3)[::-1], "torch", {"copy": False}, "copy=None", {"copy": None}),
    (
        lambda: np.frombuffer(b"abc", "u1"),
        "torch",
        {"copy": False},
        'readonly="share"',
        {"copy": False, "readonly": "share"},
    ),
    (torch_states.half_complex, "numpy", {}, "complex64", {"dtype": "complex64"}),
    (
        lambda: np.zeros(3),
        "torch",
        {"dtype": "float32", "copy": False},
        "copy=None",
        {"dtype": "float32", "copy": None},
    ),
]


@pytest.mark.parametrize("make, to, keywords, words, remedy", REMEDIES)
def test_the_remedy_in_the_message_works(make, to, keywords, words, remedy):
    x = make()
    assert words in message_of(lambda: db.convert(x, to, **keywords))
    db.convert(x, to, **remedy)


def test_the_cause_is_kept_and_nothing_else_is_invented():
    error = ValueError("original")
    with pytest.raises(db.ExchangeError) as caught:
        db.to_torch(Raising(error))
    assert caught.value.__cause__ is error
    with pytest.raises(db.ExchangeError) as caught:
        db.to_numpy(torch.ones(3, requires_grad=True))
    assert caught.value.__cause__ is None


def test_a_refusal_inside_an_except_block_keeps_its_context():
    try:
        raise KeyError("outer")
    except KeyError:
        with pytest.raises(db.ExchangeError) as caught:
            db.to_numpy(torch.ones(3, requires_grad=True))
    assert isinstance(caught.value.__context__, KeyError)


def test_every_refusal_can_be_caught_as_a_buffer_error():
    for x, to in ((torch.ones(3, requires_grad=True), "numpy"), (np.array([None]), "torch")):
        with pytest.raises(BufferError):
            db.convert(x, to)
    with pytest.raises(ValueError):
        db.to_torch(np.zeros(3)[::-1], copy=False)


def test_copy_required_means_that_the_same_call_with_copy_none_works():
    cases = [
        (lambda: np.zeros(3)[::-1], {}),
        (lambda: samples.misaligned(), {}),
        (lambda: samples.packed_field(), {}),
        (lambda: np.zeros((3, 4)).T, {"order": "C"}),
        (lambda: np.zeros(3), {"dtype": "int8"}),
        (lambda: b"abc", {}),
    ]
    for make, keywords in cases:
        x = make()
        with pytest.raises(db.CopyRequiredError):
            db.to_torch(x, copy=False, **keywords)
        db.to_torch(x, copy=None, **keywords)


def test_errors_survive_pickling_as_their_text():
    import pickle

    with pytest.raises(db.ExchangeError) as caught:
        db.to_numpy(torch.ones(3, requires_grad=True))
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is db.ExchangeError and str(again) == str(caught.value)


def test_unknown_types_are_named_by_code_bits_and_lanes():
    for dtype in [(99, 8, 1), (2, 24, 1), (255, 255, 1), (0, 7, 1)]:
        text = message_of(lambda: db.to_numpy(export(dtype=dtype, shape=(1,)).capsule()))  # noqa: B023
        for number in dtype:
            assert str(number) in text, (dtype, text)


def test_a_refused_version_is_named():
    text = message_of(lambda: db.to_numpy(export(version=(2, 7)).capsule()))
    assert "2" in text and "version" in text


def test_a_failed_call_changes_nothing():
    a = np.arange(6.0)[::-1]
    keep = a.copy(), a.strides, address(a)
    for keywords in ({"copy": False}, {"copy": False, "dtype": "int32"}):
        with pytest.raises(db.ExchangeError):
            db.to_torch(a, **keywords)
    assert (a == keep[0]).all() and (a.strides, address(a)) == keep[1:]
