"""Tensors in every state that decides whether and how their memory can be shared."""

import contextlib
import warnings

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode


@contextlib.contextmanager
def quiet():
    """torch warns when some of these are made, which is not what the tests are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def made_quietly(make):
    def wrapper():
        with quiet():
            return make()

    return wrapper


class FunctionSubclass(torch.Tensor):
    """Overrides `__torch_function__` only: still plain storage."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return super().__torch_function__(func, types, args, kwargs or {})


class DispatchSubclass(torch.Tensor):
    """Overrides `__torch_dispatch__`: what its storage means is its own affair."""

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class WrapperSubclass(torch.Tensor):
    """Has no storage of its own at all."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    __torch_dispatch__ = DispatchSubclass.__dict__["__torch_dispatch__"]


def fake():
    with FakeTensorMode():
        return torch.empty(3)


def functional():
    with FunctionalTensorMode():
        return FunctionalTensor.to_functional(torch.ones(3))


def dispatch_subclass():
    return torch.Tensor._make_subclass(DispatchSubclass, torch.ones(3))


def function_subclass():
    return torch.arange(6.0).reshape(2, 3).as_subclass(FunctionSubclass)


def conjugated():
    return torch.tensor([1 + 2j, 3 - 4j, 5j]).conj()


def negated():
    return torch.tensor([1 + 2j, 3 + 4j]).conj().imag


@made_quietly
def half_complex():
    return torch.tensor([1 + 2j, 3 - 4j]).to(torch.complex32)


# What is refused whatever the keywords: name -> (code of the blocker, maker).
REFUSED = {
    "sparse COO": ("sparse", made_quietly(lambda: torch.eye(3).to_sparse())),
    "sparse CSR": ("sparse", made_quietly(lambda: torch.eye(3).to_sparse_csr())),
    "sparse CSC": ("sparse", made_quietly(lambda: torch.eye(3).to_sparse_csc())),
    "sparse BSR": ("sparse", made_quietly(lambda: torch.eye(4).to_sparse_bsr((2, 2)))),
    "sparse BSC": ("sparse", made_quietly(lambda: torch.eye(4).to_sparse_bsc((2, 2)))),
    "quantized per tensor": (
        "quantized",
        made_quietly(lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)),
    ),
    "quantized per channel": (
        "quantized",
        made_quietly(
            lambda: torch.quantize_per_channel(
                torch.ones(2, 3), torch.tensor([0.1, 0.2]), torch.tensor([0, 0]), 0, torch.qint8
            )
        ),
    ),
    "nested strided": (
        "nested",
        made_quietly(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
    ),
    "meta": ("meta", lambda: torch.empty(3, device="meta")),
    "fake": ("fake", fake),
    "functional": ("functional", functional),
    "dispatch subclass": ("subclass", dispatch_subclass),
    "wrapper subclass": ("subclass", lambda: WrapperSubclass(torch.ones(3))),
}

# Refused as well, under a code the contract leaves open.
REFUSED_SOMEHOW = {
    "nested jagged": made_quietly(
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    ),
    "mkldnn": made_quietly(lambda: torch.ones(3).to_mkldnn()),
    "zero tensor": lambda: torch._efficientzerotensor(3),
}
