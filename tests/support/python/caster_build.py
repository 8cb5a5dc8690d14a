"""Extensions built against the installed package with the CMake of this Python: `caster_lab`, and
what the page for C++ authors consists of."""

import atexit
import functools
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pybind11

from dlpack_bridge import config

SOURCES = Path(__file__).parent / "caster"
TOOLS = Path(sys.executable).parent
BUILT = "DLPACK_BRIDGE_CASTER_LAB"  # names the folder


def run(*command):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command}\n{done.stdout}{done.stderr}")


def build(sources, folder):
    """Builds the project in `sources` into `folder`, which then holds the module."""
    run(
        TOOLS / "cmake", "-S", sources, "-B", folder, "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={TOOLS / 'ninja'}",
        f"-DCMAKE_BUILD_TYPE={os.environ.get('CMAKE_BUILD_TYPE', 'Release')}",
        f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-Ddlpack_bridge_DIR={config.cmakedir()}",
    )  # fmt: skip
    run(TOOLS / "cmake", "--build", folder)


@functools.cache
def module():
    """The module; built when the first test file asks for it, and left to processes started later."""
    if BUILT not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="caster_lab_")
        atexit.register(folder.cleanup)
        build(SOURCES, folder.name)
        os.environ[BUILT] = folder.name
    sys.path.insert(0, os.environ[BUILT])
    return importlib.import_module("caster_lab")
