"""Builds the library, the Python module and the GPU tests from what is installed, and runs them: the
work of `make test-gpu`. Ends at once, with the reason, where there is no GPU.

    run.py [PART]...    parts: cpp, extension, measure, and the names of the files in python/
                        (release, ...)

Everything lands in build/gpu. Environment: CATCH2_DIR, DLPACK_BRIDGE_DLPACK_INCLUDE_DIR, CUDA_HOME, JOBS.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "gpu"
TREE = BUILD / "tree"
PACKAGE = BUILD / "package"
EXTENSION = ROOT / "docs" / "examples" / "extension_cuda"
FINDINGS = BUILD / "findings.tsv"
TOOLS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

sys.path.insert(0, str(ROOT / "tests" / "support"))
import cuda_toolkit
import run_tests


def why_no_gpu() -> str | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no CUDA driver (libcuda.so.1)"
    if code := driver.cuInit(0):
        return f"the CUDA driver does not answer (cuInit: {code})"
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return None if count.value > 0 else "no CUDA device"


def stop(message: str) -> None:
    print(f"make test-gpu: {message}", file=sys.stderr)
    sys.exit(1)


def tool(name: str, remedy: str) -> str:
    found = shutil.which(name, path=TOOLS)
    if found is None:
        stop(f"{name} is missing; {remedy}")
    return found


def need_module(name: str, package: str) -> None:
    if importlib.util.find_spec(name) is None:
        stop(f"{sys.executable} has no {name}; pip install {package}, or name another with PYTHON=")


# ---- dlpack.h ------------------------------------------------------------------------------------


def version_of(header: Path) -> tuple[int, ...]:
    numbers = re.findall(r"#define DLPACK_(?:MAJOR|MINOR)_VERSION +(\d+)", header.read_text())
    return tuple(map(int, numbers))


def known_headers() -> list[Path]:
    """Where packages that may be installed keep their dlpack.h, best first."""
    places = {
        "tvm_ffi": ["include/dlpack/dlpack.h"],
        "torch": ["include/ATen/dlpack.h"],
        "cuda": ["core/_include/dlpack.h", "core/include/dlpack.h"],
        "cupy": ["_core/include/cupy/_dlpack/dlpack.h", "_core/include/cupy/dlpack/dlpack.h"],
    }
    found = []
    for module, paths in places.items():
        spec = importlib.util.find_spec(module)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found += [Path(folder, path) for path in paths]
    return [header for header in found if header.is_file()]


def dlpack_option() -> list[str]:
    """The header that CMake does not find by itself: that of a package, put where it is looked for."""
    if given := os.environ.get("DLPACK_BRIDGE_DLPACK_INCLUDE_DIR"):
        return [f"-DDLPACK_BRIDGE_DLPACK_INCLUDE_DIR={given}"]
    seen = {header: version_of(header) for header in known_headers()}
    for header, version in seen.items():
        if version >= (1, 3):
            folder = BUILD / "include" / "dlpack"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(header, folder / "dlpack.h")
            return [f"-DDLPACK_BRIDGE_DLPACK_INCLUDE_DIR={folder.parent}"]
    if not Path("/usr/include/dlpack/dlpack.h").exists():
        old = ", ".join(f"{header} is {'.'.join(map(str, v))}" for header, v in seen.items())
        stop(
            f"no dlpack.h of DLPack 1.3 or newer ({old or 'none found'}); pip install apache-tvm-ffi, "
            "or set DLPACK_BRIDGE_DLPACK_INCLUDE_DIR to the folder that holds dlpack/dlpack.h"
        )
    return []


# ---- build ---------------------------------------------------------------------------------------


class BuildError(Exception):
    pass


def run_logged(what: str, log: str, command: list[str], **environment: str) -> str:
    """What the command said; it is in build/gpu/LOG.log as well."""
    print(f"\033[1m==> {what}\033[0m", flush=True)
    path = BUILD / f"{log}.log"
    with open(path, "w") as file:
        done = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, **environment},
        )
    said = path.read_text()
    if done.returncode != 0:
        lines = said.splitlines()
        wrong = [
            n for n, line in enumerate(lines) if re.search(r"[Ee]rror[: ]|FAILED|Could NOT", line)
        ]
        for n in wrong[:10] or range(max(0, len(lines) - 30), len(lines)):
            print("\n".join(lines[n : n + 4]), file=sys.stderr)
        raise BuildError(f"{what} failed; all of it is in {path}")
    return said


def cmake() -> str:
    return tool("cmake", "pip install cmake")


def build_project(what: str, source: Path, tree: Path, *options: str, **environment: str) -> str:
    """What CMake said when it configured."""
    need_module("pybind11", "pybind11")
    import pybind11

    configure = [cmake(), "-S", str(source), "-B", str(tree), "-DCMAKE_BUILD_TYPE=Release"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}"]
    configure += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", *options]
    if (ninja := shutil.which("ninja", path=TOOLS)) is not None:
        configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    jobs = os.environ.get("JOBS") or str(os.cpu_count() or 2)
    build = [cmake(), "--build", str(tree), "--parallel", jobs]
    said = run_logged(f"Configuring {what}", f"{tree.name}-configure", configure, **environment)
    run_logged(f"Building {what}", f"{tree.name}-build", build, **environment)
    return said


def build() -> str:
    BUILD.mkdir(parents=True, exist_ok=True)
    options = ["-DDLPACK_BRIDGE_BUILD_BINDINGS=ON", "-DDLPACK_BRIDGE_INSTALL=ON", *dlpack_option()]
    if given := os.environ.get("CATCH2_DIR"):
        options += [f"-DCATCH2_DIR={given}"]
    said = build_project("the module and the GPU tests in build/gpu", HERE, TREE, *options)
    place_package(TREE)
    return said


def build_extension() -> Path:
    """The example project as a CMake project finds the library: installed, with no pip about. The
    folder of its module."""
    prefix, folder = BUILD / "prefix", BUILD / "extension"
    shutil.rmtree(prefix, ignore_errors=True)
    install = [cmake(), "--install", str(TREE), "--prefix", str(prefix)]
    run_logged("Installing the library into build/gpu/prefix", "install", install)
    cache = (TREE / "CMakeCache.txt").read_text()
    nvcc = re.search(r"^DLPACK_BRIDGE_NVCC:\w+=(.+)$", cache, re.MULTILINE)[1]
    build_project(
        "docs/examples/extension_cuda in build/gpu",
        EXTENSION,
        folder,
        f"-DCMAKE_PREFIX_PATH={prefix}",
        "-DCMAKE_CUDA_ARCHITECTURES=all-major",  # as its pyproject.toml has it
        **cuda_toolkit.build_environment(nvcc, BUILD / "toolkit"),
    )
    return folder


def place_package(tree: Path) -> None:
    """The package as it is installed, of links: no other dlpack_bridge is found before it."""
    folder = PACKAGE / "dlpack_bridge"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    module = next(iter(tree.rglob(f"_core*{suffix}")), None)
    if module is None:
        stop(f"the build made no _core{suffix}")
    for file in [module, *(ROOT / "bindings" / "dlpack_bridge").iterdir()]:
        (folder / file.name).symlink_to(file)


# ---- run -----------------------------------------------------------------------------------------


def environment() -> None:
    """For all that is started from here: see tests/gpu/python/conftest.py."""
    FINDINGS.unlink(missing_ok=True)
    os.environ.update(
        CUDA_DEVICE_MAX_CONNECTIONS="32",
        XLA_PYTHON_CLIENT_PREALLOCATE="false",
        DLPACK_BRIDGE_GPU_FINDINGS=str(FINDINGS),
        DLPACK_BRIDGE_GPU_LAB=str(next(TREE.rglob("libgpu_lab.so"))),
        DLPACK_BRIDGE_GPU_MEASURED=str(BUILD / "measured.json"),
        PYTHONPATH=os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")])),
        PYTHONPYCACHEPREFIX=str(BUILD / "pycache"),  # nothing lands beside the sources
        PYTHONUNBUFFERED="1",
    )


Wanted = Callable[[str], bool]

# Not "python -m": that would put the current folder, where dlpack_bridge/ is no package, first.
PYTEST = "import sys; sys.path.pop(0); import pytest; sys.exit(pytest.main(sys.argv[1:]))"


def run_suites(has_catch2: bool, wanted: Wanted) -> list[run_tests.Suite]:
    run_tests.REPORTS.mkdir(parents=True, exist_ok=True)
    suites = []
    if has_catch2 and wanted("cpp"):
        ctest = [
            tool("ctest", "pip install cmake"),
            f"--test-dir={TREE}",
            "--label-regex=gpu",
        ]
        suites.append(
            run_tests.run_command("GPU, C++", [*ctest, "--output-on-failure"], "--output-junit")
        )
    elif wanted("cpp"):
        missing = (
            "not run: no Catch2 3; `make test-cpp` unpacks one, or set CATCH2_DIR to its prefix"
        )
        suites.append(run_tests.Suite("GPU, C++", failed=[missing]))
    if importlib.util.find_spec("pytest") is None:
        print(f"make test-gpu: {sys.executable} has no pytest; pip install pytest", file=sys.stderr)
        suites.append(run_tests.Suite("GPU, Python", failed=["not run: no pytest"]))
        return suites
    # A process for each file: an error of the device stays in one.
    for file in sorted((HERE / "python").glob("test_*.py")):
        if not wanted(file.stem.removeprefix("test_")):
            continue
        command = [sys.executable, "-c", PYTEST, str(file), "-q"]
        suites.append(run_tests.run_command(f"GPU, {file.stem}", command, "--junit-xml"))
    if wanted("extension"):
        suites.append(run_extension())
    return suites


def run_extension() -> run_tests.Suite:
    """The example's own tests, which know nothing of the conftest.py of the others."""
    name = "GPU, extension"
    try:
        folder = build_extension()
    except BuildError as error:
        return run_tests.Suite(name, failed=[str(error)])
    # Ended with its stack when it hangs.
    limited = f"import faulthandler; faulthandler.dump_traceback_later(120, exit=True); {PYTEST}"
    command = [sys.executable, "-c", limited, "-c", str(HERE / "python" / "pytest.ini")]
    command += ["--rootdir", str(EXTENSION), str(EXTENSION / "tests"), "-q"]
    found = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    return run_tests.run_command(name, command, "--junit-xml", {"PYTHONPATH": found})


def measure() -> bool:
    print("\n\033[1m==> Costs\033[0m", flush=True)
    command = [sys.executable, str(HERE / "python" / "measure.py")]
    return subprocess.run(command, check=False).returncode == 0


def write_findings() -> None:
    lines = FINDINGS.read_text().splitlines() if FINDINGS.exists() else []
    command = [sys.executable, str(HERE / "python" / "gpulab.py")]
    about = subprocess.run(command, capture_output=True, check=False, text=True)
    found = {"versions": json.loads(about.stdout) if about.returncode == 0 else {}}
    found["findings"] = dict(line.partition("\t")[::2] for line in lines)
    (BUILD / "findings.json").write_text(json.dumps(found, indent=2) + "\n")
    for key, finding in found["findings"].items():
        print(f"{key}: {finding}")


def main() -> int:
    if (why := why_no_gpu()) is not None:
        print(f"make test-gpu: skipped, needs a GPU: {why}")
        return 0
    for module in ("torch", "numpy"):
        need_module(module, module)
    # There is one: a test that skips because it finds none has failed.
    run_tests.ALLOWED_SKIPS = re.compile(r"needs two GPUs|needs \w+, which is not installed here")
    try:
        configured = build()
    except BuildError as error:
        stop(str(error))
    environment()
    parts = sys.argv[1:]
    suites = run_suites("No Catch2 3" not in configured, lambda part: not parts or part in parts)
    measured = measure() if not parts or "measure" in parts else True
    write_findings()
    if not measured:
        suites.append(run_tests.Suite("GPU, costs", failed=["measure.py failed"]))
    return run_tests.summarise(suites)


if __name__ == "__main__":
    sys.exit(main())
