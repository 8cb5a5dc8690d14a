"""`convert_tree`: the same tree with every array converted."""

import collections
import dataclasses
import os
import sys
import time

import numpy as np
import pytest
import torch
from checks import address, live, refuses
from producers import Producer, Raising, export

import dlpack_bridge as db

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Batch:
    inputs: object
    labels: object


@dataclasses.dataclass(frozen=True)
class Frozen:
    data: object


def test_every_container_keeps_its_type_and_order():
    tree = {
        "list": [np.arange(3.0), np.arange(2)],
        "tuple": (np.zeros(1),),
        "point": Point(np.zeros(2), np.ones(2)),
        "batch": Batch(np.zeros((2, 2)), np.zeros(2, "i8")),
        "frozen": Frozen(np.zeros(3)),
        "nested": {"deep": [({"er": np.float32(1)},)]},
        3: np.zeros(1),
    }
    result = db.convert_tree(tree, "torch")
    assert list(result) == list(tree)
    assert type(result["list"]) is list and len(result["list"]) == 2
    assert type(result["tuple"]) is tuple
    assert type(result["point"]) is Point and result["point"].y.tolist() == [1, 1]
    assert type(result["batch"]) is Batch and result["batch"].labels.dtype is torch.int64
    assert type(result["frozen"]) is Frozen
    assert type(result["nested"]["deep"][0][0]["er"]) is torch.Tensor
    assert type(result[3]) is torch.Tensor


def test_the_given_tree_is_left_as_it_is():
    a = np.arange(3.0)
    tree = {"a": [a], "b": Batch(a, a)}
    result = db.convert_tree(tree, "torch")
    assert tree["a"][0] is a and tree["b"].inputs is a
    assert result["a"] is not tree["a"] and result["b"] is not tree["b"]


def test_leaves_are_shared_where_they_can_be():
    a = np.arange(3.0)
    result = db.convert_tree([a, a[::-1]], "torch")
    assert address(result[0]) == address(a)
    assert result[1].tolist() == [2, 1, 0]


def test_leaves_of_any_framework():
    tree = [
        np.zeros(2),
        torch.zeros(2),
        db.asarray(np.zeros(2)),
        Producer(export([0.0, 0.0])),
        b"ab",
    ]
    assert {type(leaf) for leaf in db.convert_tree(tree, "numpy")} == {np.ndarray}
    assert {type(leaf) for leaf in db.convert_tree(tree, torch)} == {torch.Tensor}
    assert {type(leaf) for leaf in db.convert_tree(tree, "array")} == {db.Array}


def test_a_single_array_is_a_tree():
    assert type(db.convert_tree(np.zeros(3), "torch")) is torch.Tensor


@pytest.mark.parametrize("empty", [{}, [], (), {"a": []}])
def test_empty_containers_stay(empty):
    assert db.convert_tree(empty, "torch") == empty


def test_keywords_are_those_of_convert():
    a = np.arange(6.0).reshape(2, 3)
    result = db.convert_tree({"a": a.T}, "torch", dtype="float32", copy=True, order="C")
    assert result["a"].dtype is torch.float32 and result["a"].is_contiguous()
    with pytest.raises(db.CopyRequiredError):
        db.convert_tree([a, a[::-1]], "torch", copy=False)
    with refuses("requires_grad"):
        db.convert_tree([torch.ones(3, requires_grad=True)], "numpy")
    assert db.convert_tree([torch.ones(1, requires_grad=True)], "numpy", detach=True)[0][0] == 1


@pytest.mark.parametrize("leaf", [3, 2.5, "text", None, object(), {1, 2}])
def test_other_leaves_are_refused_unless_they_shall_be_kept(leaf):
    tree = {"a": np.zeros(2), "b": [leaf]}
    with pytest.raises(db.NotAnArrayError) as caught:
        db.convert_tree(tree, "torch")
    assert type(leaf).__name__ in str(caught.value)
    kept = db.convert_tree(tree, "torch", leaves="keep")
    assert kept["b"][0] is leaf and type(kept["a"]) is torch.Tensor


def test_the_error_names_the_place_through_every_container():
    leaf = 3
    tree = {"a": [np.zeros(1), Point(np.zeros(1), Batch(np.zeros(1), (np.zeros(1), {7: leaf})))]}
    with pytest.raises(db.NotAnArrayError) as caught:
        db.convert_tree(tree, "torch")
    assert str(caught.value).startswith("tree['a'][1].y.labels[1][7] is no array but int; ")
    with pytest.raises(db.NotAnArrayError, match="^tree is no array but int; "):
        db.convert_tree(leaf, "torch")
    with pytest.raises(db.NotAnArrayError, match=r"^tree\['k'\] is no array but list_iterator; "):
        db.convert_tree(collections.OrderedDict(k=iter([])), "torch")


def test_a_structure_that_contains_itself_is_a_recursion_error():
    for tree in ([], {}):
        if tree == []:
            tree.append(tree)
        else:
            tree["again"] = tree
        with pytest.raises(RecursionError):
            db.convert_tree(tree, "torch")


def test_a_producer_that_changes_the_structure_does_not_change_the_result():
    class Meddler(Producer):
        def __dlpack__(self, **keywords):
            container.clear()
            return super().__dlpack__(**keywords)

    container = [Meddler(export([1.0])), np.zeros(2), np.zeros(3)]
    result = db.convert_tree(container, "numpy")
    assert [leaf.shape for leaf in result] == [(1,), (2,), (3,)] and container == []
    container = {"a": Meddler(export([1.0])), "b": np.zeros(2)}
    result = db.convert_tree(container, "numpy")
    assert {key: leaf.shape for key, leaf in result.items()} == {"a": (1,), "b": (2,)}


def test_a_field_without_a_value_stays_without_one():
    batch = Batch(np.zeros(2), None)
    del batch.labels
    result = db.convert_tree(batch, "torch")
    assert type(result.inputs) is torch.Tensor and not hasattr(result, "labels")


def test_an_error_of_a_field_passes_through():
    @dataclasses.dataclass
    class Failing:
        data: object

        def __getattribute__(self, name):
            if name == "data":
                raise ZeroDivisionError
            return super().__getattribute__(name)

    made = Failing.__new__(Failing)
    with pytest.raises(ZeroDivisionError):
        db.convert_tree(made, "torch")


def test_subclasses_of_dict_are_kept_and_converted():
    grown = collections.defaultdict(list, a=np.arange(3.0))
    result = db.convert_tree(grown, "torch")
    assert type(result) is collections.defaultdict and result.default_factory is list
    assert type(result["a"]) is torch.Tensor and result["new"] == []
    assert type(grown["a"]) is np.ndarray
    ordered = collections.OrderedDict(b=np.zeros(1), a=np.zeros(1))
    result = db.convert_tree(ordered, "torch")
    assert type(result) is collections.OrderedDict and list(result) == ["b", "a"]


def test_a_dict_whose_update_does_something_else_is_kept_and_converted():
    class Fixed(dict):
        def update(self, *_):
            raise TypeError("use the fields")

    assert db.convert_tree(collections.Counter(a=3), "torch", leaves="keep") == {"a": 3}
    result = db.convert_tree(Fixed(a=np.arange(3.0)), "torch")
    assert type(result) is Fixed and result["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("arguments", [(), ([],), ([], "torch", "keep")])
def test_tree_and_target_are_the_positional_arguments(arguments):
    with pytest.raises(TypeError, match="2 positional arguments"):
        db.convert_tree(*arguments)


def test_a_wrong_keyword_is_named_as_one_of_convert_tree():
    with pytest.raises(TypeError, match=r"convert_tree\(\) got an unexpected .*'foo'"):
        db.convert_tree([], "torch", leaves="keep", foo=1)


def test_kept_leaves_do_not_hide_refusals():
    with refuses("dtype"):
        db.convert_tree([np.array([None])], "torch", leaves="keep")


@pytest.mark.parametrize("leaves", ["drop", "", 3])
def test_leaves_is_keep_or_nothing(leaves):
    with pytest.raises((ValueError, TypeError)):
        db.convert_tree([np.zeros(2)], "torch", leaves=leaves)


def test_a_failure_in_the_middle_leaves_nothing_behind():
    before = live()
    with pytest.raises(db.ExchangeError):
        db.convert_tree([np.zeros(2), {"a": np.zeros(2)}, np.array([None])], "torch")
    assert live() == before


def test_an_array_that_occurs_twice_is_shared_twice():
    a = np.arange(3.0)
    first, second = db.convert_tree([a, a], "torch")
    assert first.data_ptr() == second.data_ptr() == address(a)


def test_a_hundred_thousand_leaves():
    leaves = [np.zeros(1)] * 100_000
    assert len(db.convert_tree(leaves, "torch")) == 100_000


EMPTY_TREES = [[], {}, (), {"a": []}]


@pytest.mark.parametrize("empty", EMPTY_TREES)
def test_an_unknown_target_is_an_error_for_an_empty_tree_too(empty):
    with pytest.raises(ValueError):
        db.convert_tree(empty, "nope")
    with pytest.raises(ValueError):
        db.convert_tree(empty, "nope", leaves="keep")


@pytest.mark.parametrize("empty", EMPTY_TREES)
@pytest.mark.parametrize(
    "keywords, error",
    [
        ({"foo": 1}, TypeError),
        ({"order": "F"}, ValueError),
        ({"readonly": "maybe"}, ValueError),
        ({"stream": True}, TypeError),
    ],
)
def test_a_wrong_keyword_is_an_error_for_an_empty_tree_too(empty, keywords, error):
    with pytest.raises(error):
        db.convert_tree(empty, "torch", **keywords)


class Tagged(list):
    def __init__(self, values, *, tag):
        super().__init__(values)
        self.tag = tag


class Rows(tuple):
    pass


def test_subclasses_of_list_and_tuple_are_kept_and_converted():
    a = np.arange(3.0)
    tree = {"list": Tagged([a, [a]], tag="mine"), "tuple": Rows((a,))}
    result = db.convert_tree(tree, "torch")
    assert type(result["list"]) is Tagged and result["list"].tag == "mine"
    assert type(result["list"][0]) is type(result["list"][1][0]) is torch.Tensor
    assert address(result["list"][0]) == address(a)
    assert type(result["tuple"]) is Rows and type(result["tuple"][0]) is torch.Tensor
    assert len(result["list"]) == 2 and len(result["tuple"]) == 1
    assert tree["list"][0] is a and result["list"] is not tree["list"]


BAD_LEAVES = {
    "no array": lambda: 3,
    "no type of DLPack": lambda: np.zeros(3, "M8[s]"),
    "a producer that raises": lambda: Raising(RuntimeError("no")),
}


@pytest.mark.parametrize("bad", BAD_LEAVES)
@pytest.mark.parametrize("to", ["torch", "array"])
def test_a_tree_that_fails_uses_up_no_capsule(bad, to):
    sources = export(), export()
    capsules = [source.capsule() for source in sources]
    tree = {"a": [capsules[0]], "b": (np.zeros(3), Point(capsules[1], BAD_LEAVES[bad]()))}
    with pytest.raises((db.ExchangeError, db.NotAnArrayError), match=r"tree\['b'\]\[1\]\.y"):
        db.convert_tree(tree, to)
    assert [source.deleter_calls for source in sources] == [0, 0]
    for capsule in capsules:
        assert "used" not in repr(capsule)
        assert db.to_numpy(capsule).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_capsule_that_occurs_twice_is_refused_and_kept():
    capsule = export().capsule()
    with pytest.raises(db.ExchangeError, match=r"(?s)^tree\[1\]: .*twice"):
        db.convert_tree([capsule, capsule], "numpy")
    assert "used" not in repr(capsule)


def test_capsules_in_a_tree_are_converted_and_used_up():
    capsules = [export().capsule() for _ in range(2)]
    first, second = db.convert_tree([capsules[0], {"x": capsules[1]}], "numpy")
    assert first.tolist() == second["x"].tolist() == [0, 1, 2, 3, 4, 5]
    assert all("used" in repr(capsule) for capsule in capsules)


def test_a_refused_leaf_is_named_and_keeps_its_blockers_and_cause():
    with pytest.raises(db.ExchangeError, match=r"^tree\['w'\]\[0\]: cannot") as refused:
        db.convert_tree({"w": [Raising(RuntimeError("no"))]}, "numpy")
    assert [reason.code for reason in refused.value.blockers] == ["producer"]
    assert type(refused.value.__cause__) is RuntimeError
    with pytest.raises(db.CopyRequiredError, match=r"^tree\[0\]: cannot"):
        db.convert_tree([b"abc"], "torch", copy=False)
    with pytest.raises(db.ExchangeError, match="^cannot"):
        db.convert_tree(np.zeros(3, "M8[s]"), "torch")


class Pair(tuple):
    def __new__(cls, left, right):
        return super().__new__(cls, (left, right))


class Named(Point):
    pass


def test_subclasses_of_tuple_are_made_without_their_own_new():
    pair = Pair(np.zeros(2), "text")
    pair.label = "mine"
    named = Named(np.zeros(3), None)
    named.label = "mine too"
    made = db.convert_tree([pair, named], "torch", leaves="keep")
    assert [type(x) for x in made] == [Pair, Named]
    assert [x.label for x in made] == ["mine", "mine too"]
    assert made[0][1] == "text" and type(made[0][0]) is torch.Tensor
    assert made[1].y is None and type(made[1].x) is torch.Tensor


def test_tuples_in_which_nothing_is_converted_are_themselves():
    leaves = (Pair(1, 2), Point(1, "y"), sys.version_info, os.stat("."), time.gmtime(), (1, (2,)))
    made = db.convert_tree([*leaves, np.zeros(1)], "torch", leaves="keep")
    assert all(x is leaf for x, leaf in zip(made, leaves, strict=False))


def test_a_tuple_of_torch_is_one_again():
    given = torch.max(torch.eye(3), dim=0)
    made = db.convert_tree(given, "numpy")
    assert type(made) is type(given)
    assert made.values.tolist() == [1, 1, 1] and type(made.indices) is np.ndarray
