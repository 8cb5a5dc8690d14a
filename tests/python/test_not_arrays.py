"""What is no array is a TypeError that names the type; the hub never iterates and never guesses."""

import collections

import numpy as np
import pytest
import torch
from producers import Producer, export

import dlpack_bridge as db


class Instance:
    """Everything an array has, but on the instance."""

    def __init__(self):
        producer = Producer()
        self.__dlpack__ = producer.__dlpack__
        self.__dlpack_device__ = producer.__dlpack_device__
        self.__array_interface__ = np.zeros(3).__array_interface__


class Meta(type):
    """Gives its classes the dunders, not their instances."""

    def __dlpack__(cls, **keywords):
        return export().capsule()

    def __dlpack_device__(cls):
        return (1, 0)


class OfMeta(metaclass=Meta):
    pass


class Dynamic:
    """Answers to every name."""

    def __getattr__(self, name):
        return lambda *arguments, **keywords: export().capsule()


class Sequence(collections.UserList):
    """Iterating it is an error."""

    def __iter__(self):
        raise AssertionError("iterated")

    def __getitem__(self, index):
        raise AssertionError("indexed")

    def __len__(self):
        raise AssertionError("measured")


class Disabled(Producer):
    __dlpack__ = None


class Liar:
    """Claims to be an ndarray or a tensor, as proxies do."""

    def __init__(self, kind):
        self.kind = kind

    @property
    def __class__(self):
        return self.kind


NOT_ARRAYS = {
    "list": [1, 2, 3],
    "nested list": [[1.0], [2.0]],
    "list of arrays": [np.zeros(3), np.zeros(3)],
    "list of tensors": [torch.zeros(3)],
    "tuple": (1, 2),
    "dict": {"a": 1},
    "set": {1},
    "int": 3,
    "float": 2.5,
    "complex": 2j,
    "bool": True,
    "str": "text",
    "None": None,
    "ellipsis": ...,
    "function": len,
    "generator": (i for i in ()),
    "range": range(3),
    "object": object(),
    "module": np,
    "NumPy type": np.ndarray,
    "torch type": torch.Tensor,
    "Array type": db.Array,
    "dtype": np.dtype("f4"),
    "producer type": Producer,
    "dunders on the instance": Instance(),
    "dunders on the metaclass": OfMeta(),
    "dynamic attributes": Dynamic(),
    "sequence that must not be iterated": Sequence(),
    "claims to be an ndarray": Liar(np.ndarray),
    "claims to be a tensor": Liar(torch.Tensor),
    "claims to be an Array": Liar(db.Array),
    "claims to be a parameter": Liar(torch.nn.Parameter),
}

CALLS = {
    "to_numpy": db.to_numpy,
    "to_torch": db.to_torch,
    "asarray": db.asarray,
    "from_dlpack": db.from_dlpack,
    "convert": lambda x: db.convert(x, "torch"),
    "plan": lambda x: db.plan(x, "numpy"),
    "info": db.info,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NOT_ARRAYS)
def test_it_is_a_type_error_that_names_the_type(name, call):
    x = NOT_ARRAYS[name]
    with pytest.raises(db.NotAnArrayError) as caught:
        CALLS[call](x)
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, AttributeError)
    assert not isinstance(caught.value, BufferError)
    assert type(x).__name__ in str(caught.value)


class RaisingProperty:
    """Raises when anybody looks."""

    def __init__(self, error):
        self.error = error

    @property
    def __array_interface__(self):
        raise self.error


class ProducerWithRaisingProperties(Producer):
    @property
    def __array_interface__(self):
        raise RuntimeError("do not look here")

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("nor here")

    @property
    def imag(self):
        raise RuntimeError("never")


@pytest.mark.parametrize("error", [AttributeError("a"), RuntimeError("r"), ValueError("v")])
def test_a_property_that_raises_is_one_clear_error(error):
    with pytest.raises((db.NotAnArrayError, db.ExchangeError)):
        db.to_numpy(RaisingProperty(error))


class NoInterface:
    """Of a class whose objects may have an interface; this one has none."""

    def __init__(self, answer):
        self.answer = answer

    def look(self):
        if self.answer is not None:
            raise self.answer  # a class: an error that stays would keep its frames and their arrays

    __array_interface__ = __cuda_array_interface__ = property(look)


@pytest.mark.parametrize("answer", [None, AttributeError])
def test_an_object_without_its_interface_is_a_leaf_like_others(answer):
    x, a = NoInterface(answer), np.arange(3.0)
    with pytest.raises(db.NotAnArrayError):
        db.to_numpy(x)
    kept = db.convert_tree({"x": x, "y": [a, x]}, "torch", leaves="keep")
    assert kept["x"] is kept["y"][1] is x
    with pytest.raises(db.NotAnArrayError, match=r"tree\['y'\]\[1\].*NoInterface"):
        db.convert_tree({"y": [a, x]}, "torch")
    seen = db.compute_in("torch")(lambda *all: (*map(type, all), all[1]))(x, a)
    assert seen[:2] == (NoInterface, torch.Tensor) and type(seen[2]) is np.ndarray


def test_a_container_without_its_interface_is_a_container():
    class Rows(list):
        __array_interface__ = None

    rows = Rows([np.arange(3.0)])
    made = db.convert_tree([rows, export().capsule()], "torch")
    assert type(made[0]) is Rows and type(made[0][0]) is torch.Tensor


def test_properties_nobody_needs_are_not_in_the_way():
    assert db.to_numpy(ProducerWithRaisingProperties()).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_is_no_answer_passes_through_a_probe(error):
    with pytest.raises(error):
        db.to_numpy(RaisingProperty(error()))


def test_a_method_set_to_none_is_no_method():
    with pytest.raises((db.NotAnArrayError, db.ExchangeError)):
        db.to_numpy(Disabled())


class RaisingMeta(type):
    def __getattribute__(cls, name):
        if name.startswith(("__dlpack", "__array", "__c_dl")):
            raise RuntimeError(f"{name} was looked up through the metaclass")
        return super().__getattribute__(name)


class UnderRaisingMeta(metaclass=RaisingMeta):
    pass


def test_a_metaclass_that_raises_is_one_clear_error():
    with pytest.raises((db.NotAnArrayError, db.ExchangeError)):
        db.to_numpy(UnderRaisingMeta())


def test_a_probe_of_a_tensor_prints_nothing(capfd):
    db.info(torch.zeros(3))
    db.to_numpy(torch.zeros(3))
    assert tuple(capfd.readouterr()) == ("", "")


def test_no_error_is_left_set():
    for x in (RaisingProperty(AttributeError()), Instance(), 3):
        with pytest.raises((TypeError, db.ExchangeError)):
            db.to_numpy(x)
        assert [i for i in range(3)] == [0, 1, 2]
