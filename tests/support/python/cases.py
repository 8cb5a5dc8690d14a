"""One table of exchanges with what must be decided, for plans, conversions, traces and statistics."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import samples
import torch
import torch_states
from producers import ByInterface, OnlyStream, Producer, Table13, export

import dlpack_bridge as db


@dataclass
class Case:
    make: Callable[[], Any]
    to: str
    action: str
    codes: frozenset = frozenset()
    keywords: dict = field(default_factory=dict)
    readonly: bool = False
    nbytes: int = 0


def share(make, to, readonly=False, **keywords):
    return Case(make, to, "share", frozenset(), keywords, readonly)


def copy(make, to, codes, nbytes, **keywords):
    return Case(make, to, "copy", frozenset(codes.split()), keywords, False, nbytes)


def refuse(make, to, codes, **keywords):
    return Case(make, to, "refuse", frozenset(codes.split()), keywords)


def frozen():
    a = np.arange(6.0)
    a.flags.writeable = False
    return a


def six():
    return np.arange(6.0)


def tensor():
    return torch.arange(6.0)


def foreign():
    return np.arange(6, dtype=np.dtype("f8").newbyteorder("S"))


def grad():
    return torch.ones(3, requires_grad=True)


CASES = {
    # shared
    "numpy to torch": share(six, "torch"),
    "numpy to array": share(six, "array"),
    "torch to numpy": share(tensor, "numpy"),
    "torch to array": share(tensor, "array"),
    "array to numpy": share(lambda: db.asarray(six()), "numpy"),
    "array to torch": share(lambda: db.asarray(six()), "torch"),
    "numpy to itself": share(six, "numpy"),
    "torch to itself": share(tensor, "torch"),
    "array to itself": share(lambda: db.asarray(six()), "array"),
    "transposed numpy to torch": share(lambda: np.zeros((3, 4)).T, "torch"),
    "reversed numpy to array": share(lambda: six()[::-1], "array"),
    "size-1 reversed to torch": share(lambda: np.zeros((1, 3))[::-1], "torch", order="C"),
    "0-d to torch": share(lambda: np.array(1.0), "torch"),
    "empty to torch": share(lambda: np.empty((0, 3)), "torch"),
    "bool to torch": share(lambda: np.array([True]), "torch"),
    "bfloat16 to numpy": share(lambda: torch.ones(3, dtype=torch.bfloat16), "numpy"),
    "bits of float32": share(lambda: np.ones(3, "f4"), "torch", dtype="bits"),
    "same dtype": share(six, "torch", dtype="float64"),
    "same device": share(six, "torch", device="cpu"),
    "aligned": share(six, "torch", alignment=8),
    "copy=False": share(six, "torch", copy=False),
    "bytearray to numpy": share(lambda: bytearray(6), "numpy"),
    "capsule to torch": share(lambda: export().capsule(), "torch"),
    "legacy capsule to numpy": share(lambda: export(versioned=False).capsule(), "numpy"),
    "producer to numpy": share(Producer, "numpy"),
    "old producer to torch": share(OnlyStream, "torch"),
    "exchange table to numpy": share(lambda: Table13(export()), "numpy"),
    "interface to torch": share(lambda: ByInterface(six()), "torch"),
    "read-only to array": share(frozen, "array", readonly=True),
    "bytes to numpy": share(lambda: b"abcdef", "numpy", readonly=True),
    "broadcast to array": share(lambda: np.broadcast_to(six(), (2, 6)), "array", readonly=True),
    "expanded tensor to numpy": share(lambda: torch.ones(1).expand(3), "numpy", readonly=True),
    "detached to numpy": share(grad, "numpy", detach=True),
    "detached to torch": share(grad, "torch", detach=True),
    "requires grad to itself": share(grad, "torch"),
    "sparse to itself": share(torch_states.REFUSED["sparse COO"][1], "torch"),
    "big-endian to itself": share(foreign, "numpy"),
    "datetime to itself": share(lambda: np.zeros(3, "M8[s]"), "numpy"),
    # copied
    "copy=True to torch": copy(six, "torch", "copy_requested", 48, copy=True),
    "copy=True to itself": copy(six, "numpy", "copy_requested", 48, copy=True),
    "copy=True of an array": copy(
        lambda: db.asarray(six()), "array", "copy_requested", 48, copy=True
    ),
    "dtype to torch": copy(six, "torch", "dtype", 24, dtype="float32"),
    "dtype of the own": copy(tensor, "torch", "dtype", 48, dtype="float64"),
    "dtype and copy=True": copy(
        six, "torch", "dtype copy_requested", 24, dtype="float32", copy=True
    ),
    "reversed to torch": copy(lambda: six()[::-1], "torch", "negative_stride", 48),
    "foreign byte order": copy(foreign, "torch", "byte_order", 48),
    "foreign and reversed": copy(
        lambda: foreign()[::-1], "torch", "byte_order negative_stride", 48
    ),
    "Fortran order": copy(lambda: np.zeros((3, 4)).T, "torch", "order", 96, order="C"),
    "misaligned": copy(samples.misaligned, "torch", "alignment", 24),
    "read-only to torch": copy(frozen, "torch", "readonly", 48),
    "bytes to torch": copy(lambda: b"abcdef", "torch", "readonly", 6),
    "broadcast to torch": copy(lambda: np.broadcast_to(six(), (2, 6)), "torch", "readonly", 96),
    "conj to numpy": copy(torch_states.conjugated, "numpy", "conj", 24),
    "neg to numpy": copy(torch_states.negated, "numpy", "neg", 8),
    "empty, copied": copy(lambda: np.empty((0, 3)), "torch", "copy_requested", 0, copy=True),
    # refused
    "requires grad": refuse(grad, "numpy", "requires_grad"),
    "requires grad, copied": refuse(grad, "numpy", "requires_grad", copy=True),
    "object": refuse(lambda: np.array([None]), "torch", "dtype"),
    "datetime": refuse(lambda: np.zeros(3, "M8[s]"), "torch", "dtype"),
    "narrow integers": refuse(lambda: torch.zeros(3, dtype=torch.int4), "numpy", "dtype"),
    "masked": refuse(lambda: np.ma.zeros(3), "torch", "subclass"),
    "read-only as an error": refuse(frozen, "torch", "readonly", readonly="error"),
    "vector type": refuse(lambda: export(shape=(3,), dtype=(2, 32, 2)).capsule(), "numpy", "lanes"),
    "major version": refuse(lambda: Producer(export(version=(2, 0))), "numpy", "version"),
    "raising producer": refuse(lambda: Table13(export(), BufferError("no")), "numpy", "producer"),
    **{
        f"{name} to numpy": refuse(make, "numpy", code)
        for name, (code, make) in torch_states.REFUSED.items()
    },
    # copies that may not be made
    "dtype, copy=False": refuse(six, "torch", "dtype", dtype="float32", copy=False),
    "reversed, copy=False": refuse(lambda: six()[::-1], "torch", "negative_stride", copy=False),
    "foreign, copy=False": refuse(foreign, "torch", "byte_order", copy=False),
    "order, copy=False": refuse(
        lambda: np.zeros((3, 4)).T, "torch", "order", order="C", copy=False
    ),
    "read-only, copy=False": refuse(frozen, "torch", "readonly", copy=False),
    "conj, copy=False": refuse(torch_states.conjugated, "numpy", "conj", copy=False),
}
