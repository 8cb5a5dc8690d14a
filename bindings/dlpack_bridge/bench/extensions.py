"""The compiled half: small extensions, each a function with one array argument, built when needed.

They land in the user's cache folder, in a folder named after everything that went into them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import config
from .names import Unavailable, imported, in_a_line

SOURCES = Path(__file__).parent / "sources"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def pybind11_options() -> list[str]:
    return [f"-Dpybind11_DIR={imported('pybind11').get_cmake_dir()}"]


def own_options() -> list[str]:
    return [*pybind11_options(), f"-Ddlpack_bridge_DIR={config.cmakedir()}"]


def nanobind_options() -> list[str]:
    return [f"-Dnanobind_DIR={imported('nanobind').cmake_dir()}"]


def torch_options() -> list[str]:
    return [f"-DCMAKE_PREFIX_PATH={imported('torch').utils.cmake_prefix_path}"]


def tvm_options() -> list[str]:
    return [f"-Dtvm_ffi_DIR={imported('tvm_ffi.libinfo').find_cmake_path()}"]


# Name of an extension (the source is sources/<name>.cpp): the packages it is compiled against and the
# options by which CMake finds them.
EXTENSIONS: dict[str, tuple[tuple[str, ...], Callable[[], list[str]]]] = {
    "own": (("pybind11",), own_options),
    "floor": (("pybind11",), own_options),
    "nanobind_peer": (("nanobind",), nanobind_options),
    "pybind11_peer": (("pybind11", "numpy"), pybind11_options),
    "torch_peer": (("torch",), torch_options),
    "tvm_peer": (("apache-tvm-ffi",), tvm_options),
}


def load(name: str) -> Any:
    """The extension, built if it has not been before. Raises Unavailable with the reason."""
    if name not in EXTENSIONS:
        raise NameError(name)
    packages, options = EXTENSIONS[name]
    folder = cache_folder() / f"{name}-{key(name, packages)}"
    file = folder / f"{name}{SUFFIX}"
    if not file.exists():
        build(name, folder, options())
    if name == "tvm_peer":
        return imported("tvm_ffi").load_module(str(file))
    if name == "torch_peer":
        imported("torch")  # its libraries are loaded by it
    return module_in(name, file)


def module_in(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise Unavailable(f"{file.name} cannot be loaded, {in_a_line(error)}") from error
    return module


def cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "dlpack_bridge" / "bench"


def key(name: str, packages: tuple[str, ...]) -> str:
    """Changes when the sources, the library, Python, the compiler or a package does."""
    digest = hashlib.sha256(sys.version.encode())
    libraries = sorted(Path(config.cmakedir()).parents[1].glob("*.a")) if name == "own" else []
    for file in (SOURCES / "CMakeLists.txt", SOURCES / f"{name}.cpp", *libraries):
        digest.update(file.read_bytes())
    compiler = tool(os.environ.get("CXX", "c++"), "a C++ compiler")
    digest.update(output(compiler, "--version").encode())
    for package in packages:
        try:
            digest.update(importlib.metadata.version(package).encode())
        except importlib.metadata.PackageNotFoundError:
            raise Unavailable(f"{package} is not installed") from None
    return digest.hexdigest()[:16]


def tool(name: str, what: str) -> str:
    """Beside the interpreter, where pip puts tools, or on the path."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join((beside, os.environ.get("PATH", ""))))
    if found is None:
        raise Unavailable(f"compiling it needs {what}, and there is no {name}")
    return found


def output(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        log = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        said = next(
            (line for line in log if "error" in line.lower()), (log or ["nothing said"])[-1]
        )
        raise Unavailable(f"{Path(command[0]).name} failed: {said}")
    return done.stdout


def build(name: str, folder: Path, options: list[str]) -> None:
    """In a folder of this process's own, which becomes the real one when all is done."""
    cmake = tool("cmake", "CMake")
    print(f"compiling {name} into {folder}", file=sys.stderr, flush=True)
    work = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        output(
            cmake, "-S", SOURCES, "-B", work / "build", f"-DEXTENSION={name}",
            "-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}", *options,
        )  # fmt: skip
        output(cmake, "--build", work / "build", "--parallel")
        (made,) = (work / "build").glob(f"{name}*{SUFFIX}")
        made.rename(work / made.name)
        shutil.rmtree(work / "build")
        if not folder.exists():
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
