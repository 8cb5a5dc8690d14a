"""Whether a project of CMake can be built with this torch."""

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

PROJECT = "cmake_minimum_required(VERSION 3.24)\nproject(probe CXX)\nfind_package(Torch REQUIRED)\n"
REFUSAL = "Your installed Caffe2 version uses CUDA but I cannot find the CUDA"


@functools.cache
def lacks_toolkit():
    """A torch with CUDA refuses a machine without the toolkit. It brings the libraries along, not
    their names as a linker knows them."""
    if torch.version.cuda is None:
        return False
    cmake = Path(sys.executable).with_name("cmake")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "CMakeLists.txt").write_text(PROJECT)
        done = subprocess.run(
            [cmake, "-S", folder, "-B", f"{folder}/build", f"-DTorch_ROOT={torch.__path__[0]}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    return REFUSAL in " ".join(done.stderr.split())


def skip_without_toolkit():
    if lacks_toolkit():
        pytest.skip("torch's CMake package needs CUDA, which is not installed here")
