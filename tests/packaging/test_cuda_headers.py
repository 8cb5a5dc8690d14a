"""Which CUDA headers a build takes where there are several."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent


@pytest.fixture
def toolkit(tmp_path):
    """Makes a toolkit of a version, as far as the search looks at it."""

    def make(version):
        include = tmp_path / f"cuda-{version}" / "include"
        include.mkdir(parents=True)
        (include / "cuda.h").write_text(f"/* comment */\n#define CUDA_VERSION {version}\n")
        (include / "cudaTypedefs.h").touch()
        return include.parent

    return make


def search(tmp_path, *toolkits):
    """The folder that was taken, and all that was said."""
    script = tmp_path / "search.cmake"
    script.write_text(
        "set(CMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH OFF)\n"  # the machine's own is not looked for
        "set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH OFF)\n"
        f"set(dlpack_bridge_cuda_toolkits {' '.join(map(str, toolkits))})\n"
        f"include({ROOT}/cmake/cuda_headers.cmake)\n"
        'message("${dlpack_bridge_cuda_include}")\n'
    )
    command = [str(TOOLS / "cmake"), "-P", str(script)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stderr.strip(), done.stdout


def names(said, toolkit, version):
    return re.search(rf"{re.escape(str(toolkit))}/include/? has CUDA_VERSION {version}", said)


def test_the_first_that_is_new_enough_is_taken(tmp_path, toolkit):
    old, first, second = toolkit(12040), toolkit(12080), toolkit(13000)
    taken, said = search(tmp_path, tmp_path / "none", old, first, second)
    assert Path(taken) == first / "include"
    assert names(said, old, 12040)
    assert "left out" not in said


def test_what_is_too_old_is_named(tmp_path, toolkit):
    old, older = toolkit(12040), toolkit(11080)
    taken, said = search(tmp_path, old, older)
    assert taken == ""
    assert names(said, old, 12040)
    assert names(said, older, 11080)
    assert "the CUDA backend is left out" in said


def test_nothing_at_all_is_said_as_well(tmp_path):
    taken, said = search(tmp_path, tmp_path / "none")
    assert taken == ""
    assert "No cudaTypedefs.h of CUDA 12.8 or newer" in said
