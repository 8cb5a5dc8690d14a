"""The header: what was measured with what, on which machine, and how busy that was."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

from .. import __version__

# Every peer: its package on PyPI, under all names that it has there.
PEERS = {
    "NumPy": ("numpy",),
    "torch": ("torch",),
    "tvm-ffi": ("apache-tvm-ffi",),
    "nanobind": ("nanobind",),
    "pybind11": ("pybind11",),
    "cuda.core": ("cuda-core",),
    "JAX": ("jax",),
    "TensorFlow": ("tensorflow", "tensorflow-cpu"),
    "ml_dtypes": ("ml_dtypes",),
}


def version_of(packages: tuple[str, ...]) -> str | None:
    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return None


def peers() -> list[dict[str, Any]]:
    """What is installed. Whether it can be imported as well is seen where it is needed."""
    found = []
    for name, packages in PEERS.items():
        version = version_of(packages)
        reason = None if version else f"not installed: pip install {packages[-1]}"
        found.append({"name": name, "version": version, "reason": reason})
    return found


def first_match(file: str, pattern: str) -> str | None:
    try:
        found = re.search(pattern, Path(file).read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1].strip() if found else None


def machine() -> dict[str, Any]:
    scaling = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return {
        "dlpack_bridge": __version__,
        "python": platform.python_version(),
        "built_with": platform.python_compiler(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "processor": first_match("/proc/cpuinfo", r"^model name\s*: (.*)$") or platform.processor(),
        "virtual": "hypervisor" in (first_match("/proc/cpuinfo", r"^flags\s*: (.*)$") or ""),
        "cores": cores(),
        "governor": first_match(scaling, r"(.+)"),
        "load": list(os.getloadavg()),
        "threads_asked_for": os.environ.get("OMP_NUM_THREADS"),
    }


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
