"""Section "imports": what ``import dlpack_bridge`` adds to a fresh interpreter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from typing import Any

from .options import Options
from .results import Cost, Limit, Row, judge
from .timing import Timer, interleaved

NOTHING = "an empty interpreter"
OTHERS = ("numpy", "tvm_ffi")
MOST = 10e6  # ns

ROW = Row(
    "import dlpack_bridge",
    "import dlpack_bridge",
    floors=(NOTHING, *(f"import {name}" for name in OTHERS)),
    limit=Limit((NOTHING,), MOST),
    why="Each in an interpreter of its own, from its start to its end.",
)


def interpreter(code: str) -> Timer:
    def run(number: int) -> float:
        start = time.perf_counter()
        for _ in range(number):
            subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return run


def run(options: Options) -> list[dict[str, Any]]:
    timers = {NOTHING: interpreter("pass"), ROW.ours: interpreter(ROW.ours)}
    reasons = {}
    for name in OTHERS:
        if importlib.util.find_spec(name):
            timers[f"import {name}"] = interpreter(f"import {name}")
        else:
            reasons[f"import {name}"] = f"{name} is not installed"
    samples = interleaved(timers, options.rounds, 0)
    return [judge(ROW, {call: Cost.of(found) for call, found in samples.items()}, reasons)]
