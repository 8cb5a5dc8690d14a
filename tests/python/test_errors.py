"""Error classes and words: everything that is known, every blocker at once, each with its remedy."""

import re

import dlpack_lab as lab
import ml_dtypes
import numpy as np
import pytest
import samples
import torch
import torch_states
from cases import CASES
from checks import address, codes, needs_copy, plan_of, refuses
from producers import Raising, Returning, export

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


# How a remedy begins; it stands after the fact, behind a semicolon, a colon or a comma.
REMEDY = re.compile(
    r"[;:,] (or )?(pass|leave|take|exchange|materialize|convert|install|move|mend|export|give|make"
    r"|keep|ask|reshape|reinstall|release|wait|call|check|let|use|see|look) "
)


MESSAGES = {
    "rocm": (lambda: np.zeros(3), "torch", {"device": "rocm"}, "device="),
    "rocm for NumPy": (lambda: np.zeros(3), "numpy", {"device": "rocm"}, "device="),
    "rocm for the hub": (lambda: np.zeros(3), "array", {"device": "rocm"}, "device="),
    "Metal": (lambda: export(device=(8, 0)).capsule(), "numpy", {}, "CPU"),
    "mkldnn": (torch_states.REFUSED_SOMEHOW["mkldnn"], "numpy", {}, "to_dense()"),
    "zero tensor": (torch_states.REFUSED_SOMEHOW["zero tensor"], "numpy", {}, "clone()"),
    "masked": (lambda: np.ma.zeros(3), "torch", {}, "filled("),
    "consumed capsule": (lambda: consumed(), "numpy", {}, "again"),
    "no capsule": (lambda: Returning(3), "numpy", {}, ""),
    "NULL data": (lambda: lab.Export(None, (3,)).capsule(), "numpy", {}, ""),
    "too many axes": (lambda: export([1.0], shape=(1,) * 65).capsule(), "numpy", {}, "reshape"),
    "stream": (lambda: np.zeros(3), "torch", {"stream": 0}, "None"),
    "bits of 128": (lambda: np.zeros(3, "c16"), "numpy", {"dtype": "bits"}, "dtype="),
    "copied by the producer": (
        lambda: export(flags=2).capsule(),
        "numpy",
        {"copy": False},
        "copy=None",
    ),
    **{
        f"{name} to numpy": (make, "numpy", {}, {"sparse": "to_dense()"}.get(code, ""))
        for name, (code, make) in torch_states.REFUSED.items()
    },
    **{
        f"{name} to torch": (lambda name=name: samples.refused_numpy()[name], "torch", {}, "")
        for name in samples.refused_numpy()
    },
    **{
        name: (case.make, case.to, case.keywords, "")
        for name, case in CASES.items()
        if case.action == "refuse"
    },
}


def consumed():
    capsule = export().capsule()
    db.to_numpy(capsule)
    return capsule


@pytest.mark.parametrize("name", MESSAGES)
def test_every_blocker_tells_a_remedy_after_the_fact(name):
    make, to, keywords, words = MESSAGES[name]
    plan = plan_of(make(), to, **keywords)
    assert plan.action == "refuse"
    for blocker in plan.blockers:
        assert REMEDY.search(blocker.message), blocker.message
        assert "\n" not in blocker.message
    assert words in str(plan), str(plan)


def test_a_structured_array_goes_field_by_field():
    x = np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
    assert 'x["name"]' in message_of(lambda: db.to_torch(x))
    assert db.to_torch(x["a"]).tolist() == [0, 0]


def test_raw_bytes_have_no_fields_to_go_by():
    assert "field" not in message_of(lambda: db.to_torch(np.zeros(2, "V3")))


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[ns]"])
def test_times_go_as_integers(dtype):
    x = np.ones(3, dtype)
    assert 'x.view("int64")' in message_of(lambda: db.to_torch(x))
    assert db.to_torch(x.view("int64")).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["int4", "uint4", "bits8"])
def test_the_remedy_for_a_type_that_torch_cannot_convert_is_a_view(name):
    if not hasattr(torch, name):
        pytest.skip(f"this torch has no {name}")
    x = torch.ones(4, dtype=torch.uint8).view(getattr(torch, name))
    text = message_of(lambda: db.to_numpy(x))
    try:
        x.to(torch.uint8)
    except NotImplementedError:
        assert "x.to(" not in text and "x.view(" in text, text
    assert db.to_numpy(x.view(torch.uint8)).tolist() == [1, 1, 1, 1]


def named_keywords(text):
    """Every keyword="value" that a message names."""
    return [{key: value} for key, value in re.findall(r'\b(\w+)="([^"]+)"', text)]


NAMED = {
    "complex32": (torch_states.half_complex, "numpy", {}),
    "float8_e3m4": (lambda: np.zeros(3, ml_dtypes.float8_e3m4), "torch", {}),
    "packed float4": (
        lambda: torch.zeros(3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        "numpy",
        {},
    ),
    "read-only as an error": (lambda: frozen(), "torch", {"readonly": "error"}),
    "read-only as an error, no copy": (
        lambda: frozen(),
        "torch",
        {"readonly": "error", "copy": False},
    ),
    "read-only, no copy": (lambda: frozen(), "torch", {"copy": False}),
}


def frozen():
    a = np.arange(3.0)
    a.flags.writeable = False
    return a


@pytest.mark.parametrize("name", NAMED)
def test_every_keyword_that_a_message_names_makes_the_same_call_work(name):
    make, to, keywords = NAMED[name]
    x = make()
    text = message_of(lambda: db.convert(x, to, **keywords))
    ways = named_keywords(text)
    assert ways, text
    for way in ways:
        if way == {"readonly": "copy"} and "copy=None" in text:
            way["copy"] = None
        db.convert(x, to, **{**keywords, **way})


def test_readonly_as_an_error_is_not_mended_by_copy_none_alone():
    text = message_of(lambda: db.to_torch(frozen(), readonly="error", copy=False))
    assert 'readonly="share"' in text
    assert not text.endswith("; pass copy=None to copy")
    with refuses("readonly"):
        db.to_torch(frozen(), readonly="error", copy=None)


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
@pytest.mark.parametrize("dtype", ["float6_e2m3fn", "float6_e3m2fn"])
def test_a_packed_type_that_was_asked_for_is_the_caller_s_own_affair(dtype, to):
    x = np.zeros(3)
    with refuses("dtype", says=[dtype]) as caught:
        db.convert(x, to, dtype=dtype)
    (blocker,) = caught.value.blockers
    assert "dtype=" in blocker.message
    assert "producer" not in blocker.message and 'dtype="bits"' not in blocker.message
