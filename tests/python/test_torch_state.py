"""What a tensor carries beside its bytes: autograd, lazy conjugation and negation, storage kinds."""

import gc
import weakref

import isolated
import numpy as np
import pytest
import torch
import torch_states
from checks import address, assert_same_elements, codes, live, needs_copy, plan_of, refuses
from torch.overrides import TorchFunctionMode

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


def subclass_that(answer):
    """A tensor type whose `__torch_function__` does what `answer` does, for every function."""

    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return answer()

    return type("Odd", (torch.Tensor,), {"__torch_function__": classmethod(__torch_function__)})


def mode_that(answer):
    """A TorchFunctionMode that does what `answer` does, for every function."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return answer()

    return type("OddMode", (TorchFunctionMode,), {"__torch_function__": __torch_function__})()


def says_not_implemented():
    return NotImplemented


def raises_an_error():
    raise RuntimeError("mine")


def interrupts():
    raise KeyboardInterrupt


ODD_ANSWERS = [says_not_implemented, raises_an_error]


def odd(answer, plain):
    """`plain` as a tensor whose type answers oddly."""
    return torch.Tensor._make_subclass(subclass_that(answer), plain, plain.requires_grad)


def plain_address(t):
    with torch._C.DisableTorchFunction():
        return t.data_ptr()


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_lazy_bits_are_seen_behind_an_odd_torch_function(answer, to):
    for make, expected in (
        (torch_states.conjugated, [1 - 2j, 3 + 4j, -5j]),
        (torch_states.negated, [-2.0, -4.0]),
    ):
        result = db.convert(odd(answer, make()), to)
        assert db.to_numpy(result).tolist() == expected


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_autograd_is_seen_behind_an_odd_torch_function(answer, to):
    t = odd(answer, torch.ones(3, requires_grad=True))
    with refuses("requires_grad", says=["detach=True"]):
        db.convert(t, to)
    assert codes(plan_of(t, to).blockers) == {"requires_grad"}
    with torch.no_grad():
        assert address(db.convert(t, to)) == plain_address(t)


@pytest.mark.parametrize("to", [*TARGETS, "torch"])
@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_detach_aliases_behind_an_odd_torch_function(answer, to):
    t = odd(answer, torch.ones(3, requires_grad=True))
    assert plan_of(t, to, detach=True).action == "share"
    result = db.convert(t, to, detach=True)
    if to == "torch":
        with torch._C.DisableTorchFunction():
            assert result.data_ptr() == t.data_ptr()
            assert not result.requires_grad and t.requires_grad
    else:
        assert address(result) == plain_address(t)


@pytest.mark.parametrize("to", [*TARGETS, "torch"])
@pytest.mark.parametrize("state", ["leaf", "parameter", "function subclass"])
@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_autograd_is_seen_under_an_odd_torch_function_mode(answer, state, to):
    t = GRAD[state]()
    if to != "torch":
        with mode_that(answer), refuses("requires_grad"):
            db.convert(t, to)
    with mode_that(answer):
        result = db.convert(t, to, detach=True)
    assert address(result) == address(t)
    assert t.requires_grad and not getattr(result, "requires_grad", False)


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_lazy_bits_and_widths_are_seen_under_an_odd_torch_function_mode(answer, to):
    lazy, opposite = torch_states.conjugated(), torch_states.negated()
    narrow = torch.zeros(4, dtype=torch.uint8).view(torch.int4)
    with mode_that(answer):
        conjugated, negated = db.convert(lazy, to), db.convert(opposite, to)
        with refuses("dtype", says=["int4"]):
            db.convert(narrow, to)
    assert db.to_numpy(conjugated).tolist() == [1 - 2j, 3 + 4j, -5j]
    assert db.to_numpy(negated).tolist() == [-2.0, -4.0]


@pytest.mark.parametrize("to", [*TARGETS, "torch"])
def test_an_interrupt_in_a_torch_function_is_no_refusal(to):
    """Nobody needs to ask the subclass; who does must let the interrupt through."""
    t = odd(interrupts, torch.ones(3, requires_grad=True))
    try:
        result = db.convert(t, to, detach=True)
    except KeyboardInterrupt:
        return
    if to != "torch":
        assert address(result) == plain_address(t)


FAILING_CHECK = """
import torch, dlpack_bridge as db
class Odd(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *arguments, **keywords):
        return NotImplemented
def odd(plain):
    return torch.Tensor._make_subclass(Odd, plain)
def raising(self):
    raise {error}
{broken}
t = {make}
for call in (db.to_numpy, db.asarray, lambda x: db.to_numpy(x, detach=True)):
    try:
        print("shared", call(t))
    except db.ExchangeError as error:
        print("refused", [b.code for b in error.blockers], type(error.__cause__).__name__)
    except KeyboardInterrupt:
        print("interrupted")
"""

NEG = "torch.Tensor.is_neg = raising"
CONJ = "torch.Tensor.is_conj = raising"
GRAD_CHECK = "torch.Tensor.requires_grad = property(raising)"
# Without torch.zeros there are no samples for which torch's compiled functions could be tried.
ASKED = "del torch._C.DisableTorchFunction, torch.zeros"


@pytest.mark.parametrize(
    "broken, error, make",
    [
        (NEG, "RuntimeError", "torch.ones(2)"),
        (NEG, "RuntimeError", "odd(torch.ones(2))"),
        (CONJ, "RuntimeError", "torch.tensor([1j])"),
        (GRAD_CHECK, "ZeroDivisionError", "torch.ones(2)"),
        (GRAD_CHECK, "ZeroDivisionError", "odd(torch.ones(2))"),
        (ASKED, "TypeError", "odd(torch.ones(2))"),
    ],
)
def test_a_check_that_cannot_be_answered_is_a_refusal(broken, error, make):
    out = isolated.expect_clean(FAILING_CHECK.format(error=error, broken=broken, make=make))
    assert out.splitlines() == [f"refused ['producer'] {error}"] * 3


@pytest.mark.parametrize("broken", [NEG, GRAD_CHECK])
def test_an_interrupt_in_a_check_passes_through(broken):
    script = FAILING_CHECK.format(error="KeyboardInterrupt", broken=broken, make="torch.ones(2)")
    assert isolated.expect_clean(script).splitlines() == ["interrupted"] * 3


def test_an_uninitialized_parameter_is_itself():
    t = torch.nn.parameter.UninitializedParameter()
    assert db.to_torch(t) is t


@pytest.mark.skipif(not hasattr(torch, "bits8"), reason="this torch has no bits8")
@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("keywords", [{}, {"copy": True}, {"dtype": "float32"}])
def test_raw_bits_of_torch_are_refused_in_one_line(keywords, to):
    t = torch.zeros(4, dtype=torch.uint8).view(torch.bits8)
    with refuses("dtype", says=["bits8"]) as caught:
        db.convert(t, to, **keywords)
    (blocker,) = caught.value.blockers
    assert blocker.code == "dtype" and "bits8" in blocker.message
    assert "\n" not in blocker.message and len(blocker.message) < 200
    assert "Traceback" not in str(caught.value)
    assert codes(plan_of(t, to, **keywords).blockers) == {"dtype"}


@pytest.mark.parametrize("kind", [torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer])
def test_what_is_not_initialized_is_refused_until_it_is(kind):
    x = kind()
    for keywords in ({}, {"detach": True}, {"detach": True, "copy": True}):
        for to in TARGETS:
            with refuses("subclass", says=["materialize"]):
                db.convert(x, to, **keywords)
    with refuses("subclass", says=["materialize"]):
        db.to_torch(x, copy=True)
    x.materialize((2, 3))
    with torch.no_grad():
        x.fill_(1)
    assert db.to_numpy(x, detach=True).tolist() == [[1, 1, 1], [1, 1, 1]]
