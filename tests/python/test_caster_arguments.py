"""C++ parameters of type `array<...>`: what they take, and what they say when they do not."""

import array
import gc
import sys

import caster_build
import ml_dtypes
import numpy as np
import pytest
import torch
from checks import address
from producers import Producer, Table13, export, export_of

import dlpack_bridge as db

lab = caster_build.module()


def floats(*shape):
    return np.arange(np.prod(shape, dtype=int), dtype="float32").reshape(shape)


def mismatch(function, *arguments):
    """The lines of the TypeError that tell what was expected and what was found."""
    with pytest.raises(TypeError) as caught:
        function(*arguments)
    assert type(caught.value) is TypeError
    text = str(caught.value)
    assert "incompatible array arguments" in text
    return [line.strip(" -") for line in text.partition("\nThe following")[0].splitlines()[1:]]


# ---- what is taken -------------------------------------------------------------------------------

SOURCES = {
    "numpy": lambda a: a,
    "torch": torch.from_numpy,
    "Parameter": lambda a: torch.nn.Parameter(torch.from_numpy(a), requires_grad=False),
    "Array": db.asarray,
    "__dlpack__": lambda a: Producer(export_of(a)),
    "capsule": lambda a: export_of(a).capsule(),
    "exchange table": lambda a: Table13(export_of(a)),
    "memoryview": memoryview,
    "array.array": lambda a: array.array("f", a.tolist()),
}


@pytest.mark.parametrize("name", SOURCES)
def test_whatever_asarray_takes_is_taken(name):
    a = floats(6)
    assert lab.sum(SOURCES[name](a)) == 15


@pytest.mark.parametrize("make", [lambda a: a, torch.from_numpy, db.asarray])
def test_the_memory_is_shared(make):
    a = floats(2, 3)
    seen = lab.look(make(a))
    assert seen["address"] == address(a)
    assert seen["shape"] == (2, 3) and seen["strides"] == (3, 1)
    assert seen["device"] == "cpu" and seen["stream"] == 0


def test_any_strides_are_seen_as_they_are():
    a = floats(4, 6)
    assert lab.look(a.T)["strides"] == (1, 6)
    assert lab.look(a[::2, ::-3])["strides"] == (12, -3)
    assert lab.sum(a[::2, ::-3]) == a[::2, ::-3].sum()
    assert lab.look(np.broadcast_to(a[0], (5, 6)))["strides"] == (0, 1)
    assert lab.sum(torch.from_numpy(a).t()[1:3]) == a[:, 1:3].sum()


def test_many_axes():
    a = floats(1, 2, 1, 1, 2, 1, 1, 3)
    seen = lab.look(a)
    assert seen["shape"] == a.shape
    assert lab.sum(a) == a.sum()


def test_empty_and_0d_arrays():
    assert lab.sum(floats(0)) == 0
    assert lab.sum(floats(3, 0)) == 0
    assert lab.sum(torch.zeros(0)) == 0
    assert lab.scalar(np.array(3, "float32")) == 3
    assert lab.scalar(np.float32(4)) == 4
    assert lab.scalar(torch.tensor(5.0)) == 5


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (lab.sum_double, np.array([0.5, 1.5])),
        (lab.sum_bool, np.array([True, False, True])),
        (lab.sum_uint8, np.array([250, 5], "uint8")),
        (lab.sum_int64, np.array([2**40, -1])),
        (lab.sum_half, np.array([0.5, -2], "float16")),
        (lab.sum_bfloat, np.array([0.5, -2], ml_dtypes.bfloat16)),
        (lab.sum_complex, np.array([1 + 2j, 3])),
    ],
)
def test_element_types(function, values):
    wide = "complex128" if values.dtype.kind == "c" else "float64"
    assert function(values) == values.astype(wide).sum()
    with pytest.raises(TypeError):
        function(np.zeros(2, "int16"))


def test_writing_reaches_the_callers_array():
    a, t = floats(2, 3), torch.ones(4)
    lab.scale(a.T, 2)
    assert a.tolist() == (2 * floats(2, 3)).tolist()
    lab.scale(t[::2], 3)
    assert t.tolist() == [3, 1, 3, 1]
    lab.scale(x=a, factor=0)
    assert not a.any()


def test_arguments_by_reference_optional_and_in_containers():
    a = floats(4)
    assert lab.by_reference(a) == 6
    assert lab.optional(a) == 6 and lab.optional(None) == -1 and lab.optional() == -1
    assert lab.many([a, torch.ones(2), a]) == 14
    assert lab.three(a, a[:2], torch.ones(1)) == 8
    with pytest.raises(TypeError):
        lab.many([a, 3])


# ---- mutable and const ---------------------------------------------------------------------------


def read_only():
    a = floats(3)
    a.flags.writeable = False
    return a


@pytest.mark.parametrize(
    "x",
    [
        read_only(),
        bytes(8),
        np.broadcast_to(np.float32(1), (3,)),
        db.asarray(read_only()),
    ],
)
def test_read_only_memory_is_for_const_arrays(x):
    if isinstance(x, bytes):
        x = memoryview(x).cast("f")
    lab.sum(x)
    (_, line) = mismatch(lab.look_to_write, x)
    assert line.startswith("readonly: expected writable memory, found")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda a: a.astype("float64"), "dtype"),
        (lambda a: a.astype("int32"), "dtype"),
        (lambda a: a.astype(">f4"), "byte_order"),
        (lambda a: np.frombuffer(b"\0" + a.tobytes(), "float32", offset=1), "alignment"),
        (lambda a: torch.from_numpy(a).requires_grad_(), "requires_grad"),
        (lambda a: torch.from_numpy(a).to_sparse(), "sparse"),
    ],
)
def test_nothing_is_converted_behind_the_callers_back(spoil, code):
    spoiled = spoil(floats(6))
    for function in (lab.look, lab.look_to_write):
        assert any(line.startswith(f"{code}: ") for line in mismatch(function, spoiled))


def test_lazy_bits_are_never_read_as_plain_memory():
    neg = torch.tensor([1 + 2j], dtype=torch.complex64).conj().imag
    assert neg.is_neg()
    assert "resolve_neg" in mismatch(lab.look, neg)[1]
    assert lab.sum_converted(neg) == -2
    conj = torch.tensor([1 + 2j], dtype=torch.complex128).conj()
    assert "resolve_conj" in mismatch(lab.sum_complex, conj)[1]


def test_a_producer_that_copies_serves_const_arrays_only():
    copied = Producer(export([1.0, 2.0, 3.0], flags=2))
    assert lab.sum(copied) == 6
    assert "copy" in mismatch(lab.look_to_write, Producer(export([1.0], flags=2)))[1]


def test_a_mutable_argument_asks_producers_not_to_copy():
    for function, copy in ((lab.look_to_write, False), (lab.look, None)):
        producer = Producer()
        function(producer)
        assert [call["copy"] for call in producer.calls] == [copy]


def test_one_export_per_argument():
    shared = export()
    lab.sum(Producer(shared))
    gc.collect()
    assert (shared.exports, shared.deleter_calls) == (1, 1)


# ---- converting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a.astype("float64"),
        lambda a: a.astype("int8"),
        lambda a: a.astype(">f4"),
        lambda a: torch.from_numpy(a).to(torch.bfloat16),
        lambda a: a[::-1],
    ],
)
def test_converting_takes_what_can_be_converted(spoil):
    assert lab.sum_converted(spoil(floats(6))) == 15


def test_converting_shares_what_fits():
    a = floats(2, 3)
    assert lab.convert(a)["address"] == address(a)
    assert lab.convert(a.T)["address"] == address(a)
    assert lab.convert_rows(a)["address"] == address(a)
    copied = lab.convert_rows(a.T)
    assert copied["address"] != address(a)
    assert copied["shape"] == (3, 2) and copied["strides"] == (2, 1)


def test_converting_still_refuses_what_no_copy_mends():
    assert "requires grad" in mismatch(lab.sum_converted, torch.ones(1, requires_grad=True))[1]
    assert "axes" in mismatch(lab.convert_rows, floats(3))[1]
    assert "object" in mismatch(lab.sum_converted, np.array([None]))[1]


def test_noconvert_forbids_it():
    assert lab.no_convert(floats(6)) == 15
    assert "dtype" in mismatch(lab.no_convert, floats(6).astype("float64"))[1]


def test_conversions_are_counted_and_traced():
    before = db.stats().copies
    with db.trace() as trace:
        lab.sum_converted(floats(3).astype("float64"))
        lab.sum(floats(3))
        with pytest.raises(TypeError):
            lab.sum(floats(3).astype("float64"))
    assert db.stats().copies == before + 1
    assert [record.action for record in trace.records] == ["copy", "share"]
    assert trace.records[0].target == "array[const float32, converting]"


# ---- what the error says -------------------------------------------------------------------------


def test_every_mismatch_is_told_at_once():
    assert mismatch(lab.rows, floats(3, 2).astype("float64")[:, 0]) == [
        (
            "x: expected array[const float32, 2, c_contiguous], found numpy.ndarray "
            "(device cpu, dtype float64, shape (3,), strides (2,))"
        ),
        "dtype: expected float32, found float64",
        "order: expected a row-major, dense array, found strides (2,)",
        "layout: expected 2 axes, found 1 axis",
    ]


@pytest.mark.parametrize(
    ("function", "x", "line"),
    [
        (lab.matrix, floats(3), "layout: expected 2 axes, found 1 axis"),
        (
            lab.rows,
            floats(2, 3).T,
            "order: expected a row-major, dense array, found strides (1, 3)",
        ),
        (
            lab.columns,
            floats(2, 3),
            "layout: expected a column-major, dense array, found strides (3, 1)",
        ),
        (lab.points, floats(3, 2), "layout: expected shape (*, 3), found (3, 2)"),
        (lab.sum, floats(2).astype("int8"), "dtype: expected float32, found int8"),
        (lab.sum, np.array(["a"]), "dtype: expected float32, found <U1"),
        (lab.on_gpu, floats(2), "device: expected a CUDA device, found cpu"),
    ],
)
def test_expected_and_found_are_named(function, x, line):
    assert mismatch(function, x)[1:] == [line]


def test_layouts_that_fit():
    a = floats(2, 3)
    assert lab.rows(a)["strides"] == (3, 1)
    assert lab.columns(a.T)["strides"] == (1, 3)
    assert lab.points(a)["shape"] == (2, 3)
    assert lab.rows(a[:, :1][:1])["strides"] == (1, 1)  # strides of single elements mean nothing


@pytest.mark.parametrize("x", [3, "text", [1.0], None, object(), (1.0,)])
def test_what_is_no_array_is_named(x):
    name = type(x).__name__
    assert mismatch(lab.sum, x) == [
        f"argument 1: expected array[const float32], found {name}, which is no array"
    ]


def test_parameters_are_named_or_numbered():
    assert mismatch(lab.three, floats(1), floats(1), 3)[0].startswith("argument 3: ")
    both = mismatch(lab.three, 1, floats(1), 3)
    assert [line.partition(":")[0] for line in both] == ["argument 1", "argument 3"]
    assert mismatch(lab.points, 3)[0].startswith("points: ")


def test_another_argument_at_fault_is_left_to_pybind11():
    with pytest.raises(TypeError, match="incompatible function arguments"):
        lab.scale(floats(1), "two")
    with pytest.raises(TypeError, match="incompatible function arguments"):
        lab.scale(floats(1))


def test_the_signature_is_shown():
    with pytest.raises(TypeError, match=r"supported:\n +1\. \(x: .*array\[float32\].*\) -> None"):
        lab.scale(3, 1)


def test_no_reference_is_lost():
    a, t = floats(3), torch.ones(3)
    spoiled = a.astype("float64")
    before = [sys.getrefcount(x) for x in (a, t, spoiled)]
    for _ in range(100):
        lab.sum(a)
        lab.sum(t)
        lab.sum_converted(spoiled)
        with pytest.raises(TypeError):
            lab.sum(spoiled)
    gc.collect()
    assert [sys.getrefcount(x) for x in (a, t, spoiled)] == before


class Interrupting(Producer):
    def answer(self):
        raise KeyboardInterrupt


class Failing(Producer):
    def answer(self):
        raise RuntimeError("no memory left on the moon")


def test_a_producer_that_fails_is_told_about():
    assert "RuntimeError: no memory left on the moon" in mismatch(lab.sum, Failing())[1]


def test_an_interrupt_passes_through():
    with pytest.raises(KeyboardInterrupt):
        lab.sum(Interrupting())
