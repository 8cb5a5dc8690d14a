"""Section "contents": what the wheel holds, and how large it is, counted in the installed package."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from .options import Options

PACKAGE = Path(__file__).resolve().parents[1]

# What it is, and patterns of paths in the package. Every file belongs to one group.
GROUPS = {
    "the extension module": ("_core.*",),
    "Python code and type stubs": ("*.py", "*.pyi", "py.typed", "cli/*"),
    "the benchmarks": ("bench/**/*",),
    "the worked examples": ("examples/*",),
    "static libraries for C++ extensions": ("lib/*",),
    "the CMake package": ("lib/cmake/**/*",),
    "headers for C++ extensions": ("include/**/*",),
}


def group(what: str, patterns: tuple[str, ...]) -> dict[str, Any]:
    found = {file for pattern in patterns for file in PACKAGE.glob(pattern) if file.is_file()}
    files = [file.read_bytes() for file in found if file.suffix != ".pyc"]
    return {
        "what": what,
        "files": len(files),
        "bytes": sum(map(len, files)),
        "compressed": sum(len(zlib.compress(file)) for file in files),
    }


def run(options: Options) -> list[dict[str, Any]]:
    """Compressed as files are in a wheel."""
    return [group(what, patterns) for what, patterns in GROUPS.items()]
