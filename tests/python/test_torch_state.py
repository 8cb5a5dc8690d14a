"""What a tensor carries beside its bytes: autograd, lazy conjugation and negation, storage kinds."""

import gc
import weakref

import numpy as np
import pytest
import torch
import torch_states
from checks import address, assert_same_elements, codes, live, needs_copy, plan_of, refuses

import dlpack_bridge as db

TARGETS = ["numpy", "array"]


def with_grad():
    return torch.arange(6.0).reshape(2, 3).requires_grad_(True)


GRAD = {
    "leaf": with_grad,
    "result": lambda: with_grad() * 2,
    "view of a leaf": lambda: with_grad()[0],
    "parameter": lambda: torch.nn.Parameter(torch.arange(6.0)),
    "parameter of a module": lambda: torch.nn.Linear(3, 2).weight,
    "complex leaf": lambda: torch.ones(3, dtype=torch.complex64, requires_grad=True),
    "function subclass": lambda: torch_states.function_subclass().requires_grad_(True),
}


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("state", GRAD)
def test_a_tensor_that_requires_grad_is_refused_with_the_remedy(state, to):
    t = GRAD[state]()
    with refuses("requires_grad", says=["requires_grad", "detach=True", to]):
        db.convert(t, to)
    plan = plan_of(t, to)
    assert codes(plan.blockers) == {"requires_grad"}
    assert "detach=True" in plan.blockers[0].message


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("keywords", [{"copy": True}, {"copy": False}, {"dtype": "float64"}])
def test_a_copy_does_not_drop_autograd_silently_either(keywords, to):
    with refuses("requires_grad"):
        db.convert(with_grad(), to, **keywords)


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("state", GRAD)
def test_detach_shares_the_values_and_leaves_the_source_alone(state, to):
    t = GRAD[state]()
    grad_fn = t.grad_fn
    result = db.convert(t, to, detach=True)
    assert address(result) == address(t)
    assert_same_elements(result, t)
    assert t.requires_grad and t.grad_fn is grad_fn
    assert plan_of(t, to, detach=True).action == "share"


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("to", TARGETS)
def test_with_grad_mode_off_nothing_is_lost_and_nothing_refused(grad_mode, to):
    t = with_grad()
    with grad_mode():
        result = db.convert(t, to)
        assert plan_of(t, to).action == "share"
    assert address(result) == address(t)
    with refuses("requires_grad"):
        db.convert(t, to)


def test_set_grad_enabled_is_grad_mode_too():
    t = with_grad()
    with torch.set_grad_enabled(False):
        assert address(db.to_numpy(t)) == address(t)
        with torch.enable_grad(), refuses("requires_grad"):
            db.to_numpy(t)


def test_inference_tensors_are_shared():
    with torch.inference_mode():
        t = torch.arange(3.0)
    assert address(db.to_numpy(t)) == address(t)


@pytest.mark.parametrize("source", [np.arange(3.0), bytearray(3), torch.arange(3.0)])
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_detach_is_accepted_and_idle_for_everything_else(source, to):
    result = db.convert(source, to, detach=True)
    assert plan_of(source, to, detach=True).action == "share"
    assert_same_elements(db.to_numpy(result, detach=True), db.to_numpy(source))


def test_the_result_of_detach_carries_no_autograd_state():
    t = with_grad()
    alias = db.to_torch(t, detach=True)
    assert not alias.requires_grad and alias.is_leaf
    alias[0, 0] = 5
    assert t[0, 0].item() == 5


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize(
    "code, make, expected",
    [
        ("conj", torch_states.conjugated, [1 - 2j, 3 + 4j, -5j]),
        ("neg", torch_states.negated, [-2.0, -4.0]),
    ],
)
def test_lazy_bits_are_resolved_into_a_copy_with_their_reason(code, make, expected, to):
    t = make()
    plan = plan_of(t, to)
    assert (plan.action, codes(plan.reasons)) == ("copy", {code})
    assert plan.nbytes == t.numel() * t.itemsize
    result = db.to_numpy(db.convert(t, to))
    assert result.tolist() == expected
    assert t.is_conj() == (code == "conj") and t.is_neg() == (code == "neg")
    with needs_copy(code, says=[code]):
        db.convert(t, to, copy=False)


def test_lazy_bits_are_resolved_for_any_layout_and_type():
    matrix = torch.arange(6.0).reshape(2, 3) * (1 + 2j)
    assert db.to_numpy(matrix.conj().t()).tolist() == (matrix.numpy().conj().T).tolist()
    assert db.to_numpy(matrix.conj().imag[:, ::2]).tolist() == (-matrix.imag[:, ::2]).tolist()
    assert db.to_numpy(matrix.conj(), dtype="complex128").tolist() == matrix.numpy().conj().tolist()
    assert db.to_numpy(matrix.conj(), copy=True).tolist() == matrix.numpy().conj().tolist()
    assert db.to_torch(matrix.conj(), dtype="complex128").tolist() == matrix.numpy().conj().tolist()


def test_the_bits_view_of_a_lazy_tensor_shows_resolved_values():
    t = torch_states.negated()
    expected = np.array([-2.0, -4.0], dtype="f4").view("u4").tolist()
    assert db.to_numpy(t, dtype="bits").tolist() == expected


def test_a_conjugated_tensor_that_requires_grad_has_both_reasons_on_record():
    t = torch.ones(2, dtype=torch.complex64, requires_grad=True).conj()
    with refuses("requires_grad"):
        db.to_numpy(t)
    plan = plan_of(t, "numpy", detach=True)
    assert (plan.action, codes(plan.reasons)) == ("copy", {"conj"})
    assert db.to_numpy(t, detach=True).tolist() == [1 - 0j, 1 - 0j]


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("state", torch_states.REFUSED)
@pytest.mark.parametrize("keywords", [{}, {"copy": True}, {"detach": True}, {"dtype": "float64"}])
def test_tensors_without_plain_storage_are_refused_naming_which(state, keywords, to):
    code, make = torch_states.REFUSED[state]
    t = make()
    before = live()
    with refuses(code):
        db.convert(t, to, **keywords)
    assert code in codes(plan_of(t, to, **keywords).blockers)
    assert live() == before


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("state", torch_states.REFUSED_SOMEHOW)
def test_other_tensors_without_plain_storage_are_refused(state, to):
    t = torch_states.REFUSED_SOMEHOW[state]()
    with refuses():
        db.convert(t, to)
    assert plan_of(t, to).action == "refuse"


@pytest.mark.parametrize("state", ["sparse COO", "meta"])
def test_the_words_of_a_refusal_name_the_state(state):
    code, make = torch_states.REFUSED[state]
    with refuses(code, says=[code]):
        db.to_numpy(make())


@pytest.mark.parametrize("to", TARGETS)
def test_a_tensor_inside_functionalize_is_refused_by_name(to):
    seen = []

    def body(t):
        try:
            db.convert(t, to)
        except db.ExchangeError as error:
            seen.append(codes(error.blockers))
        seen.append(codes(plan_of(t, to).blockers))
        return t * 2

    torch.func.functionalize(body)(torch.ones(3))
    assert [("functional" in found) for found in seen] == [True, True]


def test_a_tensor_inside_vmap_is_refused():
    def body(t):
        with refuses():
            db.to_numpy(t)
        return t * 2

    torch.vmap(body)(torch.ones(3, 2))


@pytest.mark.parametrize("to", TARGETS)
def test_subclasses_with_plain_storage_are_tensors(to):
    for t in (torch_states.function_subclass(), torch.nn.Buffer(torch.arange(3.0))):
        result = db.convert(t, to)
        assert address(result) == address(t)
        assert_same_elements(result, t)


def test_the_state_is_judged_at_each_exchange_and_not_once_per_type():
    t = torch.arange(3.0)
    db.to_numpy(t)
    t.requires_grad_(True)
    with refuses("requires_grad"):
        db.to_numpy(t)
    t.requires_grad_(False)
    assert address(db.to_numpy(t)) == address(t)
    db.to_numpy(torch.tensor([1j]))
    assert db.to_numpy(torch.tensor([1j]).conj()).tolist() == [-1j]


def test_state_is_respected_in_an_array_of_the_hub_too():
    t = torch.arange(3.0)
    array = db.asarray(t)
    t.requires_grad_(True)
    assert address(db.to_numpy(array)) == address(t)


def test_the_source_goes_with_its_result():
    t = with_grad()
    y = (t * 2).detach_()
    node = weakref.ref(y)
    a = db.to_numpy(y)
    del y
    gc.collect()
    assert a.tolist() == [[0, 2, 4], [6, 8, 10]]
    del a
    gc.collect()
    assert node() is None


def test_writes_through_a_detached_result_are_visible_to_autograd():
    t = with_grad()
    db.to_numpy(t, detach=True)[...] = 1
    (t * t).sum().backward()
    assert t.grad.tolist() == [[2, 2, 2], [2, 2, 2]]
