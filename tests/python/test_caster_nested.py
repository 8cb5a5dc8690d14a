"""Arrays inside of what a C++ function takes, and arrays that its body casts."""

import collections.abc
import gc
import weakref

import caster_build
import isolated
import numpy as np
import pytest
import torch
from checks import live

lab = caster_build.module()

CONTAINERS = {
    "in_pair": lambda two: two,
    "in_tuple": lambda two: two,
    "in_array": lambda two: two,
    "in_vector": lambda two: two,
    "in_vector_of_pairs": lambda two: [two],
    "in_map_of_pairs": lambda two: {"key": two},
}


class Watched(np.ndarray):
    """A NumPy array that can be referred to weakly under its own name."""


class Fresh(collections.abc.Sequence):
    """Makes each item when it is asked for, and keeps none."""

    def __init__(self):
        self.made = []

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError
        item = np.full(3, index + 1, "float32").view(Watched)
        self.made.append(weakref.ref(item))
        return item

    def alive(self):
        gc.collect()
        return [ref() is not None for ref in self.made]


def nothing():
    pass


@pytest.fixture(params=CONTAINERS)
def container(request):
    return getattr(lab, request.param), CONTAINERS[request.param]


def test_items_that_nobody_else_keeps_live_as_long_as_they_are_used(container):
    function, around = container

    def call():
        items, seen = Fresh(), []
        total = function(around(items), lambda: seen.extend(items.alive()))
        return total, seen, items.alive()

    assert isolated.forked(call) == (9, [True, True], [False, False])


def test_items_are_kept_with_their_copies(container):
    function, around = container

    def call():
        items = Fresh()
        function(around(items), nothing, keep=True)
        return items.alive(), lab.take_kept_items(), items.alive()

    assert isolated.forked(call) == ([True, True], 9, [False, False])


def test_a_list_may_be_emptied_in_the_meantime():
    a, b = (np.ones(3, "float32").view(Watched) for _ in range(2))
    refs, items = [weakref.ref(a), weakref.ref(b)], [a, b]
    del a, b

    def call():
        seen = []

        def empty():
            items.clear()
            seen.extend(ref() is not None for ref in refs)

        return lab.in_pair(items, empty), seen, [ref() is not None for ref in refs]

    assert isolated.forked(call) == (6, [True, True], [False, False])


def test_rows_of_an_array_are_a_sequence():
    a = np.arange(6, dtype="float32").reshape(2, 3)
    assert lab.in_pair(a, nothing) == 15
    assert lab.in_tuple(torch.from_numpy(a).unbind(), nothing) == 15


def test_nothing_is_left():
    before = live()
    for _ in range(20):
        lab.in_pair(Fresh(), nothing)
        with pytest.raises(TypeError):
            lab.in_pair([np.ones(1, "float32"), 3], nothing)
        lab.cast(np.ones(1, "float32"), nothing)
    assert live() == before


# ---- in the body ---------------------------------------------------------------------------------


def test_a_body_casts_what_an_argument_may_be():
    a = np.arange(4, dtype="float32")
    assert lab.cast(a, nothing) == lab.cast(torch.from_numpy(a), nothing) == 6
    assert lab.cast_tuple((a, 2)) == 12
    with pytest.raises(RuntimeError, match="Unable to cast"):
        lab.cast(a.astype("float64"), nothing)


def test_what_is_cast_lives_as_long_as_it_is_used():
    items, seen = Fresh(), []
    assert lab.cast_item(items, lambda: seen.extend(items.alive())) == 3
    assert seen == [True]
    assert items.alive() == [False]


def test_python_functions_take_and_give_arrays():
    assert lab.call(lambda x: np.full(3, x, "float32"), 2) == 6
    assert lab.call(lambda x: torch.full((3,), x), 2) == 6
    assert lab.call_with(lambda x: float(x.sum())) == 3


# ---- what the error says -------------------------------------------------------------------------


def mismatch(function, *arguments):
    with pytest.raises(TypeError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "incompatible array arguments" in text and "argument types are supported" in text
    return [line.strip(" -") for line in text.partition("\nThe following")[0].splitlines()[1:]]


WRONG = np.ones(2)
FOUND = (
    "expected array[const float32], found numpy.ndarray "
    "(device cpu, dtype float64, shape (2,), strides (1,))"
)
RIGHT = np.ones(2, "float32")


@pytest.mark.parametrize(
    ("function", "arguments", "lines"),
    [
        (lab.in_optional, (WRONG,), [f"x: {FOUND}"]),
        (lab.in_vector, ([RIGHT, WRONG], nothing), [f"x: an item: {FOUND}"]),
        (lab.in_pair, ((WRONG, RIGHT), nothing), [f"x: an item: {FOUND}"]),
        (lab.in_array, ((RIGHT, WRONG), nothing), [f"x: an item: {FOUND}"]),
        (lab.in_map_of_pairs, ({"a": (RIGHT, WRONG)}, nothing), [f"x: an item: {FOUND}"]),
        (lab.in_variant, (WRONG,), [f"x: {FOUND}"]),
    ],
)
def test_an_array_that_does_not_fit_is_described(function, arguments, lines):
    told = mismatch(function, *arguments)
    assert told[:1] == lines
    assert told[1:] == ["dtype: expected float32, found float64"]


def test_every_argument_is_told_at_once():
    told = mismatch(lab.in_two, WRONG, [RIGHT, 3])
    assert told[0].startswith("x: expected") and "float64" in told[1]
    assert told[2] == "all: an item: expected array[const float32], found int, which is no array"


def test_overloads_describe_the_last_one():
    assert lab.overloaded([RIGHT]) == "floats" and lab.overloaded([WRONG]) == "doubles"
    with pytest.raises(TypeError, match="an item: expected array.const float64., found int"):
        lab.overloaded([WRONG, 3])


def test_what_is_no_matter_of_arrays_is_left_to_pybind11():
    for call in (
        lambda: lab.in_variant(RIGHT, "text"),
        lambda: lab.in_variant(3, "text"),
        lambda: lab.in_pair([RIGHT], nothing),
        lambda: lab.in_vector(3, nothing),
    ):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            call()
