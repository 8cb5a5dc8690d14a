"""`@compute_in("torch")`: array arguments go in, results come back where the first came from."""

import asyncio
import dataclasses
import inspect
import sys

import numpy as np
import pytest
import torch
from checks import address, refuses
from producers import export

import dlpack_bridge as db


@db.compute_in("torch")
def double(x):
    """Doubles."""
    assert type(x) is torch.Tensor
    return x * 2


@db.compute_in("numpy")
def add(x, y, *, scale=1, label=None):
    assert type(x) is np.ndarray and type(y) is np.ndarray
    assert label is None or type(label) is str
    return (x + y) * scale


def test_numpy_in_numpy_out():
    result = double(np.arange(3.0))
    assert type(result) is np.ndarray and result.tolist() == [0, 2, 4]


def test_torch_in_torch_out():
    result = add(torch.arange(3), torch.ones(3, dtype=torch.int64))
    assert type(result) is torch.Tensor and result.tolist() == [1, 2, 3]


def test_an_array_of_the_hub_in_and_out():
    result = double(db.asarray(np.arange(3.0)))
    assert type(result) is db.Array and db.to_numpy(result).tolist() == [0, 2, 4]


def test_the_first_array_argument_decides():
    assert type(add(torch.ones(3), np.ones(3, "f4"))) is torch.Tensor
    assert type(add(np.ones(3, "f4"), torch.ones(3))) is np.ndarray


def test_keyword_arguments_are_arguments():
    result = add(x=torch.ones(3), y=np.ones(3, "f4"), scale=3, label="text")
    assert type(result) is torch.Tensor and result.tolist() == [6, 6, 6]


def test_other_arguments_pass_untouched():
    marker = object()

    @db.compute_in("torch")
    def probe(number, x, text, thing=None):
        assert (number, text, thing) == (3, "text", marker)
        return x

    assert type(probe(3, np.zeros(2), "text", thing=marker)) is np.ndarray


def test_arguments_are_shared():
    a = np.arange(3.0)

    @db.compute_in("torch")
    def change(x):
        x[0] = 9
        return x

    result = change(a)
    assert a[0] == 9 and address(result) == address(a)


def test_several_results_come_back():
    @db.compute_in("torch")
    def both(x):
        return x + 1, [x + 2], {"three": x + 3}

    first, (second,), third = both(np.zeros(2))
    assert [type(r) for r in (first, second, third["three"])] == [np.ndarray] * 3
    assert third["three"].tolist() == [3, 3]


def test_results_that_are_no_arrays_stay():
    @db.compute_in("torch")
    def describe(x):
        return x.shape[0], "text", None

    assert describe(np.zeros(2)) == (2, "text", None)


def test_the_name_and_the_words_of_the_function_stay():
    assert double.__name__ == "double" and double.__doc__ == "Doubles."
    assert list(inspect.signature(add).parameters) == ["x", "y", "scale", "label"]


def test_errors_of_the_function_pass_through():
    @db.compute_in("torch")
    def fails(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fails(np.zeros(2))


def test_refusals_are_refusals():
    with refuses("requires_grad"):
        add(torch.ones(3, requires_grad=True), np.ones(3))
    with refuses("dtype"):
        double(np.array([None]))


def test_methods_can_be_decorated():
    class Model:
        factor = 3

        @db.compute_in("torch")
        def apply(self, x):
            return x * self.factor

    assert Model().apply(np.ones(2)).tolist() == [3, 3]


@dataclasses.dataclass
class Batch:
    values: object
    label: str = "batch"


@pytest.mark.parametrize("versioned", [True, False])
def test_a_capsule_can_be_the_first_argument(versioned):
    source = export(versioned=versioned)
    result = double(source.capsule())
    assert type(result) is db.Array
    assert db.to_numpy(result).tolist() == [0, 2, 4, 6, 8, 10]
    assert source.exports == 1
    del result
    assert source.deleter_calls == 1


def test_results_go_home_to_a_capsule_whose_arguments_come_after():
    result = add(export().capsule(), torch.ones(6))
    assert type(result) is db.Array and db.to_numpy(result).tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("scalar", [np.float64(2.5), np.int16(2), np.complex64(2j)])
def test_a_numpy_scalar_comes_home_to_numpy(scalar):
    result = double(scalar)
    assert isinstance(result, (np.ndarray, np.generic))
    assert result.dtype == scalar.dtype and result[()] == scalar * 2


@pytest.mark.parametrize("make, kind", [(np.ones, np.ndarray), (torch.ones, torch.Tensor)])
def test_the_arrays_of_a_dataclass_are_arguments_and_results(make, kind):
    seen = []

    @db.compute_in("array")
    def apply(batch):
        seen.append((type(batch), type(batch.values), batch.label))
        return batch.values

    @db.compute_in("array")
    def rebuild(batch):
        return Batch(batch.values, "rebuilt")

    batch = Batch(make(3))
    result = apply(batch)
    assert seen == [(Batch, db.Array, "batch")]
    assert type(result) is kind and address(result) == address(batch.values)
    rebuilt = rebuild(batch)
    assert type(rebuilt) is Batch and rebuilt.label == "rebuilt"
    assert type(rebuilt.values) is kind and address(rebuilt.values) == address(batch.values)
    assert type(batch.values) is kind


def test_what_holds_no_array_is_the_object_that_was_given():
    given = ([], {"seen": 0}, (1, ("a",)), Batch(None), sys.version_info)
    seen = []

    @db.compute_in("torch")
    def apply(x, *rest, **named):
        seen.extend([*rest, *named.values()])
        rest[0].append(x.sum())
        named["counts"]["seen"] += 1
        return rest

    counts = {"seen": 0}
    result = apply(np.ones(3), *given, counts=counts)
    assert all(x is y for x, y in zip(seen, [*given, counts], strict=True))
    assert given[0][0] == 3 and counts == {"seen": 1}
    assert result[1] is given[1] and result[3] is given[3]


def test_the_object_of_a_method_is_itself_whatever_it_holds():
    @dataclasses.dataclass
    class Model:
        weights: object
        calls: int = 0

        @db.compute_in("torch")
        def apply(self, x):
            self.calls += 1
            assert type(self.weights) is np.ndarray and type(x) is torch.Tensor
            return x

    class Larger(Model):
        def apply(self, x):
            return super().apply(x)

    for model in (Model(np.ones(2)), Larger(np.ones(2))):
        assert type(model.apply(db.asarray(np.ones(2)))) is db.Array
        assert model.calls == 1
    with pytest.raises(db.ExchangeError, match=r"^argument 1: "):
        model.apply(np.zeros(2, "M8[s]"))


def test_what_must_be_awaited_is_converted_then():
    async def later(x):
        return {"twice": x * 2}

    class Model:
        async def __call__(self, x):
            return await later(x)

    for function in (lambda x: later(x), Model()):
        result = asyncio.run(db.compute_in("torch")(function)(np.arange(3.0)))["twice"]
        assert type(result) is np.ndarray and result.tolist() == [0, 2, 4]


def test_a_result_that_cannot_go_home_says_where_it_is():
    @db.compute_in("torch")
    def grow(x):
        return {"grown": [x, x.to(torch.bfloat16).to_sparse()]}

    with pytest.raises(db.ExchangeError, match=r"^result\['grown'\]\[1\]: "):
        grow(np.ones(3, "f4"))


def test_a_coroutine_function_stays_one():
    @db.compute_in("torch")
    async def twice(x):
        await asyncio.sleep(0)
        assert type(x) is torch.Tensor
        return {"twice": x * 2}

    assert inspect.iscoroutinefunction(twice)
    result = asyncio.run(twice(np.arange(3.0)))["twice"]
    assert type(result) is np.ndarray and result.tolist() == [0, 2, 4]


def test_a_generator_function_is_refused_at_once():
    def rows(x):
        yield from x

    async def slow_rows(x):
        yield x

    for function in (rows, slow_rows):
        with pytest.raises(TypeError, match="generator"):
            db.compute_in("torch")(function)


def test_without_parentheses_it_is_refused_at_once():
    with pytest.raises(TypeError, match=r'@compute_in\("torch"\)'):

        @db.compute_in
        def twice(x):
            return x * 2


def test_a_keyword_that_does_not_exist_is_refused_at_once_and_by_its_own_name():
    with pytest.raises(TypeError, match=r"compute_in\(\).*'no_such_keyword'"):
        db.compute_in("torch", no_such_keyword=1)


def test_bytes_are_arrays_and_a_str_is_none():
    seen = []
    db.compute_in("numpy")(lambda *x: seen.extend(map(type, x)))(b"ab", bytearray(2), "ab")
    assert seen == [np.ndarray, np.ndarray, str]


def test_detach_holds_for_results():
    weight = torch.ones(3, requires_grad=True)
    detached = db.compute_in("torch", detach=True)(lambda x: x * weight)
    result = detached(np.arange(3.0))
    assert type(result) is np.ndarray and result.tolist() == [0, 1, 2]
    assert refuses(lambda: db.compute_in("torch")(lambda x: x * weight)(np.arange(3.0)))


def test_errors_name_the_argument():
    @db.compute_in("torch")
    def probe(*all, **named):
        pass

    bad = np.array([None])
    for call, place in [
        (lambda: probe(bad), "argument 1: "),
        (lambda: probe(1, [0, bad]), "argument 2[1]: "),
        (lambda: probe(np.zeros(2), y={"k": bad}), "argument y['k']: "),
    ]:
        with refuses("dtype") as caught:
            call()
        assert str(caught.value).startswith(place)
    with refuses("dtype") as caught:
        db.compute_in("numpy")(lambda x: [bad])(torch.zeros(2))
    assert str(caught.value).startswith("result[0]: ")
