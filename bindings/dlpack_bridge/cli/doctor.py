"""``python -m dlpack_bridge doctor``: what is installed, and what it speaks here."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import dlpack_bridge as db

from .. import config
from .._core import _has_gather_kernels  # type: ignore[import-not-found]
from ..bench.machine import PEERS, version_of
from ..bench.names import Names, Unavailable
from .frameworks import ARRAYS, made, names


def line_of_framework(framework: str, code: str, found: Names) -> str:
    version = version_of(PEERS.get(framework, ()))
    try:
        said = ", ".join(db.info(made(code, found)).protocols)
    except Unavailable as error:
        said = str(error)
    return f"{framework:<11} {f'{version}: ' if version else ''}{said}"


def cuda() -> str:
    """Asks the driver and nothing else. Where one answers, the plan has nothing against it."""
    blockers = db.plan(bytearray(4), "array", device="cuda").blockers
    return "; ".join(reason.message for reason in blockers) or "a driver answers"


def kernels() -> str:
    if _has_gather_kernels:
        return "gather kernels: built in"
    return (
        "gather kernels: left out, no nvcc at build time; strided copies of a device take the host"
    )


def extensions() -> str:
    folder = Path(config.cmakedir())
    return str(folder) if folder.is_dir() else "headers and libraries are not part of this package"


def run(arguments: argparse.Namespace) -> int:
    found = names()
    print(f"dlpack_bridge {db.__version__}, Python {platform.python_version()}")
    print(f"  from        {Path(db.__file__).parent}")
    print(f"  C++         {extensions()}")
    print(f"  CUDA        {cuda()}")
    print(f"  kernels     {kernels()}")
    print("\nframeworks, and the protocols that their arrays speak here:")
    for framework, code in ARRAYS.items():
        print(f"  {line_of_framework(framework, code, found)}")
    return 0
