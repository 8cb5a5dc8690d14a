"""Counts the hub's own instructions on its hot paths, and the cache lines they lie in, with callgrind.

Counted is what runs in the installed module and in an extension that uses the casters, which both
contain the hub's archives; torch, NumPy, CPython and the C library are left out: they change without
us. Counts are the same in every run on every machine, as long as compiler and Python are the same.

An exchange with torch runs through more code than the processor's first cache of instructions holds
(32 KB), so each line of it is fetched anew: there lines cost as much as instructions do.

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
from pathlib import Path

import caster_build

from dlpack_bridge import _core

SOURCES = Path(__file__).parent / "call_lab"
BUDGET = Path(__file__).parents[2] / "python" / "instruction_budget.json"
ROUNDS = 100
LINE = 64
WITHOUT_ARRAYS = "f(handle)"  # what pybind11 takes for a call is not ours

# Of callgrind's output format: an object's name is written once, and its number from then on.
# Addresses are absolute, or relative to the line before.
OBJECT = re.compile(r"c?ob=\((\d+)\)(?: (.*))?")
COST = re.compile(r"(0x[0-9a-f]+|[+-]\d+|\*) \S+ (\d+)")


def toolchain():
    """What the counts depend on: "GCC 12.2, CPython 3.11, x86_64"."""
    built = Path(_core.__file__).read_bytes()
    gcc = re.search(rb"GCC: \([^)]*\) (\d+\.\d+)", built)
    clang = re.search(rb"clang version (\d+\.\d+)", built)
    name, found = ("Clang", clang) if clang else ("GCC", gcc)
    version = found[1].decode() if found else "unknown"
    python = f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"
    return f"{name} {version}, {python}, {platform.machine()}"


def own_code(report):
    """(path, (instructions, cache lines) in our own objects) of one report; the path is None for no
    path's."""
    path, count, touched, names, current, address = None, 0, set(), {}, None, 0
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
            where = cost[1]
            if where != "*":
                address = int(where, 16) if where.startswith("0x") else address + int(where)
            if not inclusive and current.startswith(("_core.", "call_lab.")):
                count += int(cost[2])
                if int(cost[2]) >= ROUNDS:  # and not once, around them
                    touched.add((current, address // LINE))
            inclusive = False
    return path, (count, len(touched))


def measure():
    """(instructions per call, cache lines) by path; of a C++ function's call the instructions that
    pybind11 takes are left out."""
    with tempfile.TemporaryDirectory(prefix="call_lab_") as folder:
        caster_build.build(SOURCES, folder)
        reports = Path(folder) / "reports"
        reports.mkdir()
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-instr=yes",
            f"--callgrind-out-file={reports}/report", sys.executable,
            SOURCES / "paths.py", folder, str(ROUNDS),
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{command}\n{done.stdout}{done.stderr}")
        found = dict(map(own_code, reports.iterdir()))
    found.pop(None, None)
    empty = found[WITHOUT_ARRAYS][0]
    return {
        path: (round((count - (empty if path.startswith("f(array") else 0)) / ROUNDS), lines)
        for path, (count, lines) in found.items()
    }


def read_budgets():
    """All budgets, by compiler and Python."""
    return json.loads(BUDGET.read_text()) if BUDGET.exists() else {}


# More than the budget is permitted by this share of it, or by so many. Of lines by some: where a
# function begins within one depends on the code before it.
HEADROOM = {"instructions": (0.05, 0), "cache lines": (0.12, 3)}


def beyond_budget(counts, budget):
    """What costs more than its budget permits, or so little that the budget guards nothing."""
    found = []
    for path in sorted(counts.keys() | budget.keys()):
        if path not in counts or path not in budget:
            found.append(f"{path}: {counts.get(path)}, budget {budget.get(path)}")
            continue
        for kind, count, allowed in zip(HEADROOM, counts[path], budget[path], strict=True):
            share, few = HEADROOM[kind]
            if abs(count - allowed) > max(share * allowed, few):
                more = f"{count / allowed - 1:+.1%}"
                found.append(f"{path}: {count} {kind}, budget {allowed} ({more})")
    return found


def hot_paths(counts):
    return {path: n for path, n in counts.items() if not path.startswith(("spend", WITHOUT_ARRAYS))}


def main():
    counts, budgets = hot_paths(measure()), read_budgets()
    budget = budgets.get(toolchain(), {})
    print(toolchain())
    for path, (count, lines) in counts.items():
        allowed = "{:7} in{:4} lines".format(*budget[path]) if path in budget else "-"
        print(f"{path:44}{count:7} in{lines:4} lines{allowed:>24}")
    if sys.argv[1:] == ["--write"]:
        budgets[toolchain()] = counts
        text = json.dumps(budgets, indent=2, sort_keys=True)
        BUDGET.write_text(re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", text) + "\n")


if __name__ == "__main__":
    main()
