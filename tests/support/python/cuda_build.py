"""Builds what the tests on the fake CUDA driver need: the fake itself and the models' extension."""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import lab_build

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[2]


# The driver alone, beside the core that it links, for whoever runs the Python tests only.
_PROJECT = """
cmake_minimum_required(VERSION 3.24)
project(fake_cuda_driver LANGUAGES CXX)
add_subdirectory({root} core EXCLUDE_FROM_ALL)
get_directory_property(dlpack_bridge_cuda_include
                       DIRECTORY {root} DEFINITION dlpack_bridge_cuda_include)
add_subdirectory({root}/tests/support/fake_cuda fake_cuda)
"""


def _run(command):
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = dict(os.environ, PATH=tools)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")


def build_lab(folder):
    """Compiles the extension `cuda_lab` into `folder`."""
    target = Path(folder) / ("cuda_lab" + sysconfig.get_config_var("EXT_SUFFIX"))
    command = [
        *lab_build.compiler(),
        "-shared",
        "-fPIC",
        "-O1",
        "-g",
        "-std=gnu11",
        "-Wall",
        "-Wextra",
    ]
    command += ["-Wno-missing-field-initializers", "-I", sysconfig.get_path("include")]
    command += ["-I", str(lab_build.SOURCES), str(SUPPORT / "cuda_models" / "lab" / "cuda_lab.c")]
    _run([*command, "-o", str(target)])


def fake_driver_folder():
    """The folder with an up-to-date fake `libcuda.so.1`: of the C++ tests where they are built, else
    of a build of its own."""
    if not (ROOT / "build" / "cpp" / "build.ninja").exists():
        return _build_fake_alone()
    _run(["cmake", "--build", str(ROOT / "build" / "cpp"), "--target", "fake_cuda"])
    return _library_in(ROOT / "build" / "cpp")


def _build_fake_alone():
    folder = ROOT / "build" / "fake_cuda"
    source = folder / "project"
    source.mkdir(parents=True, exist_ok=True)
    text = _PROJECT.format(root=ROOT)
    if not (source / "CMakeLists.txt").exists() or (source / "CMakeLists.txt").read_text() != text:
        (source / "CMakeLists.txt").write_text(text)
    options = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}"]
    _run(["cmake", "-S", str(source), "-B", str(folder / "build"), *options])
    _run(["cmake", "--build", str(folder / "build"), "--target", "fake_cuda"])
    return _library_in(folder / "build")


def _library_in(folder):
    return next(folder.rglob("libcuda.so.1")).parent
