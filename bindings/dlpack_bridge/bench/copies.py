"""Section "copies": layouts and conversions into memory that exists, for several sizes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from math import isqrt
from typing import Any

from . import extensions
from .names import Names, Unavailable, imported
from .options import Options
from .results import Bound, Peer, Row, judge
from .timing import Timer, costs_of_calls, timer_of

SECONDS = 0.004  # of one contender in one round
TRANSPOSED = 0.4  # of torch's time, which leaves the memory's bandwidth unused
STRAIGHT = "dlpack_bridge, not transposed"  # what the bandwidth gives where it is used

WHY = (
    "All write the same destination, which exists, from the same source. What each writes in its first "
    "run is compared byte by byte with what NumPy writes."
)


@dataclass(frozen=True)
class Case:
    """A copy into a C-contiguous array of `result`'s type, whose n elements take the size asked for."""

    name: str
    source: str  # makes a NumPy array from n, side (square root of n) and edge (of n / 12)
    result: str = "np.float32"
    ours: str = "copy"  # a function of sources/own.cpp
    peers: tuple[Peer, ...] = (Peer("NumPy"), Peer("torch"))


NUMPY_ONLY = (Peer("NumPy"),)
TRANSPOSES = (Peer("NumPy"), Peer("torch", TRANSPOSED, bound=Bound((STRAIGHT,))))
IMAGES = "values(4, edge, edge, 3)"

CASES = (
    Case("contiguous", "values(n)"),
    Case("transpose", "values(side, side).T", peers=TRANSPOSES),
    Case(
        "transpose, float32 -> float64",
        "values(side, side).T",
        "np.float64",
        "copy_to_double",
        TRANSPOSES,
    ),
    Case(
        "NHWC -> NCHW, uint8",
        f"({IMAGES} * 100).astype('u1').transpose(0, 3, 1, 2)",
        "np.uint8",
        "copy_uint8",
    ),
    Case("NHWC -> NCHW, float32", f"{IMAGES}.transpose(0, 3, 1, 2)"),
    Case("NCHW -> NHWC, float32", "values(4, 3, edge, edge).transpose(0, 2, 3, 1)"),
    Case(
        "NHWC uint8 -> NCHW float32",
        f"({IMAGES} * 100).astype('u1').transpose(0, 3, 1, 2)",
        ours="copy_from_uint8",
    ),
    Case("[::2]", "values(2 * n)[::2]"),
    Case("[:, ::2]", "values(side, 2 * side)[:, ::2]"),
    Case("reversed", "values(n)[::-1]", peers=NUMPY_ONLY),
    Case("broadcast row", "np.broadcast_to(values(side), (side, side))"),
    Case("broadcast column", "np.broadcast_to(values(side, 1), (side, side))"),
    Case("float32 -> float16", "values(n)", "np.float16", "copy_to_half"),
    Case("float16 -> float32", "values(n).astype('f2')", ours="copy_from_half"),
    Case("float32 -> bfloat16", "values(n)", "ml_dtypes.bfloat16", "copy_to_bfloat"),
    Case("bfloat16 -> float32", "values(n).astype(ml_dtypes.bfloat16)", ours="copy_from_bfloat"),
    Case("float32 -> float64", "values(n)", "np.float64", "copy_to_double"),
    Case("float64 -> float32", "values(n).astype('f8')", ours="copy_from_double"),
    Case("int32 -> float32", "values(n).view('i4')", ours="copy_from_int"),
    Case("uint8 -> float32", "(values(n) * 100).astype('u1')", ours="copy_from_uint8"),
    Case("byte swap", "values(n).astype('>f4')", ours="copy_swapped", peers=NUMPY_ONLY),
)

# The contenders. `given` is `source`, save for the byte swap, where it is the same bits as integers.
CALLS = {
    "NumPy": "np.copyto(into, source, casting='unsafe')",
    "dlpack_bridge": "own.{ours}(into, given)",
    STRAIGHT: "own.{ours}(into, straight)",
    "torch": "torch_into.copy_(torch_source)",
}
SAMPLES = {
    "values": "lambda *shape: np.random.default_rng(0).random(shape, np.float32)",
    "straight": "source.T",
    "given": "source if source.dtype.isnative else source.view('u4')",
    "torch_into": "db.to_torch(into)",
    "torch_source": "db.to_torch(source, readonly='share')",
}


def bytes_moved(source: Any, into: Any) -> int:
    """Read and written; an axis that is repeated is read once."""
    read = source.itemsize
    for length, stride in zip(source.shape, source.strides, strict=True):
        read *= length if stride else 1
    return int(read) + int(into.nbytes)


def names_of_case(case: Case, size: int) -> Names:
    """With `source` and `into`, whose bytes are about `size`."""
    names = Names(SAMPLES, extensions.load)
    names.provide(f"np, {case.result}")
    n = max(size // names.value(f"np.dtype({case.result}).itemsize"), 12)
    names.update(n=n, side=isqrt(n), edge=isqrt(n // 12))
    names["source"] = names.value(case.source)
    names["into"] = names.value(f"np.empty(source.shape, {case.result})")
    return names


def check_work(call: str, names: Names, expected: Any) -> None:
    """Raises Unavailable where a contender writes something else than NumPy."""
    written = names.value("into.view(np.uint8)")
    written[...] = 0xA5
    names.value(call)
    if not (written == expected).all():
        raise Unavailable("it writes something else than NumPy")


def timers_of(row: Row, case: Case, names: Names) -> tuple[dict[str, Timer], dict[str, str]]:
    """A timer for each contender, or the reason why it has none."""

    def written_by_numpy(source: str) -> Any:
        names.value(CALLS["NumPy"].replace("source", source))
        return names.value("into.view(np.uint8)").copy()

    expected = written_by_numpy("source")
    timers, reasons = {}, {}
    for contender in row.calls():
        call = CALLS[contender].format(ours=case.ours)
        try:
            straight = contender == STRAIGHT
            check_work(call, names, written_by_numpy("straight") if straight else expected)
            timers[contender] = timer_of(call, dict(names), first_calls=0)  # nothing is allocated
        except Unavailable as error:
            reasons[contender] = str(error)
    return timers, reasons


def measure_case(case: Case, size: int, threads: int, rounds: int) -> dict[str, Any]:
    floors = tuple(call for peer in case.peers if peer.bound for call in peer.bound.calls())
    row = Row(case.name, "dlpack_bridge", case.peers, floors, why=WHY)
    facts = {"size": size, "threads": threads}
    try:
        names = names_of_case(case, size)
        timers, reasons = timers_of(row, case, names)
    except Unavailable as error:
        return {**judge(row, {}, dict.fromkeys(row.calls(), str(error))), **facts}
    facts["bytes"] = bytes_moved(names["source"], names["into"])
    return {**judge(row, costs_of_calls(timers, rounds, SECONDS), reasons), **facts}


def run(options: Options) -> list[dict[str, Any]]:
    """The process was started with OMP_NUM_THREADS, which the hub keeps to; torch is told as well."""
    with contextlib.suppress(Unavailable):
        imported("torch").set_num_threads(options.threads)
    return [
        measure_case(case, size, options.threads, options.rounds)
        for case in CASES
        for size in options.sizes
    ]
