"""Mistakes that a strict type checker must find: an ignore that is not needed is an error."""

import numpy as np
import torch
from numpy.typing import NDArray

import dlpack_bridge as db


def what_is_no_array() -> None:
    db.to_torch([1.0, 2.0])  # type: ignore[arg-type]
    db.to_numpy("text")  # type: ignore[arg-type]
    db.asarray(3.0)  # type: ignore[arg-type]
    db.asarray(None)  # type: ignore[arg-type]
    db.info((1, 2))  # type: ignore[arg-type]


def wrong_keywords(a: NDArray[np.float64], t: torch.Tensor) -> None:
    db.to_torch(a, readonly="maybe")  # type: ignore[arg-type]
    db.to_torch(a, order="F")  # type: ignore[arg-type]
    db.to_torch(a, stream="main")  # type: ignore[arg-type]
    db.to_torch(a, dtype=32)  # type: ignore[arg-type]
    db.to_numpy(t, device="cpu")  # type: ignore[call-arg]
    db.to_numpy(t, force=True)  # type: ignore[call-arg]
    db.from_dlpack(a, dtype="float32")  # type: ignore[call-arg]
    db.convert(a, "pandas")  # type: ignore[call-overload]
    db.convert(a)  # type: ignore[call-overload]


def tensor(a: NDArray[np.float64]) -> torch.Tensor:
    return db.to_numpy(a)  # type: ignore[return-value]


def array(a: NDArray[np.float64]) -> NDArray[np.float64]:
    return db.convert(a, "array")  # type: ignore[return-value]


def what_an_array_is_not(array: db.Array) -> None:
    array.shape = (1,)  # type: ignore[misc]
    memoryview(array)  # type: ignore[arg-type]
    array[0]  # type: ignore[index]
