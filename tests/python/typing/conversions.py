"""What a strict type checker must make of the conversions. Read by mypy, never run."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack
from typing_extensions import assert_type

import dlpack_bridge as db


def results(a: NDArray[np.float64], t: torch.Tensor, array: db.Array) -> None:
    assert_type(db.to_numpy(t), NDArray[Any])
    assert_type(db.to_torch(a), torch.Tensor)
    assert_type(db.asarray(a), db.Array)
    assert_type(db.from_dlpack(array, device="cpu", copy=False), db.Array)
    assert_type(db.shares_memory(a, t), bool)


def the_target_gives_the_result(x: NDArray[np.float64]) -> None:
    assert_type(db.convert(x, "numpy"), NDArray[Any])
    assert_type(db.convert(x, np.ndarray), NDArray[Any])
    assert_type(db.convert(x, "torch", dtype="float32"), torch.Tensor)
    assert_type(db.convert(x, torch.Tensor, device="cpu"), torch.Tensor)
    assert_type(db.convert(x, "array"), db.Array)
    assert_type(db.convert(x, db.Array), db.Array)
    # What only the running program knows.
    assert_type(db.convert(x, "jax"), Any)
    assert_type(db.convert(x, torch), Any)


def sources(a: NDArray[np.int32], capsule_of: db.Array, scalar: np.float32) -> None:
    import array
    import mmap

    db.to_torch(bytearray(4))
    db.to_numpy(memoryview(b"abcd"))
    db.asarray(array.array("d", [1.0, 2.0]))
    db.asarray(mmap.mmap(-1, 16))
    db.asarray(scalar)
    db.from_dlpack(capsule_of.__dlpack__(max_version=(1, 3)))
    db.from_dlpack(a.__dlpack__())
    db.to_numpy(torch.nn.Parameter(torch.ones(3)), detach=True)


class Producer:
    """As small as a producer can be."""

    def __dlpack__(self, stream: int | None = None) -> object:
        return NotImplemented

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class Interface:
    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {}


class Stream:
    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, 1)


def sources_by_protocol() -> None:
    db.to_numpy(Producer())
    db.to_torch(Interface())


def keywords(a: NDArray[np.float64], t: torch.Tensor) -> None:
    db.to_numpy(t, dtype=np.float32, copy=True, detach=True, order="C", alignment=64)
    db.to_torch(a, dtype=torch.int16, device=torch.device("cpu"), readonly="share")
    db.to_torch(a, dtype=np.dtype("float32"), device=(1, 0), readonly="error")
    db.to_torch(a, dtype=db.dtype("float64"), device="cuda_host", stream=1)
    db.asarray(a, dtype="bits", stream=Stream())
    db.plan(a, "torch", readonly="copy", copy=None)
    db.convert_tree({"x": [a, t]}, "torch", dtype="float32", leaves="keep")


def back_into_the_frameworks(array: db.Array) -> None:
    """An `Array` goes where NumPy and torch take arrays."""
    np.from_dlpack(array)
    np.asarray(array)
    from_dlpack(array)


@db.compute_in("torch")
def softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, dim=-1)


def decorated(a: NDArray[np.float64]) -> None:
    """The decorated function takes and gives other frameworks' arrays than its body says."""
    assert_type(softmax(a), Any)
