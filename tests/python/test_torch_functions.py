"""What a tensor is asked is asked of torch's compiled functions, once these have proven that they
give the answers of its methods; where they cannot, of the methods.

Which of the two is asked shows under a mode that interrupts: it stands in the way of methods only.
"""

import isolated
import pytest

SETTING = """
import torch
from torch.overrides import TorchFunctionMode
import dlpack_bridge as db

class Interrupting(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        raise KeyboardInterrupt

def asks_methods(tensor, to):
    live = db.stats().live_arrays
    try:
        with Interrupting():
            db.convert(tensor, to, detach=True)
    except KeyboardInterrupt:
        assert db.stats().live_arrays == live
        return True
    return False

def all_asked():
    return [
        asks_methods(tensor, to)
        for tensor in (torch.ones(2), torch.ones(2, requires_grad=True), torch.ones(2).to(torch.uint8))
        for to in ("numpy", "array")
    ]

def states_are_seen():
    recording = torch.ones(2, requires_grad=True)
    for to in ("numpy", "array"):
        assert [b.code for b in db.plan(recording, to).blockers] == ["requires_grad"]
        assert db.plan(torch.nn.Parameter(torch.ones(2)), to).action == "refuse"
        assert db.plan(recording.detach(), to).action == "share"
        assert db.to_numpy(db.convert(torch.tensor([1 + 2j]).conj(), to)).tolist() == [1 - 2j]
        assert db.to_numpy(db.convert(torch.tensor([1 + 2j]).conj().imag, to)).tolist() == [-2]
        assert db.plan(torch.tensor([1 + 2j]), to).action == "share"
        narrow = torch.zeros(4, dtype=torch.uint8).view(torch.int4)
        assert [b.code for b in db.plan(narrow, to).blockers] == ["dtype"]
        for whole in (torch.int8, torch.uint8):
            assert db.plan(torch.zeros(4, dtype=whole), to).action == "share"
"""


def test_compiled_functions_are_asked_of_plain_tensors_and_of_subclasses():
    isolated.expect_clean(
        SETTING
        + """
assert all_asked() == [False] * 6
states_are_seen()

class Odd(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *arguments, **keywords):
        raise KeyboardInterrupt
odd = torch.Tensor._make_subclass(Odd, torch.ones(2))
for to in ("numpy", "array"):
    db.convert(odd, to)
"""
    )


DISPROVED = {
    "an answer that differs": (
        "torch.Tensor.is_neg = lambda self: False",
        "del torch.Tensor.is_neg",
    ),
    "an answer that never differs": (
        "real = torch.Tensor.conj; torch.Tensor.conj = lambda self: self.clone()",
        "torch.Tensor.conj = real; del torch.Tensor.conj",
    ),
    "an implementation elsewhere": (
        "torch.Tensor._cdata = property(lambda self: 1 << 40)",
        "del torch.Tensor._cdata",
    ),
    "a library that is not found": (
        "file = torch._C.__file__; torch._C.__file__ = '/nowhere/_C.so'",
        "torch._C.__file__ = file",
    ),
    "no samples": ("zeros = torch.zeros; del torch.zeros", "torch.zeros = zeros"),
}


@pytest.mark.parametrize("what", DISPROVED)
def test_after_a_proof_that_failed_methods_are_asked(what):
    wrong, mended = DISPROVED[what]
    attempts = "for _ in range(20): db.asarray(torch.ones(1))"  # all that there are
    isolated.expect_clean(
        f"{SETTING}\n{wrong}\n{attempts}\n{mended}\n"
        "assert all_asked() == [True] * 6\nstates_are_seen()\n"
    )


def test_a_dispatch_mode_delays_the_proof_and_sees_nothing_of_it():
    isolated.expect_clean(
        SETTING
        + """
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
plain = torch.ones(2)
with FakeTensorMode(allow_non_fake_inputs=True):
    for _ in range(20):
        assert db.plan(plain, "numpy").action == "share"
    assert asks_methods(plain, "numpy")

class Interrupted(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise KeyboardInterrupt
with Interrupted():
    assert db.to_numpy(plain).tolist() == [1, 1]
assert all_asked() == [False] * 6
states_are_seen()
"""
    )


@pytest.mark.parametrize("mode", ["torch.inference_mode()", "torch.no_grad()", "Interrupting()"])
def test_a_proof_under_another_mode_holds(mode):
    isolated.expect_clean(
        f"""{SETTING}
array = db.asarray(memoryview(bytearray(8)))
with {mode}:
    torch_sees = db.convert(array, "torch")
    try:
        db.to_numpy(torch_sees)
    except KeyboardInterrupt:
        pass
assert all_asked() == [False] * 6
states_are_seen()
"""
    )
