"""The LibTorch adapter as its users build it: a C++ program and a torch extension.

The program is built with dlpack_bridge as a part of its project, and against the build tree of the
sanitized tests, there with CUDA tensors on the fake driver; the extension against the installed
package. What the extension decides is what the Python package decides, word for word.
"""

import importlib.util
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pybind11
import pytest
import torch

import dlpack_bridge as db
from dlpack_bridge import config

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests" / "packaging"
TOOLS = Path(sys.executable).parent
ASAN_TREE = ROOT / "build" / "asan"


def load(path):
    spec = importlib.util.spec_from_file_location(path.name.partition(".")[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


commands = load(ROOT / "tests" / "support" / "commands.py")
torch_cmake = load(ROOT / "tests" / "support" / "torch_cmake.py")
states = load(ROOT / "tests" / "support" / "python" / "torch_states.py")


def run(*command, **environment):
    return commands.run(*command, env={**os.environ, **environment})


def build(project, folder, *options, flags):
    run(
        TOOLS / "cmake", "-S", SOURCES / project, "-B", folder,
        "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={TOOLS / 'ninja'}",
        f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}",
        "-DCMAKE_BUILD_TYPE=Debug", f"-DCMAKE_CXX_FLAGS_DEBUG={flags}",
        f"-DPython_EXECUTABLE={sys.executable}", *options,
    )  # fmt: skip
    run(TOOLS / "cmake", "--build", folder)
    return folder


@pytest.fixture(scope="module")
def toolkit():
    torch_cmake.skip_without_toolkit()


@pytest.fixture(scope="module")
def program(toolkit, tmp_path_factory):
    folder = build(
        "torch_program",
        tmp_path_factory.mktemp("torch_program"),
        f"-DDLPACK_BRIDGE_SOURCE_DIR={ROOT}",
        f"-DDLPACK_BRIDGE_DLPACK_INCLUDE_DIR={config.includedir()}",
        "-DDLPACK_BRIDGE_BUILD_CUDA=OFF",
        flags="-O0 -g1",
    )
    return folder / "torch_program"


@pytest.fixture(scope="module")
def sanitized_program(toolkit, tmp_path_factory):
    if not (ASAN_TREE / "build.ninja").exists():  # as the Makefile configures it
        run(
            TOOLS / "cmake", "-S", ROOT, "--preset", "asan",
            f"-DCMAKE_MAKE_PROGRAM={TOOLS / 'ninja'}", f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_ROOT={pybind11.get_cmake_dir()}",
        )  # fmt: skip
    targets = ["dlpack_bridge", "dlpack_bridge_cuda", "fake_cuda"]
    run(TOOLS / "cmake", "--build", ASAN_TREE, "--target", *targets)
    (driver,) = ASAN_TREE.rglob("libcuda.so.1")
    folder = build(
        "torch_program",
        tmp_path_factory.mktemp("sanitized_program"),
        f"-Ddlpack_bridge_DIR={ASAN_TREE}",
        f"-DFAKE_CUDA={driver}",
        f"-DCUDA_INCLUDE={cuda_include()}",
        flags="-O1 -g1",
    )
    return folder / "torch_program"


def cuda_include():
    """Where the build tree found cuda.h."""
    made_by = run(TOOLS / "ninja", "-C", ASAN_TREE, "-t", "commands", "fake_cuda")
    folders = re.findall(r"-isystem (\S+)", made_by)
    return next(folder for folder in folders if (Path(folder) / "cuda.h").exists())


@pytest.fixture(scope="module")
def extension(toolkit, tmp_path_factory):
    folder = build(
        "torch_extension",
        tmp_path_factory.mktemp("torch_extension"),
        f"-Ddlpack_bridge_DIR={config.cmakedir()}",
        flags="-O1",
    )
    (library,) = folder.glob("torch_extension.*.so")
    module = load(library)
    yield module
    assert module.live() == 0


# ---- the program ---------------------------------------------------------------------------------


def test_program_holds(program):
    assert re.search(r"^\d\d cases, 0 failed$", run(program), re.MULTILINE)


def test_program_references_no_cuda(program):
    symbols = run("nm", "--undefined-only", "--demangle", program)
    assert "at::_ops::" in symbols
    assert [line for line in symbols.splitlines() if "cuda" in line.lower()] == []


def test_program_holds_under_sanitizers(sanitized_program):
    assert re.search(r"^\d\d cases, 0 failed$", run(sanitized_program), re.MULTILINE)


def test_cuda_tensors_are_ordered_and_given_back_under_sanitizers(sanitized_program):
    assert re.search(r"^\d\d cases, 0 failed$", run(sanitized_program, "cuda"), re.MULTILINE)


def test_a_torch_with_cuda_that_finds_no_device_is_refused_its_work(sanitized_program):
    assert run(sanitized_program, "no device").startswith("1 cases, 0 failed")


def test_component_says_what_it_needs(tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.24)\nproject(consumer LANGUAGES CXX)\n"
        "find_package(dlpack_bridge CONFIG REQUIRED COMPONENTS torch)\n"
    )
    done = subprocess.run(
        [TOOLS / "cmake", "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja",
         f"-DCMAKE_MAKE_PROGRAM={TOOLS / 'ninja'}", f"-Ddlpack_bridge_DIR={config.cmakedir()}",
         "-DCMAKE_DISABLE_FIND_PACKAGE_Torch=ON"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "component torch needs torch" in re.sub(r"\s+", " ", done.stderr)


# ---- the extension: what it decides --------------------------------------------------------------


def unaligned():
    return torch.frombuffer(bytearray(17), dtype=torch.float32, offset=1)


def without_memory():
    t = torch.ones(3)
    t.untyped_storage().resize_(0)
    return t


def narrow():
    return torch.zeros(4, dtype=torch.uint8).view(torch.int4)


def with_grad():
    return torch.ones(3, requires_grad=True)


def inference():
    with torch.inference_mode():
        return torch.arange(3.0)


TENSORS = {
    "plain": lambda: torch.arange(6.0).reshape(2, 3),
    "transposed": lambda: torch.arange(6.0).reshape(2, 3).t(),
    "sliced": lambda: torch.arange(6.0)[1::2],
    "expanded": lambda: torch.ones(1, 3).expand(4, 3),
    "unfolded": lambda: torch.arange(6.0).unfold(0, 3, 1),
    "no axes": lambda: torch.tensor(1),
    "no elements": lambda: torch.empty(0, 3),
    "bool": lambda: torch.ones(2, dtype=torch.bool),
    "uint16": lambda: torch.zeros(2, dtype=torch.uint16),
    "bfloat16": lambda: torch.ones(2, dtype=torch.bfloat16),
    "float8": lambda: torch.zeros(2, dtype=torch.float8_e4m3fn),
    "float4": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "complex32": states.half_complex,
    "int4": narrow,
    "bits8": lambda: torch.zeros(4, dtype=torch.uint8).view(torch.bits8),
    "unaligned": unaligned,
    "conjugated": states.conjugated,
    "negated": states.negated,
    "conjugated, no elements": lambda: torch.empty(0, dtype=torch.complex64).conj(),
    "grad": with_grad,
    "grad and conjugated": lambda: torch.ones(2, dtype=torch.complex64, requires_grad=True).conj(),
    "sparse with grad": states.made_quietly(lambda: torch.eye(3, requires_grad=True).to_sparse()),
    "parameter": lambda: torch.nn.Parameter(torch.ones(3)),
    "inference": inference,
    "function subclass": states.function_subclass,
    "no memory": without_memory,
    **{name: make for name, (_, make) in states.REFUSED.items() if name != "functional"},
    **states.REFUSED_SOMEHOW,
}


def python_decision(x, may_copy, detach):
    plan = db.plan(x, "array", copy=None if may_copy else False, detach=detach)
    return plan.action, [(r.code, r.message) for r in plan.blockers]


def adapter_decision(extension, x, may_copy, detach):
    try:
        _, copied, _, _ = extension.hold(x, may_copy, detach)
    except ValueError as error:
        return "refuse", error.args[1]
    return ("copy" if copied else "share"), []


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("name", TENSORS)
def test_decisions_and_words_are_those_of_python(extension, name, detach):
    x = TENSORS[name]()
    for may_copy in (True, False):
        expected = python_decision(x, may_copy, detach)
        assert adapter_decision(extension, x, may_copy, detach) == expected


def test_autograd_counts_only_where_it_records(extension):
    x = with_grad()
    assert adapter_decision(extension, x, False, False)[0] == "refuse"
    with torch.no_grad():
        assert adapter_decision(extension, x, False, False)[0] == "share"


def test_tensors_inside_transforms_are_refused_by_name(extension):
    def body(x):
        decided = adapter_decision(extension, x, True, False)
        assert decided == python_decision(x, True, False)
        assert "functional" in [code for code, _ in decided[1]]
        return x.sum()

    torch.vmap(body)(torch.ones(3, 2))
    torch.func.grad(body)(torch.ones(3))
    torch.func.functionalize(body)(torch.ones(3))
    # Of a FunctionalTensor c10 knows only that it is a subclass.
    assert adapter_decision(extension, states.functional(), True, False)[1][0][0] == "subclass"


def test_refusals_read_as_in_python(extension):
    x = with_grad()
    with pytest.raises(db.ExchangeError) as in_python:
        db.asarray(x)
    with pytest.raises(ValueError) as in_extension:
        extension.hold(x)
    expected = str(in_python.value).replace("with array:", "with cpp:")
    assert in_extension.value.args[0].splitlines() == expected.splitlines()


# ---- the extension: lifetimes --------------------------------------------------------------------


def address_of(array):
    return array.__array_interface__["data"][0]


def test_arrays_of_an_extension_keep_the_memory(extension):
    array = np.arange(6.0)
    before = sys.getrefcount(array)
    address, copied, readonly, held = extension.hold(torch.from_numpy(array))
    assert (address, copied, readonly) == (address_of(array), False, False)
    assert sys.getrefcount(array) == before + 1 and extension.live() == 1
    del held
    assert sys.getrefcount(array) == before and extension.live() == 0


def test_memory_is_let_go_with_the_last_view(extension):
    array = np.arange(6.0)
    before = sys.getrefcount(array)
    result = extension.round_trip(torch.from_numpy(array))
    view = result[2:].reshape(2, 2)
    assert result.data_ptr() == address_of(array)
    assert sys.getrefcount(array) == before + 1
    del result
    assert sys.getrefcount(array) == before + 1 and view.tolist() == [[2.0, 3.0], [4.0, 5.0]]
    view += 1
    assert array.tolist() == [0.0, 1.0, 3.0, 4.0, 5.0, 6.0]
    del view
    assert sys.getrefcount(array) == before


def test_copies_keep_nothing(extension):
    array = np.array([1 + 2j])
    before = sys.getrefcount(array)
    result = extension.round_trip(torch.from_numpy(array).conj())
    assert result.tolist() == [1 - 2j] and not result.is_conj()
    assert sys.getrefcount(array) == before


def test_refused_tensors_are_let_go(extension):
    array = np.arange(3.0)
    before = sys.getrefcount(array)
    t = torch.from_numpy(array).requires_grad_()
    with pytest.raises(ValueError, match="requires_grad"):
        extension.hold(t)
    del t
    assert sys.getrefcount(array) == before and extension.live() == 0


def test_memory_of_cpp_lives_as_long_as_its_tensors(extension):
    t = extension.count_up(1000)
    assert t.dtype == torch.float64 and t[999] == 999 and extension.live() == 1
    numpy_view = t.numpy()
    array = db.asarray(t)
    del t
    assert numpy_view[500] == 500 and extension.live() == 1
    del numpy_view
    assert extension.live() == 1
    del array
    assert extension.live() == 0


def test_results_take_part_in_autograd(extension):
    t = extension.round_trip(torch.arange(3.0)).requires_grad_()
    (t * t).sum().backward()
    assert t.grad.tolist() == [0.0, 2.0, 4.0]


def test_threads_without_the_gil_exchange_and_let_go(extension):
    array = np.arange(64.0)
    before = sys.getrefcount(array)
    extension.pass_through_threads(torch.from_numpy(array))
    assert sys.getrefcount(array) == before and extension.live() == 0


def test_python_threads_share_one_tensor(extension):
    t = torch.arange(64.0)
    wrong = []

    def work():
        for _ in range(200):
            if extension.round_trip(t).data_ptr() != t.data_ptr():
                wrong.append(True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and extension.live() == 0
