"""Tables of element types and layouts that many tests walk through."""

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided, sliding_window_view

# Element types that NumPy and torch share under one name, with (code, bits).
COMMON_DTYPES = {
    "bool": (6, 8),
    "int8": (0, 8),
    "int16": (0, 16),
    "int32": (0, 32),
    "int64": (0, 64),
    "uint8": (1, 8),
    "uint16": (1, 16),
    "uint32": (1, 32),
    "uint64": (1, 64),
    "float16": (2, 16),
    "float32": (2, 32),
    "float64": (2, 64),
    "complex64": (5, 64),
    "complex128": (5, 128),
}

# Small floats that ml_dtypes and torch share under one name.
SMALL_FLOATS = {
    "bfloat16": (4, 16),
    "float8_e4m3fn": (10, 8),
    "float8_e4m3fnuz": (11, 8),
    "float8_e5m2": (12, 8),
    "float8_e5m2fnuz": (13, 8),
    "float8_e8m0fnu": (14, 8),
}

# Small floats that only ml_dtypes has.
ONLY_ML_DTYPES = {
    "float8_e3m4": (7, 8),
    "float8_e4m3": (8, 8),
    "float8_e4m3b11fnuz": (9, 8),
}


def numpy_values(dtype):
    """Six elements of any common type, shaped (2, 3)."""
    return np.array([[0, 1, 2], [3, 100, 1]]).astype(dtype)


def torch_values(dtype):
    """Six elements of any type that torch has under this name, shaped (2, 3)."""
    return torch.tensor([[0.0, 1.0, 2.0], [3.0, 100.0, 1.0]]).to(getattr(torch, dtype))


def base():
    return np.arange(24, dtype=np.float32).reshape(2, 3, 4)


# Layouts with positive strides: shared by every target.
PLAIN_LAYOUTS = {
    "contiguous": base,
    "every other element": lambda: base()[:, :, ::2],
    "offset slice": lambda: base()[1:, 1:],
    "column": lambda: base()[0, :, 2],
    "Fortran order": lambda: np.asfortranarray(base()),
    "transposed": lambda: base().transpose(2, 0, 1),
    "swapped inner axes": lambda: base().swapaxes(1, 2),
    "zero dimensions": lambda: np.array(7.5, dtype=np.float32),
    "one element": lambda: np.ones((1, 1, 1), dtype=np.float32),
}

# Strides that mean nothing: shared, and contiguous for whoever asks.
MEANINGLESS_STRIDES = {
    "size-1 axis reversed": lambda: base()[:1][::-1],
    "size-1 axes reversed at the end": lambda: base()[:, :, :1][:1, :1, ::-1],
    "size-1 axis with an odd byte stride": lambda: as_strided(base(), (1, 3, 4), (7, 16, 4)),
    "size-1 axis with stride 0": lambda: as_strided(base(), (1, 3, 4), (0, 16, 4)),
    "empty": lambda: np.empty((0, 3), dtype=np.float32),
    "empty, reversed": lambda: np.empty((0, 3), dtype=np.float32)[:, ::-1],
    "empty in the middle": lambda: np.empty((2, 0, 3), dtype=np.float32),
}

# Negative strides: shared by NumPy and db.Array, copied for torch. name -> (maker, an axis it names)
NEGATIVE_STRIDES = {
    "reversed": (lambda: np.arange(6.0)[::-1], 0),
    "reversed rows": (lambda: base()[::-1], 0),
    "reversed columns": (lambda: base()[:, :, ::-1], 2),
    "every other backwards": (lambda: base()[:, ::-2], 1),
}

# Layouts in which elements share bytes: the shared result is read-only.
OVERLAPPING = {
    "broadcast row": lambda: np.broadcast_to(np.arange(3.0), (4, 3)),
    "broadcast scalar": lambda: np.broadcast_to(np.array(1.0), (2, 2)),
    "writable stride 0": lambda: as_strided(np.arange(3.0), (4, 3), (0, 8)),
    "writable windows": lambda: sliding_window_view(np.arange(8.0), 3, writeable=True),
    "writable half overlap": lambda: as_strided(np.arange(12.0), (4, 4), (16, 8)),
}


def misaligned(dtype="float32", count=6, offset=1):
    """An array whose address is `offset` bytes past a multiple of 64."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(count * itemsize + 128, dtype=np.uint8)
    start = -raw.ctypes.data % 64 + offset
    view = raw[start : start + count * itemsize].view(dtype)
    view[...] = np.arange(count).astype(dtype)
    return view


def packed_field():
    """A field of a packed struct: a stride of 5 bytes for elements of 4."""
    records = np.zeros(6, dtype=np.dtype([("tag", "u1"), ("value", "f4")]))
    records["value"] = np.arange(6)
    return records["value"]


def refused_numpy():
    """NumPy arrays of types that DLPack does not have: name in the message -> array."""
    ragged = np.empty(2, dtype=object)
    ragged[0], ragged[1] = [1], [2, 3]
    return {
        "datetime64[ns]": np.zeros(3, dtype="datetime64[ns]"),
        "timedelta64[s]": np.zeros(3, dtype="timedelta64[s]"),
        "<U5": np.array(["alpha", "beta"]),
        "S3": np.array([b"abc"]),
        "object": ragged,
        "('a', ": np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
    }
