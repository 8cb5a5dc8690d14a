"""The sections in the order in which they are shown, and how each is run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .options import Options
from .results import worst_first

# Peers are to be quiet, and to stay on the CPU.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "JAX_PLATFORMS": "cpu"}


@dataclass(frozen=True)
class Section:
    name: str  # of its module
    title: str
    unit: str  # "ns", "ms", "GB/s" or "bytes": how a reader sees the figures, which are ns or bytes
    environment: dict[str, str] = field(default_factory=dict)


SECTIONS = (
    Section("calls", "One exchange of a small array", "ns"),
    Section("functions", "A C++ function with one array argument", "ns"),
    Section("copies", "Copies and conversions into memory that exists", "GB/s"),
    Section("fresh", "Copies into new memory, one thread", "ns", {"OMP_NUM_THREADS": "1"}),
    Section("scale", "Scale", "ns"),
    Section("memory", "Bytes of one more live array", "bytes", {"PYTHONMALLOC": "malloc"}),
    Section("imports", "Import", "ms"),
    Section("contents", "What is in the wheel", "bytes"),
)


def run_worker(section: Section, options: Options) -> list[dict[str, Any]]:
    """Raises RuntimeError saying how the process ended, if it ended badly."""
    environment = {**os.environ, **QUIET, **section.environment}
    if section.name == "copies":
        environment["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.json"
        command = [sys.executable, "-m", f"{__package__}.worker"]
        command += [section.name, json.dumps(asdict(options)), str(file)]
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise RuntimeError(how_it_ended(done.returncode))
        records: list[dict[str, Any]] = json.loads(file.read_text())
    return records


def how_it_ended(code: int) -> str:
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"the process that measured it ended with {ended}"


def run_section(section: Section, options: Options, threads: tuple[int, ...]) -> dict[str, Any]:
    """The record of a section; where its process failed, the reason."""
    several = threads if section.name == "copies" else (options.threads,)
    record: dict[str, Any] = {"name": section.name, "title": section.title, "unit": section.unit}
    record |= {"rows": [], "failed": None}
    for number in several:
        said = f"{section.title}, threads: {number}" if section.name == "copies" else section.title
        print(f"measuring: {said}", file=sys.stderr, flush=True)
        try:
            record["rows"] += run_worker(section, replace(options, threads=number))
        except RuntimeError as error:
            record["failed"] = str(error)
    if section.name != "contents":
        record["rows"] = worst_first(record["rows"])
    return record
