"""Counts the hub's own instructions on its hot paths, with callgrind.

Counted is what runs in the installed module and in an extension that uses the casters, which both
contain the hub's archives; torch, NumPy, CPython and the C library are left out: they change without
us. Counts are the same in every run on every machine, as long as compiler and Python are the same.

    python instruction_counts.py            prints the counts beside the budget
    python instruction_counts.py --write    makes them the budget of this compiler and Python
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import caster_build

from dlpack_bridge import _core

SOURCES = Path(__file__).parent / "call_lab"
BUDGET = Path(__file__).parents[2] / "python" / "instruction_budget.json"
ROUNDS = 100
WITHOUT_ARRAYS = "f(handle)"  # what pybind11 takes for a call is not ours

# Of callgrind's output format: an object's name is written once, and its number from then on.
OBJECT = re.compile(r"c?ob=\((\d+)\)(?: (.*))?")
COST = re.compile(r"[+*\d-]\S* (\d+)")


def toolchain():
    """What the counts depend on: "GCC 12.2, CPython 3.11, x86_64"."""
    built = Path(_core.__file__).read_bytes()
    gcc = re.search(rb"GCC: \([^)]*\) (\d+\.\d+)", built)
    clang = re.search(rb"clang version (\d+\.\d+)", built)
    name, found = ("Clang", clang) if clang else ("GCC", gcc)
    version = found[1].decode() if found else "unknown"
    python = f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"
    return f"{name} {version}, {python}, {platform.machine()}"


def own_instructions(report):
    """(path, instructions in our own objects) of one report; the path is None for no path's."""
    path, counts, names, current = None, Counter(), {}, None
    inclusive = False  # the line after `calls=` is the cost of the called function
    for line in report.read_text(errors="replace").splitlines():
        if line.startswith("desc: Trigger: Client Request: "):
            path = line.removeprefix("desc: Trigger: Client Request: ")
        elif known := OBJECT.match(line):
            number, name = known.groups()
            names[number] = name or names[number]
            if line.startswith("ob="):
                current = Path(names[number]).name
        elif line.startswith("calls="):
            inclusive = True
        elif cost := COST.fullmatch(line):
            if not inclusive:
                counts[current] += int(cost[1])
            inclusive = False
    return path, sum(n for name, n in counts.items() if name.startswith(("_core.", "call_lab.")))


def measure():
    """Instructions per call by path, what pybind11 takes for a call of a C++ function left out."""
    with tempfile.TemporaryDirectory(prefix="call_lab_") as folder:
        caster_build.build(SOURCES, folder)
        reports = Path(folder) / "reports"
        reports.mkdir()
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no",
            f"--callgrind-out-file={reports}/report", sys.executable,
            SOURCES / "paths.py", folder, str(ROUNDS),
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{command}\n{done.stdout}{done.stderr}")
        found = dict(map(own_instructions, reports.iterdir()))
    found.pop(None, None)
    empty = found[WITHOUT_ARRAYS]
    return {
        path: round((count - (empty if path.startswith("f(array") else 0)) / ROUNDS)
        for path, count in found.items()
    }


def read_budgets():
    """All budgets, by compiler and Python."""
    return json.loads(BUDGET.read_text()) if BUDGET.exists() else {}


def beyond_budget(counts, budget, headroom=0.05):
    """What costs more than its budget permits, or so little that the budget guards nothing."""
    found = []
    for path in sorted(counts.keys() | budget.keys()):
        count, allowed = counts.get(path), budget.get(path)
        if count is None or allowed is None:
            found.append(f"{path}: {count} instructions, budget {allowed}")
        elif abs(count / allowed - 1) > headroom:
            found.append(
                f"{path}: {count} instructions, budget {allowed} ({count / allowed - 1:+.1%})"
            )
    return found


def hot_paths(counts):
    return {path: n for path, n in counts.items() if not path.startswith(("spend", WITHOUT_ARRAYS))}


def main():
    counts, budgets = hot_paths(measure()), read_budgets()
    budget = budgets.get(toolchain(), {})
    print(toolchain())
    for path, count in counts.items():
        print(f"{path:44}{count:7}{budget.get(path, '-'):>8}")
    if sys.argv[1:] == ["--write"]:
        budgets[toolchain()] = counts
        BUDGET.write_text(json.dumps(budgets, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
