"""The arrows between the rooms, and the lists of files, as docs and build state them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "dlpack_bridge"

STANDARD = r"[a-z_0-9]+|([a-z]mmintrin|arm_neon|cpuid|dlfcn|link|pthread|sched)\.h|sys/[a-z]+\.h"
CORE = r"dlpack/dlpack\.h|dlpack_bridge/[a-z_0-9]+\.hpp"
PYTHON = r"Python\.h|structmember\.h|numpy/.*|dlpack_bridge/python/.*"
CUDA = r"cuda\.h|cudaTypedefs\.h|dlpack_bridge/cuda/.*"
TORCH = r"(torch|ATen|c10)/.*"
PYBIND11 = r"pybind11/.*"

# Files (as a glob from the root) and all that they may include beside the standard library.
ARROWS = {
    "dlpack_bridge/*": [CORE],
    "dlpack_bridge/cuda/*": [CORE, CUDA],
    "dlpack_bridge/python/*": [CORE, PYTHON],
    "dlpack_bridge/adapters/torch*": [CORE, TORCH, r"dlpack_bridge/adapters/torch[a-z_]*\.hpp"],
    "dlpack_bridge/adapters/pybind11*": [
        CORE,
        PYTHON,
        PYBIND11,
        r"dlpack_bridge/adapters/pybind11_[a-z_]+\.hpp",
    ],
    "bindings/*": [CORE, CUDA, PYTHON, PYBIND11, r"[a-z_0-9]+\.hpp"],
    # Each is compiled alone, beside the installed library.
    "bindings/dlpack_bridge/bench/sources/*": [
        CORE,
        PYBIND11,
        TORCH,
        r"dlpack_bridge/(adapters/pybind11|python/torch_functions)\.hpp",
        r"(nanobind|tvm/ffi)/.*",
    ],
}


def sources(pattern):
    return [f for f in ROOT.glob(pattern) if f.suffix in {".hpp", ".cpp", ".cu"}]


def includes(file):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', file.read_text(), re.MULTILINE)


@pytest.mark.parametrize("pattern", ARROWS)
def test_includes_follow_the_arrows(pattern):
    allowed = re.compile("|".join(f"(?:{part})" for part in [STANDARD, *ARROWS[pattern]]))
    wrong = [
        f"{file.relative_to(ROOT)} includes {name}"
        for file in sources(pattern)
        for name in includes(file)
        if not allowed.fullmatch(name)
    ]
    assert wrong == []


def test_every_folder_has_an_arrow():
    files = {f for f in [*LIBRARY.rglob("*"), *(ROOT / "bindings").rglob("*")] if f.is_file()}
    known = {f for pattern in ARROWS for f in sources(pattern)}
    strangers = {f for f in files if f.suffix in {".hpp", ".cpp", ".cu"}} - known
    assert strangers == set()


def listed(name):
    """The entries of one list in cmake/sources.cmake."""
    text = (ROOT / "cmake" / "sources.cmake").read_text()
    found = re.search(rf"^set\({name}\s([^)]*)\)", text, re.MULTILINE)
    assert found, f"no list {name}"
    return sorted(found[1].split())


@pytest.mark.parametrize(
    ("lists", "pattern"),
    [
        ("core_headers core_internal_headers", "dlpack_bridge/*.hpp"),
        ("core_sources", "dlpack_bridge/*.cpp"),
        ("python_headers python_internal_headers", "dlpack_bridge/python/*.hpp"),
        ("python_sources", "dlpack_bridge/python/*.cpp"),
        ("cuda_headers cuda_internal_headers", "dlpack_bridge/cuda/*.hpp"),
        ("cuda_sources", "dlpack_bridge/cuda/*.cpp"),
        ("torch_headers", "dlpack_bridge/adapters/torch*.hpp"),
        ("torch_sources", "dlpack_bridge/adapters/torch*.cpp"),
        ("pybind11_headers", "dlpack_bridge/adapters/pybind11*.hpp"),
        ("bindings_sources", "bindings/*.cpp"),
    ],
)
def test_every_file_is_built(lists, pattern):
    built = [name for part in lists.split() for name in listed(f"dlpack_bridge_{part}")]
    assert sorted(built) == sorted(f.name for f in ROOT.glob(pattern))


def is_part_of(stem, stems):
    """copy_kernels is a part of copy."""
    return any(stem == other or stem.startswith(f"{other}_") for other in stems)


def test_every_concept_has_a_test():
    stems = {f.stem for f in LIBRARY.glob("*.hpp")} - {"dlpack_bridge"}
    tests = {f.stem.removeprefix("test_") for f in (ROOT / "tests/cpp").glob("test_*.cpp")}
    assert sorted(tests) == listed("dlpack_bridge_test_stems")
    assert [stem for stem in stems if not is_part_of(stem, tests)] == []
    assert tests - stems == {"abi_layout"}


def test_every_test_of_the_cuda_backend_is_built():
    tests = {f.stem.removeprefix("test_") for f in (ROOT / "tests/cpp/cuda").glob("test_*.cpp")}
    # One that finds no driver is built beside the others, which run on the fake one.
    assert sorted(tests - {"no_driver"}) == listed("dlpack_bridge_cuda_test_stems")


def test_every_source_belongs_to_a_header():
    headers = [f.stem for f in LIBRARY.glob("*.hpp")]
    assert [f.name for f in LIBRARY.glob("*.cpp") if not is_part_of(f.stem, headers)] == []
