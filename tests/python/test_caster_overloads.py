"""C++ overloads that differ in the element type, rank, device or constness of an array."""

import caster_build
import numpy as np
import pytest
import torch
from producers import Producer, export

lab = caster_build.module()


@pytest.mark.parametrize("make", [np.ones, lambda n, d: torch.ones(n, dtype=getattr(torch, d))])
@pytest.mark.parametrize("element", ["float32", "float64", "int32"])
def test_by_element_type(make, element):
    assert lab.dtype_of(make(3, element)) == element


def test_other_arguments_find_their_overload():
    assert lab.dtype_of(2.5) == "number"
    assert lab.dtype_of(2) == "number"
    assert lab.number_last(3) == "int"
    assert lab.number_last(np.ones(1, "float32")) == "array"


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_by_rank(rank):
    assert lab.rank_of(np.ones((1,) * rank, "float32")) == rank


def test_by_device():
    assert lab.device_of(np.ones(1, "float32")) == "cpu"
    assert lab.device_of(Producer(export([1.0]))) == "cpu"


def test_by_constness():
    a = np.ones(2, "float32")
    assert lab.writable(a) is True
    a.flags.writeable = False
    assert lab.writable(a) is False


def test_an_exact_match_is_preferred_to_a_conversion():
    assert lab.exact(np.ones(1, "float32")) == "as it is"
    assert lab.exact(np.ones(1, "float64")) == "converted"
    assert lab.exact(np.ones(1, "int16")) == "converted"


def test_by_the_number_of_arguments():
    a = np.ones(1, "float32")
    assert lab.count(a) == 1 and lab.count(a, a) == 2 and lab.count(b=a, a=a) == 2


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda: lab.rank_of(np.ones((1, 1, 1, 1), "float32")), "found 4 axes"),
        (lambda: lab.writable(np.ones(2, "int8")), "found int8"),
        (lambda: lab.exact(torch.ones(1, requires_grad=True)), "requires grad"),
        (lambda: lab.count(np.ones(2, "int8")), "found int8"),
        (lambda: lab.count(3), "found int, which is no array"),
        (lambda: lab.Operand(np.ones(2, "int8")), "found int8"),
    ],
)
def test_when_none_fits_expected_and_found_are_told(call, found):
    with pytest.raises(TypeError) as caught:
        call()
    text = str(caught.value)
    assert "no overload takes these arguments" in text
    assert found in text
    assert "1. (" in text and "2. (" in text, "all signatures are listed"


@pytest.mark.parametrize("x", ["text", np.ones(2, "int8"), None])
def test_overloads_that_end_in_another_one_keep_pybind11s_error(x):
    with pytest.raises(TypeError, match="incompatible function arguments") as caught:
        lab.dtype_of(x)
    assert "array[const float64]" in str(caught.value)


def test_no_error_of_a_failed_overload_stays_behind():
    for _ in range(3):
        assert lab.dtype_of(1.5) == "number"
        assert lab.number_last(7) == "int"


def test_constructors_methods_properties_and_operators():
    a = np.ones(3, "float32")
    operand = lab.Operand(a)
    assert operand.value == 3
    assert lab.Operand(2.0).add(a) == 5
    assert operand + a == 6
    operand.value = a[:1]
    assert operand.value == 1
    with pytest.raises(
        TypeError, match=r"x: expected array\[const float32\], found numpy\.ndarray"
    ):
        operand.add(a.astype("float64"))
    with pytest.raises(TypeError, match="unsupported operand"):
        operand + "text"
    with pytest.raises(TypeError, match="found float64"):
        operand.value = a.astype("float64")


class NoInterface:
    @property
    def __array_interface__(self):
        return None


class HiddenInterface:
    @property
    def __cuda_array_interface__(self):
        raise AttributeError("not on a GPU")


@pytest.mark.parametrize("kind", [NoInterface, HiddenInterface])
def test_an_object_without_its_interface_goes_to_the_next_overload(kind):
    assert lab.array_or_object(kind()) == "object"
    assert lab.array_or_text("text") == "text"
    with pytest.raises(TypeError, match=rf"{kind.__name__}, which is no array"):
        lab.sum(kind())
    with pytest.raises(TypeError, match=rf"{kind.__name__}, which is no array"):
        lab.optional(kind())


def test_a_capsule_that_the_call_used_up_is_not_blamed_for_it():
    capsule = export([1.0]).capsule()
    with pytest.raises(TypeError, match="(?s)argument 2.*found float64") as caught:
        lab.three(capsule, np.ones(2), np.ones(2, "float32"))
    assert "argument 1" not in str(caught.value) and "consumed" not in str(caught.value)
    with pytest.raises(TypeError, match="(?s)argument 1.*consumed"):
        lab.three(capsule, np.ones(2, "float32"), np.ones(2, "float32"))
