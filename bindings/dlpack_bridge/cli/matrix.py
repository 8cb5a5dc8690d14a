"""``python -m dlpack_bridge matrix``: every exchange between what is installed, tried out."""

from __future__ import annotations

import argparse
import json
from typing import Any

import dlpack_bridge as db

from ..bench.names import Names, Unavailable, in_a_line
from ..bench.report import table
from ..bench.timing import costs_of_calls, timer_of
from .frameworks import ARRAYS, STATES, made, names
from .pictures import add_plot_option

TARGETS: dict[str, Any] = {
    "NumPy": "numpy",
    "torch": "torch",
    "Array": "array",
    "JAX": "jax",
    "CuPy": "cupy",
    "TensorFlow": "tensorflow",
    "tvm-ffi": "tvm_ffi",
}
ROUNDS, SECONDS = 15, 0.0005
COLOURS = {"share": "#a9dfbf", "copy": "#f9e79f", "refuse": "#f5b7b1"}

Cell = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_plot_option(parser, "matrix")


def sources(found: Names) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays that can be made here, and why others cannot."""
    arrays, reasons = {}, {}
    for name, code in {**ARRAYS, **STATES}.items():
        try:
            arrays[name] = made(code, found)
        except Unavailable as error:
            reasons[name] = str(error)
    return arrays, reasons


def cell(source: str, target: str, x: Any) -> Cell:
    """What the hub decides; where it does not refuse, what the exchange costs."""
    plan = db.plan(x, TARGETS[target])
    why = plan.blockers if plan.action == "refuse" else plan.reasons
    record: Cell = {"source": source, "target": target, "action": plan.action, "nanoseconds": None}
    record["reasons"] = [{"code": reason.code, "message": reason.message} for reason in why]
    if plan.action != "refuse":
        call = f"db.convert(x, {TARGETS[target]!r})"
        timer = timer_of(call, {"db": db, "x": x})
        record["nanoseconds"] = costs_of_calls({call: timer}, ROUNDS, SECONDS)[call].least
    return record


def why_no_target(target: str) -> str | None:
    try:
        db.plan(bytearray(4), TARGETS[target])
    except ImportError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  whatever a broken framework raises when imported
        return f"import {TARGETS[target]} failed, {in_a_line(error)}"
    return None


def matrix() -> dict[str, Any]:
    arrays, reasons = sources(names())
    no_target = {target: why_no_target(target) for target in TARGETS}
    targets = [target for target, why in no_target.items() if why is None]
    return {
        "sources": list(arrays),
        "targets": targets,
        "cells": [cell(source, target, x) for source, x in arrays.items() for target in targets],
        "missing": [
            *({"what": f"from {name}", "reason": why} for name, why in reasons.items()),
            *({"what": f"to {name}", "reason": why} for name, why in no_target.items() if why),
        ],
    }


def words(cell: Cell) -> str:
    codes = " ".join(reason["code"] for reason in cell["reasons"])
    cost = f"{cell['nanoseconds']:.0f} ns" if cell["nanoseconds"] is not None else ""
    return ", ".join(filter(None, [f"{cell['action']}{f': {codes}' if codes else ''}", cost]))


def text(found: dict[str, Any]) -> str:
    cells = {(cell["source"], cell["target"]): words(cell) for cell in found["cells"]}
    lines = [
        [source, *(cells[source, target] for target in found["targets"])]
        for source in found["sources"]
    ]
    missing = [f"* {left_out['what']}: {left_out['reason']}" for left_out in found["missing"]]
    return "\n".join([table(["from \\ to", *found["targets"]], lines), "", *missing])


def draw(found: dict[str, Any], file: str) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns, rows = found["targets"], found["sources"]
    figure = Figure(figsize=(1.2 + 1.5 * len(columns), 0.8 + 0.45 * len(rows)))
    axes = figure.subplots()
    for cell in found["cells"]:
        x, y = columns.index(cell["target"]), rows.index(cell["source"])
        axes.add_patch(Rectangle((x, y), 1, 1, color=COLOURS[cell["action"]], ec="white"))
        said = words(cell).replace(", ", "\n").replace(": ", "\n", 1)
        axes.text(x + 0.5, y + 0.5, said, ha="center", va="center", fontsize=5)
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(rows), 0)
    axes.set_xticks([x + 0.5 for x in range(len(columns))], columns)
    axes.set_yticks([y + 0.5 for y in range(len(rows))], rows)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    figure.savefig(file, bbox_inches="tight", dpi=150)


def run(arguments: argparse.Namespace) -> int:
    found = matrix()
    print(json.dumps(found, indent=1) if arguments.json else text(found))
    if arguments.plot:
        draw(found, arguments.plot)
    return 0
