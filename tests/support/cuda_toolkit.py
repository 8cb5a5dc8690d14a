"""The CUDA toolkit that a test builds with: a project that has CUDA as a language of CMake."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path


def find_nvcc() -> str | None:
    """The compiler that cmake/gather.cmake finds."""
    toolkits = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    toolkits += ["/usr/local/cuda", "/opt/cuda"]
    packages = importlib.util.find_spec("nvidia")
    for place in (packages.submodule_search_locations or []) if packages else []:
        toolkits.append(f"{place}/cu13")
    folders = [f"{toolkit}/bin" for toolkit in toolkits if toolkit]
    return shutil.which(
        "nvcc", path=os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])
    )


def build_environment(nvcc: str, links: Path) -> dict[str, str]:
    """What a build with this compiler has in its environment. The folder `links` is made anew where it
    is needed."""
    environment = {
        "CUDACXX": str(as_cmake_expects(Path(nvcc), links)),
        "NVCC_PREPEND_FLAGS": "-allow-unsupported-compiler",  # like cmake/gather.cmake
    }
    if compiler := os.environ.get("CXX"):
        environment["CUDAHOSTCXX"] = compiler
    return environment


def as_cmake_expects(nvcc: Path, links: Path) -> Path:
    """The packages of PyPI unpack into a toolkit without lib64 and libcudart.so, where nvcc and CMake
    look: it gets them in a folder of links."""
    toolkit = nvcc.parents[1]
    runtime = next((toolkit / "lib").glob("libcudart.so.*"), None)
    if runtime is None or (toolkit / "lib" / "libcudart.so").exists():
        return nvcc
    shutil.rmtree(links, ignore_errors=True)
    for folder, name in [("bin", "bin"), ("lib", "lib64")]:
        (links / name).mkdir(parents=True)
        for file in (toolkit / folder).iterdir():
            (links / name / file.name).symlink_to(file)
    for folder in ("include", "nvvm"):
        (links / folder).symlink_to(toolkit / folder)
    (links / "lib64" / "libcudart.so").symlink_to(runtime)
    return links / "bin" / "nvcc"
