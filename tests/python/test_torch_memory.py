"""torch gives tensors other memory while they live: results keep what they were made of.

`Module.half()` and others assign to `p.data`, `Module.to()` may swap whole tensors, FSDP uses `set_`.
`t.numpy()` keeps the memory, torch's own exports do not.
"""

import gc
import weakref

import isolated
import numpy as np
import pytest
import torch

import dlpack_bridge as db

TARGETS = ["numpy", "array"]


class Owner(np.ndarray):
    """An array that weak references can watch."""


def watched_parameter(requires_grad=True):
    """A parameter over memory that somebody watches, and the weak reference."""
    memory = np.arange(6, dtype=np.float32).view(Owner)
    tensor = torch.from_numpy(memory)
    gone = weakref.ref(memory)
    return torch.nn.Parameter(tensor, requires_grad), gone


def assign(p):
    p.data = torch.zeros(3)


def set_other(p):
    with torch.no_grad():
        p.set_(torch.zeros(3))


def swap(p):
    torch.utils.swap_tensors(p, torch.nn.Parameter(torch.zeros(6)))


def half(p):
    module = torch.nn.Module()
    module.weight = p
    module.half()


CHANGES = [assign, set_other, swap, half]


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_result_keeps_the_memory_that_a_parameter_gives_up(change, requires_grad, to):
    p, gone = watched_parameter(requires_grad)
    result = db.convert(p, to, detach=True)
    change(p)
    gc.collect()
    assert gone() is not None
    assert db.to_numpy(result).tolist() == [0, 1, 2, 3, 4, 5]
    del result
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("to", TARGETS)
def test_it_does_so_for_what_is_exchanged_under_no_grad(to):
    p, gone = watched_parameter()
    with torch.no_grad():
        result = db.convert(p, to)
    assign(p)
    gc.collect()
    assert gone() is not None and db.to_numpy(result).tolist() == [0, 1, 2, 3, 4, 5]


def test_it_does_so_for_a_plain_tensor_that_requires_grad():
    p, gone = watched_parameter(requires_grad=False)
    t = p.data.requires_grad_(True)
    result = db.to_numpy(t, detach=True)
    del p
    assign(t)
    gc.collect()
    assert gone() is not None and result.tolist() == [0, 1, 2, 3, 4, 5]


def test_only_the_memory_is_kept():
    p, gone = watched_parameter()
    result, tensor_gone = db.to_numpy(p, detach=True), weakref.ref(p)
    del p
    gc.collect()
    assert tensor_gone() is None and gone() is not None
    assert result.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_copy_keeps_neither():
    p, gone = watched_parameter()
    result = db.to_numpy(p, detach=True, copy=True)
    assign(p)
    gc.collect()
    assert gone() is None and result.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_result_is_written_where_the_parameter_reads():
    p, _ = watched_parameter()
    db.to_numpy(p, detach=True)[2] = 7
    assert p.tolist() == [0, 1, 7, 3, 4, 5]


@pytest.mark.parametrize("change", CHANGES[:2])
def test_a_result_in_numpy_keeps_the_memory_of_any_tensor(change):
    memory = np.arange(6, dtype=np.float32).view(Owner)
    t, gone = torch.from_numpy(memory), weakref.ref(memory)
    result = db.to_numpy(t)
    change(t)
    del memory
    gc.collect()
    assert gone() is not None and result.tolist() == [0, 1, 2, 3, 4, 5]
    del result
    gc.collect()
    assert gone() is None


def test_under_a_mode_that_makes_tensors_of_its_own_the_memory_is_kept():
    isolated.expect_clean(
        """
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
import dlpack_bridge as db

class Cloning(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {})).clone()

for mode in (FakeTensorMode(allow_non_fake_inputs=True), Cloning()):
    p = torch.nn.Parameter(torch.ones(6))
    with mode:
        results = [db.to_numpy(p, detach=True), db.asarray(p, detach=True)]
    del p
    later = [torch.full((6,), 7.0) for _ in range(50)]
    assert [db.to_numpy(r).tolist() for r in results] == [[1] * 6] * 2, mode
"""
    )


def test_without_torchs_compiled_functions_it_is_the_same():
    isolated.expect_clean(
        """
import torch
torch.Tensor.is_neg, real = lambda self: False, torch.Tensor.is_neg
import dlpack_bridge as db
db.asarray(torch.ones(1))
del torch.Tensor.is_neg

p = torch.nn.Parameter(torch.arange(6.0))
results = [db.to_numpy(p, detach=True), db.asarray(p, detach=True)]
p.data = torch.zeros(3)
later = [torch.full((6,), 7.0) for _ in range(50)]
assert [db.to_numpy(r).tolist() for r in results] == [[0, 1, 2, 3, 4, 5]] * 2
"""
    )
