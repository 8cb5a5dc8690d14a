"""Section "memory": bytes that one more live array takes, counted by the C library's allocator.

The process runs with PYTHONMALLOC=malloc, so that every byte is one of malloc's.
"""

from __future__ import annotations

import ctypes
from typing import Any

from .names import Names, Unavailable
from .options import Options
from .results import Cost, Peer, Row, judge
from .timing import garbage_kept

COUNT = 10_000

SAMPLES = {"a": "np.ones((3, 4), np.float32)", "t": "torch.ones(3, 4)"}
WHY = (
    "What malloc has handed out, its own headers included, for each of many results alive. The elements "
    "are not counted: nobody copies them."
)


def row(path: str, ours: str, *peers: str) -> Row:
    return Row(path, ours, tuple(Peer(call, None) for call in peers), why=WHY)


ROWS = (
    row("NumPy -> torch", "db.to_torch(a)", "torch.from_numpy(a)", "torch.from_dlpack(a)"),
    row("torch -> NumPy", "db.to_numpy(t)", "t.numpy()", "np.from_dlpack(t)"),
    row("torch -> Array", "db.asarray(t)", "tvm_ffi.from_dlpack(t)"),
    row("NumPy -> Array", "db.asarray(a)", "tvm_ffi.from_dlpack(a)"),
)


class MallocInfo(ctypes.Structure):
    """glibc's struct mallinfo2: ten numbers."""

    numbers: ctypes.Array[ctypes.c_size_t]
    _fields_ = [("numbers", ctypes.c_size_t * 10)]


def bytes_in_use() -> int:
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError) as error:
        raise Unavailable("counting needs glibc 2.33 or newer") from error
    mallinfo.restype = MallocInfo
    _, _, _, _, hblkhd, _, _, uordblks, _, _ = mallinfo().numbers
    return int(uordblks + hblkhd)  # in the heaps, and in blocks of their own


def bytes_per_result(call: str, names: Names) -> Cost:
    names.provide(call)
    some = eval(
        f"lambda kept: [kept.__setitem__(i, {call}) for i in range(len(kept))]", dict(names)
    )
    some([None])
    kept: list[Any] = [None] * COUNT
    with garbage_kept():
        before = bytes_in_use()
        some(kept)
        used = (bytes_in_use() - before) / COUNT
    return Cost(used, used)


def run(options: Options) -> list[dict[str, Any]]:
    names = Names(SAMPLES)
    costs: dict[str, Cost] = {}
    reasons: dict[str, str] = {}
    for call in dict.fromkeys(call for row in ROWS for call in row.calls()):
        try:
            costs[call] = bytes_per_result(call, names)
        except Unavailable as error:
            reasons[call] = str(error)
    return [judge(row, costs, reasons) for row in ROWS]
