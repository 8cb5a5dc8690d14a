"""The installed package as its users meet it: what the module links, and the C++ library inside."""

import importlib.metadata
import os
import re
import sys
import tarfile
from pathlib import Path

import pytest

import dlpack_bridge

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(dlpack_bridge.__file__).parent
TOOLS = Path(sys.executable).parent
sys.path.insert(0, str(ROOT / "tests" / "support"))
from commands import run


@pytest.fixture(scope="module")
def module():
    (found,) = PACKAGE.glob("_core.*.so")
    return found


def config(option, folder):
    return Path(run(sys.executable, "-m", "dlpack_bridge.config", option, cwd=folder).strip())


def test_module_links_no_python_no_torch_no_cuda(module):
    needed = re.findall(r"NEEDED.*\[(.+)\]", run("readelf", "--dynamic", module))
    allowed = r"(libstdc\+\+|libgcc_s|libc|libm|libdl|libpthread|librt|ld-linux.*)\.so\.\d+"
    assert [name for name in needed if not re.fullmatch(allowed, name)] == []


def test_module_shows_nothing_but_its_init_function(module):
    symbols = run("nm", "--dynamic", "--defined-only", "--demangle", module)
    assert "PyInit__core" in symbols
    assert [line for line in symbols.splitlines() if "dlpack_bridge" in line] == []


def test_metadata_pins_no_framework():
    assert [
        name
        for name in importlib.metadata.requires("dlpack_bridge") or []
        if re.match(r"(torch|jax|cupy|tensorflow)\b", name) or "==" in name.partition(";")[0]
    ] == []


def test_headers_come_with_the_dlpack_they_were_built_with(tmp_path):
    folder = config("--includedir", tmp_path)
    assert (folder / "dlpack_bridge" / "dlpack_bridge.hpp").is_file()
    assert "Apache License" in (folder / "dlpack" / "LICENSE").read_text()
    header = (folder / "dlpack" / "dlpack.h").read_text()
    assert re.search(r"#define DLPACK_MAJOR_VERSION 1\b", header)


def test_version_is_the_headers_version():
    header = (ROOT / "dlpack_bridge" / "version.hpp").read_text()
    numbers = [
        re.search(rf"VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH")
    ]
    assert importlib.metadata.version("dlpack_bridge") == ".".join(numbers)


@pytest.mark.parametrize("consumer", ["find_package", "python_component"])
def test_cmake_project_builds_with_the_installed_wheel(consumer, tmp_path):
    cmakedir = config("--cmakedir", tmp_path)
    run(
        TOOLS / "cmake", "-S", ROOT / "tests" / "packaging" / consumer, "-B", tmp_path,
        "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={TOOLS / 'ninja'}",
        f"-Ddlpack_bridge_DIR={cmakedir}", f"-DPython_EXECUTABLE={sys.executable}",
        f"-DEXPECTED_INCLUDE={PACKAGE / 'include'}",
    )  # fmt: skip
    run(TOOLS / "cmake", "--build", tmp_path)
    if consumer == "find_package":
        run(tmp_path / "consumer")
    else:
        check = ROOT / "tests" / "packaging" / consumer / "check.py"
        run(sys.executable, check, env={**os.environ, "PYTHONPATH": str(tmp_path)})


def test_source_distribution_holds_all_that_a_build_needs(tmp_path):
    code = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = {"CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "cmake/sources.cmake"}
    wanted |= {
        str(f.relative_to(ROOT))
        for folder in ("dlpack_bridge", "bindings", "cmake")
        for f in (ROOT / folder).rglob("*")
        if f.is_file() and f.suffix != ".pyc"
    }
    assert wanted - names == set()
    assert [name for name in names if name.startswith((".venv", "build/", ".cache"))] == []
