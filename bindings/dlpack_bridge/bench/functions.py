"""Section "functions": a C++ function with one array argument, called from Python."""

from __future__ import annotations

from typing import Any

from .measuring import measure
from .options import Options
from .results import Limit, Peer, Row

SAMPLES = {
    "a": "np.ones(4, np.float32)",
    "t": "torch.ones(4)",
}

SAME = (
    "Every function wants one axis of float32 on the CPU and reads the first element. What the type of "
    "its argument does not check, it checks itself. `py::array_t` would convert another element type, "
    "the others refuse it."
)
TORCH = (
    f"{SAME} Only the hub looks at the state of the tensor (gradient, neg bit). torch's own caster is "
    "shown, and no aim: it checks nothing, takes nothing but tensors, and is tied to one release of torch."
)

ROWS = (
    Row(
        "from NumPy",
        "own.take(a)",
        (Peer("nanobind_peer.take(a)"), Peer("tvm_peer.take(a)"), Peer("pybind11_peer.take(a)")),
        floors=("own.nothing(a)", "nanobind_peer.nothing(a)"),
        limit=Limit(("own.nothing(a)",), 100),
        why=SAME,
    ),
    Row(
        "from NumPy, to write to",
        "own.take_to_write(a)",
        (Peer("nanobind_peer.take_to_write(a)"),),
        floors=("own.nothing(a)", "nanobind_peer.nothing(a)"),
        why=SAME,
    ),
    Row(
        "from NumPy, any rank",
        "own.take_any_rank(a)",
        (Peer("nanobind_peer.take_any_rank(a)"),),
        floors=("own.nothing(a)", "nanobind_peer.nothing(a)"),
        why=SAME,
    ),
    Row(
        "from torch",
        "own.take(t)",
        (
            Peer("tvm_peer.take(t)", 0.95),
            Peer("nanobind_peer.take(t)"),
            Peer("pybind11_peer.take(t)"),
            Peer("torch_peer.take(t)", None),
        ),
        floors=("floor.state_checks(t)", "own.nothing(a)"),
        limit=Limit(("floor.state_checks(t)",), 60),
        why=TORCH,
    ),
)


def run(options: Options) -> list[dict[str, Any]]:
    return measure(ROWS, SAMPLES, {}, options.rounds)
