"""What already is what was asked for comes back as itself, whatever its state."""

import numpy as np
import pytest
import torch
import torch_states
from checks import address, codes, live, plan_of, refuses

import dlpack_bridge as db


class Memory(np.ndarray):
    pass


@torch_states.made_quietly
def matrix():
    return np.matrix([[1.0, 2.0]])


NUMPY_STATES = {
    "plain": lambda: np.arange(3.0),
    "big-endian": lambda: np.arange(3, dtype=">f4"),
    "datetime": lambda: np.zeros(3, dtype="datetime64[ns]"),
    "object": lambda: np.array([None, 1]),
    "structured": lambda: np.zeros(2, dtype=[("a", "i4")]),
    "strings": lambda: np.array(["a", "b"]),
    "reversed": lambda: np.arange(3.0)[::-1],
    "broadcast": lambda: np.broadcast_to(1.0, (3, 3)),
    "read-only": lambda: np.frombuffer(b"abcd", dtype="u1"),
    "empty": lambda: np.empty((0, 3)),
    "extended precision": lambda: np.zeros(3, dtype=np.longdouble),
}

TORCH_STATES = {
    "plain": lambda: torch.arange(3.0),
    "requires grad": lambda: torch.ones(3, requires_grad=True),
    "result of autograd": lambda: torch.ones(3, requires_grad=True) * 2,
    "parameter": lambda: torch.nn.Parameter(torch.ones(3)),
    "conj": torch_states.conjugated,
    "neg": torch_states.negated,
    "expanded": lambda: torch.ones(1).expand(3),
    "narrow integers": lambda: torch.zeros(3, dtype=torch.int4),
    "function subclass": torch_states.function_subclass,
    **{name: make for name, (_, make) in torch_states.REFUSED.items()},
}


@pytest.mark.parametrize("state", NUMPY_STATES)
def test_numpy_to_numpy_is_the_array_itself(state):
    a = NUMPY_STATES[state]()
    before = live()
    assert db.to_numpy(a) is a
    assert db.convert(a, "numpy", copy=False) is a
    assert db.to_numpy(a, detach=True) is a
    assert live() == before


@pytest.mark.parametrize("state", TORCH_STATES)
def test_torch_to_torch_is_the_tensor_itself(state):
    t = TORCH_STATES[state]()
    before = live()
    assert db.to_torch(t) is t
    assert db.convert(t, "torch", copy=False) is t
    assert live() == before


@pytest.mark.parametrize("states, to", [(NUMPY_STATES, "numpy"), (TORCH_STATES, "torch")])
def test_the_plan_of_identity_shares_without_reasons(states, to):
    for make in states.values():
        plan = plan_of(make(), to)
        assert (plan.action, plan.reasons, plan.nbytes) == ("share", (), 0)


def test_an_array_of_the_hub_is_itself():
    array = db.asarray(np.arange(3.0))
    before = live()
    assert db.asarray(array) is array
    assert db.from_dlpack(array) is array
    assert db.convert(array, "array", copy=False, dtype="float64", device="cpu") is array
    assert live() == before
    assert db.asarray(array, copy=True) is not array


@pytest.mark.parametrize("make", [matrix, lambda: np.zeros(3).view(Memory)])
def test_plain_storage_subclasses_of_ndarray_count_as_arrays(make):
    a = make()
    assert address(db.to_torch(a)) == address(a)
    assert type(db.to_numpy(db.asarray(a))) is np.ndarray


def test_a_matrix_is_itself():
    a = matrix()
    assert type(a) is np.matrix
    assert db.to_numpy(a) is a


def test_a_memory_map_is_itself_and_is_shared(tmp_path):
    mapped = np.memmap(tmp_path / "data", dtype="f4", mode="w+", shape=(3,))
    assert db.to_numpy(mapped) is mapped
    t = db.to_torch(mapped)
    t[1] = 5
    assert mapped[1] == 5 and address(t) == address(mapped)


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_a_masked_array_is_refused_everywhere_because_its_mask_would_be_lost(to):
    masked = np.ma.masked_array([1.0, 2.0], mask=[True, False])
    with refuses("subclass", says=["mask"]):
        db.convert(masked, to)
    assert codes(plan_of(masked, to).blockers) == {"subclass"}


def test_a_parameter_is_itself_and_detached_it_is_an_alias():
    parameter = torch.nn.Parameter(torch.ones(3))
    assert db.to_torch(parameter) is parameter
    alias = db.to_torch(parameter, detach=True)
    assert alias.data_ptr() == parameter.data_ptr()
    assert not alias.requires_grad and parameter.requires_grad


def test_detach_of_a_tensor_without_grad_is_the_tensor_itself():
    t = torch.ones(3)
    assert db.to_torch(t, detach=True) is t
    assert db.to_torch(db.to_torch(t, detach=True), detach=True, device="cpu") is t


@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_detach_gives_the_alias_in_every_grad_mode(grad_mode):
    t = torch.ones(3, requires_grad=True)
    with grad_mode():
        alias = db.to_torch(t, detach=True)
    assert alias.data_ptr() == t.data_ptr()
    assert not alias.requires_grad and alias.grad_fn is None
    assert t.requires_grad


def test_asking_for_what_it_is_keeps_identity():
    t = torch.zeros(2, 3)
    assert db.to_torch(t, dtype="float32", device="cpu", order="C", alignment=1) is t
    a = np.zeros((2, 3))
    assert db.to_numpy(a, dtype="float64", order="C", alignment=8) is a


def test_asking_for_something_else_is_an_exchange_and_respects_the_state():
    t = torch.ones(3, requires_grad=True)
    with refuses("requires_grad"):
        db.to_torch(t, dtype="float64")
    with refuses("requires_grad"):
        db.to_torch(t, copy=True)
    assert db.to_torch(t, dtype="float64", detach=True).tolist() == [1, 1, 1]
    fresh = db.to_torch(t, copy=True, detach=True)
    assert fresh.data_ptr() != t.data_ptr() and not fresh.requires_grad


def test_another_type_of_the_own_framework_is_converted():
    assert db.to_numpy(np.arange(3), dtype="float32").dtype == np.float32
    assert db.to_torch(torch.arange(3), dtype="float32").dtype is torch.float32


def test_identity_is_not_traced():
    a, t = np.arange(3.0), torch.arange(3.0)
    with db.trace() as trace:
        db.to_numpy(a)
        db.to_torch(t)
    assert list(trace.records) == []


NUMPY_ONLY = {
    "datetime64": lambda: np.zeros(3, dtype="M8[s]"),
    "timedelta64": lambda: np.zeros(3, dtype="m8[ns]"),
    "object": lambda: np.array([None, 1]),
    "strings": lambda: np.array(["a", "bc"]),
    "byte strings": lambda: np.array([b"a", b"bc"]),
    "structured": lambda: np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
    "void": lambda: np.zeros(2, dtype="V3"),
    "longdouble": lambda: np.zeros(3, dtype=np.longdouble),
    "clongdouble": lambda: np.zeros(3, dtype=np.clongdouble),
    "big-endian": lambda: np.arange(3, dtype=">f4"),
    "little-endian": lambda: np.arange(3, dtype="<f4"),
}


@pytest.mark.parametrize("state", NUMPY_ONLY)
def test_a_numpy_array_is_itself_when_asked_for_what_it_is(state):
    a = NUMPY_ONLY[state]()
    idle = {"order": "C", "alignment": 8, "dtype": a.dtype, "device": "cpu", "copy": False}
    for name, value in idle.items():
        assert db.convert(a, "numpy", **{name: value}) is a, name
    assert db.convert(a, "numpy", **idle) is a
    plan = plan_of(a, "numpy", **idle)
    assert (plan.action, plan.reasons, plan.nbytes) == ("share", (), 0)


@pytest.mark.parametrize("state", NUMPY_ONLY)
def test_a_plan_tells_what_the_array_is_also_when_it_stays_itself(state):
    a = NUMPY_ONLY[state]()
    assert db.to_numpy(a) is a and db.convert(a, "numpy") is a
    text = str(db.plan(a, "numpy"))
    assert text.startswith("numpy -> numpy: share (identity)\n")
    assert str(a.dtype.newbyteorder("=")) in text and f"shape {a.shape}" in text
    a.flags.writeable = False
    assert db.plan(a, "numpy").readonly


@pytest.mark.parametrize("state", ["datetime64", "object", "structured", "void", "strings"])
def test_another_type_that_dlpack_lacks_is_a_wrong_value(state):
    a = NUMPY_ONLY[state]()
    for other in (np.dtype("m8[us]"), np.dtype("S7"), np.dtype([("z", "i4")])):
        with pytest.raises(ValueError) as caught:
            db.to_numpy(a, dtype=other)
        assert not isinstance(caught.value, db.ExchangeError)
        with pytest.raises(ValueError):
            db.plan(a, "numpy", dtype=other)


@pytest.mark.parametrize("state", ["datetime64", "object", "structured", "void"])
def test_what_dlpack_lacks_is_not_itself_when_something_else_is_asked_for(state):
    a = np.zeros((2, 3), NUMPY_ONLY[state]().dtype)
    with refuses("dtype"):
        db.to_numpy(a.T, order="C")
    with refuses("dtype"):
        db.to_numpy(a, dtype="float32")
    with refuses("dtype"):
        db.to_numpy(a[:, 1:], alignment=2**30)


def test_a_type_of_foreign_byte_order_is_asked_for_as_a_type_object():
    swapped = np.dtype("f4").newbyteorder("S")
    a = np.arange(3).astype(swapped)
    assert db.to_numpy(a, dtype=swapped) is a
    assert db.to_numpy(a, dtype=np.dtype(swapped.str), order="C") is a
    native = db.to_numpy(a, dtype=np.dtype("f4"))
    assert native is not a and native.dtype.isnative and native.tolist() == [0, 1, 2]


TORCH_ONLY = [
    getattr(torch, name)
    for name in ("bits8", "bits1x8", "int4", "uint4", "int1", "uint7")
    if hasattr(torch, name)
]


@pytest.mark.parametrize("dtype", TORCH_ONLY, ids=str)
def test_a_tensor_that_dlpack_cannot_say_is_itself_when_asked_for_what_it_is(dtype):
    t = torch.zeros(2, 4, dtype=torch.uint8).view(dtype)
    idle = {"order": "C", "dtype": dtype, "device": "cpu", "alignment": 1, "copy": False}
    for name, value in idle.items():
        assert db.to_torch(t, **{name: value}) is t, name
    assert db.to_torch(t, device=t.device, detach=True) is t
    assert db.to_torch(t, **idle) is t
    plan = plan_of(t, "torch", **idle)
    assert (plan.action, plan.reasons, plan.nbytes) == ("share", (), 0)


@pytest.mark.parametrize("dtype", TORCH_ONLY, ids=str)
def test_another_type_of_torch_that_dlpack_lacks_is_a_wrong_value(dtype):
    t = torch.zeros(4, dtype=torch.uint8).view(dtype)
    for other in TORCH_ONLY:
        if other is not dtype:
            with pytest.raises(ValueError) as caught:
                db.to_torch(t, dtype=other)
            assert not isinstance(caught.value, db.ExchangeError)
    with pytest.raises(ValueError):
        db.to_torch(torch.zeros(4), dtype=dtype)


@pytest.mark.parametrize("dtype", TORCH_ONLY, ids=str)
def test_a_tensor_that_dlpack_cannot_say_is_refused_when_it_must_change(dtype):
    t = torch.zeros(2, 4, dtype=torch.uint8).view(dtype)
    for call in (
        lambda: db.to_torch(t.t(), order="C"),
        lambda: db.to_torch(t, copy=True),
        lambda: db.to_torch(t, dtype="float32"),
    ):
        with refuses("dtype"):
            call()
