"""Keywords: what each function takes, and what a wrong value is."""

import inspect

import numpy as np
import pytest
import torch

import dlpack_bridge as db

CONVERSIONS = {
    "to_numpy": (db.to_numpy, "dtype copy detach order alignment stream"),
    "to_torch": (db.to_torch, "dtype device copy detach readonly order alignment stream"),
    "convert": (
        lambda x, **k: db.convert(x, "torch", **k),
        "dtype device copy detach readonly order alignment stream",
    ),
    "plan": (
        lambda x, **k: db.plan(x, "torch", **k),
        "dtype device copy detach readonly order alignment stream",
    ),
    "asarray": (db.asarray, "dtype device copy detach order alignment stream"),
    "from_dlpack": (db.from_dlpack, "device copy"),
}
VALUES = {
    "dtype": "float64",
    "device": "cpu",
    "copy": True,
    "detach": True,
    "readonly": "share",
    "order": "C",
    "alignment": 8,
    "stream": None,
}


@pytest.mark.parametrize("keyword", VALUES)
@pytest.mark.parametrize("function", CONVERSIONS)
def test_each_function_takes_exactly_its_keywords(function, keyword):
    call, names = CONVERSIONS[function]
    if keyword in names.split():
        call(np.zeros(3), **{keyword: VALUES[keyword]})
    else:
        with pytest.raises(TypeError, match=keyword):
            call(np.zeros(3), **{keyword: VALUES[keyword]})


@pytest.mark.parametrize("function", CONVERSIONS)
def test_the_defaults_can_be_written_out(function):
    call, names = CONVERSIONS[function]
    defaults = {**dict.fromkeys(VALUES), "detach": False, "readonly": "copy"}
    call(np.zeros(3), **{name: defaults[name] for name in names.split()})


@pytest.mark.parametrize("function", [db.to_numpy, db.to_torch, db.asarray, db.from_dlpack])
def test_the_source_is_positional_and_the_rest_is_not(function):
    with pytest.raises(TypeError):
        function(x=np.zeros(3))
    with pytest.raises(TypeError):
        function(np.zeros(3), None)
    with pytest.raises(TypeError):
        function()


def test_convert_and_plan_take_the_target_by_position():
    for function in (db.convert, db.plan):
        with pytest.raises(TypeError):
            function(np.zeros(3))
        with pytest.raises(TypeError):
            function(np.zeros(3), to="torch")
        with pytest.raises(TypeError):
            function(np.zeros(3), "torch", None)


WRONG = [
    ({"dtype": "float33"}, (ValueError, TypeError)),
    ({"dtype": 3}, TypeError),
    ({"dtype": []}, TypeError),
    ({"dtype": np.dtype("M8[s]")}, (ValueError, TypeError)),
    ({"device": "nonsense"}, ValueError),
    ({"device": "cpu:x"}, ValueError),
    ({"device": ""}, ValueError),
    ({"device": 3.5}, TypeError),
    ({"device": (1,)}, (ValueError, TypeError)),
    ({"device": ("a", "b")}, (ValueError, TypeError)),
    ({"copy": "yes"}, (ValueError, TypeError)),
    ({"copy": 2}, (ValueError, TypeError)),
    ({"detach": "yes"}, (ValueError, TypeError)),
    ({"readonly": "maybe"}, ValueError),
    ({"readonly": None}, (ValueError, TypeError)),
    ({"order": "F"}, (ValueError, TypeError)),
    ({"alignment": 3}, ValueError),
    ({"alignment": -1}, ValueError),
    ({"alignment": 0}, ValueError),
    ({"alignment": 2.5}, TypeError),
    ({"alignment": "64"}, TypeError),
    ({"stream": True}, TypeError),
    ({"stream": False}, TypeError),
    ({"stream": "x"}, TypeError),
    ({"stream": 1.5}, TypeError),
]


@pytest.mark.parametrize("keywords, error", WRONG, ids=[str(keywords) for keywords, _ in WRONG])
@pytest.mark.parametrize("function", [db.convert, db.plan])
@pytest.mark.parametrize("source", [np.zeros(3), torch.zeros(3)], ids=["numpy", "torch"])
def test_a_wrong_value_is_a_value_or_type_error_even_where_nothing_is_exchanged(
    source, function, keywords, error
):
    with pytest.raises(error) as caught:
        function(source, "torch", **keywords)
    assert not isinstance(caught.value, (db.ExchangeError, db.NotAnArrayError))


@pytest.mark.parametrize("to", ["nowhere", "", "NumPy ", 3, None, object(), [], int, dict])
def test_an_unknown_target_is_a_value_or_type_error(to):
    for function in (db.convert, db.plan, db.convert_tree):
        with pytest.raises((ValueError, TypeError)) as caught:
            function(np.zeros(3), to)
        assert not isinstance(caught.value, (db.ExchangeError, db.NotAnArrayError))


def test_keyword_names_that_are_no_literals():
    name = str(b"dtype", "ascii")
    assert db.to_torch(np.zeros(3), **{name: "float32"}).dtype is torch.float32
    with pytest.raises(TypeError):
        db.to_torch(np.zeros(3), **{str(b"dtypo", "ascii"): "float32"})


@pytest.mark.parametrize(
    "name", ["to_numpy", "to_torch", "convert", "asarray", "from_dlpack", "plan"]
)
def test_the_functions_say_what_they_do(name):
    assert inspect.getdoc(getattr(db, name))


def test_bools_of_numpy_are_bools():
    a = np.zeros(3)
    assert db.to_torch(a, copy=bool(np.True_)).data_ptr() != a.ctypes.data
