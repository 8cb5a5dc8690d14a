"""Section "fresh": copies whose result is new memory, as they are made from Python."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .measuring import measure
from .options import Options
from .results import Peer, Row

SHAPES = ("(3, 4)", "(512, 512)")


def samples(shape: str) -> dict[str, str]:
    return {
        "a": f"np.ones({shape}, np.float32)",
        "flipped": f"np.ones({shape}, np.float32)[::-1]",
        "foreign": f"np.ones({shape}, '>f4')",
        "t": f"torch.ones({shape})",
    }


WHY = "Every call gives new memory with the same elements, for the same framework."


def row(path: str, ours: str, *peers: str) -> Row:
    return Row(path, ours, tuple(Peer(call) for call in peers), why=WHY)


ROWS = (
    row("NumPy -> NumPy", "db.to_numpy(a, copy=True)", "a.copy()"),
    row("NumPy -> torch", "db.to_torch(a, copy=True)", "torch.tensor(a)"),
    row("torch -> NumPy", "db.to_numpy(t, copy=True)", "t.numpy().copy()"),
    row("torch -> torch", "db.to_torch(t, copy=True)", "t.clone()"),
    row("NumPy -> NumPy float16", 'db.to_numpy(a, dtype="float16")', "a.astype(np.float16)"),
    row(
        "NumPy -> torch float16",
        'db.to_torch(a, dtype="float16")',
        "torch.from_numpy(a).to(torch.float16)",
    ),
    row("torch -> torch float16", 'db.to_torch(t, dtype="float16")', "t.to(torch.float16)"),
    row("reversed NumPy -> torch", "db.to_torch(flipped)", "torch.from_numpy(flipped.copy())"),
    row(
        "big-endian NumPy -> torch",
        "db.to_torch(foreign)",
        "torch.from_numpy(foreign.astype(np.float32))",
    ),
)


def run(options: Options) -> list[dict[str, Any]]:
    return [
        record
        for shape in SHAPES
        for record in measure(
            [replace(row, path=f"{row.path}, {shape}") for row in ROWS],
            samples(shape),
            {},
            options.rounds,
        )
    ]
