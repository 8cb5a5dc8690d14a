"""`python -m dlpack_bridge doctor`, `matrix` and `demo` as a user runs them."""

import functools
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dlpack_bridge as db

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    here = tmp_path_factory.mktemp("here")
    # A framework that is there and cannot be imported.
    broken = tmp_path_factory.mktemp("broken")
    (broken / "tensorflow.py").write_text("raise OSError('broken on purpose')\n")
    paths = [str(broken), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "MPLCONFIGDIR": str(here),
        "HOME": str(here),
    }

    @functools.cache
    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "dlpack_bridge", *arguments],
            capture_output=True,
            text=True,
            cwd=here,
            env=environment,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    run.here = here
    return run


# ---- doctor --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def doctor(run):
    """What is said of each thing: its name -> the rest of the line."""
    lines = (line.split(maxsplit=1) for line in run("doctor").splitlines() if line.startswith("  "))
    return dict(lines)


def test_doctor_says_versions_and_what_each_framework_speaks(doctor, run):
    import torch

    installed = importlib.metadata.version("torch")  # torch.__version__ may say more: +cu130
    assert run("doctor").startswith(f"dlpack_bridge {db.__version__}, Python 3.")
    assert doctor["NumPy"] == f"{np.__version__}: {', '.join(db.info(np.ones(3)).protocols)}"
    assert doctor["torch"] == f"{installed}: {', '.join(db.info(torch.ones(3)).protocols)}"
    assert doctor["bytearray"] == "buffer"


def test_doctor_says_why_a_framework_is_not_there(doctor):
    assert doctor["TensorFlow"].endswith("import tensorflow failed, OSError: broken on purpose")


def test_doctor_says_where_the_package_and_its_cmake_config_are(doctor):
    package = Path(db.__file__).parent
    assert doctor["from"] == str(package)
    assert doctor["C++"] == str(package / "lib" / "cmake" / "dlpack_bridge")


def test_doctor_asks_the_driver(doctor):
    blockers = db.plan(bytearray(4), "array", device="cuda").blockers
    assert doctor["CUDA"] == ("; ".join(b.message for b in blockers) or "a driver answers")


@pytest.mark.parametrize("built_in, says", [(True, "built in"), (False, "left out, no nvcc")])
def test_doctor_says_whether_the_gather_kernels_are_there(doctor, monkeypatch, built_in, says):
    from dlpack_bridge.cli import doctor as tool

    assert doctor["kernels"] == tool.kernels()
    monkeypatch.setattr(tool, "_has_gather_kernels", built_in)
    assert tool.kernels().startswith(f"gather kernels: {says}")


# ---- matrix --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def matrix(run):
    return json.loads(run("matrix", "--json"))


def test_the_matrix_has_a_cell_for_every_pair_and_says_what_is_left_out(matrix):
    assert {"NumPy", "torch", "Array"} <= set(matrix["targets"])
    assert {"NumPy", "torch", "Array", "bytearray", "NumPy, reversed"} <= set(matrix["sources"])
    pairs = [(cell["source"], cell["target"]) for cell in matrix["cells"]]
    assert pairs == [
        (source, target) for source in matrix["sources"] for target in matrix["targets"]
    ]
    left_out = {missing["what"]: missing["reason"] for missing in matrix["missing"]}
    assert "broken on purpose" in left_out["from TensorFlow"]
    for target in ("JAX", "CuPy", "TensorFlow", "tvm-ffi"):
        assert (target in matrix["targets"]) != bool(left_out.get(f"to {target}"))


@pytest.mark.parametrize(
    "source, target, action, codes",
    [
        ("NumPy", "torch", "share", []),
        ("torch", "NumPy", "share", []),
        ("bytearray", "Array", "share", []),
        ("NumPy, reversed", "torch", "copy", ["negative_stride"]),
        ("NumPy, reversed", "Array", "share", []),
        ("NumPy, big-endian", "torch", "copy", ["byte_order"]),
        ("NumPy, read-only", "torch", "copy", ["readonly"]),
        ("NumPy, datetime64", "torch", "refuse", ["dtype"]),
        ("torch, requires_grad", "NumPy", "refuse", ["requires_grad"]),
        ("torch, requires_grad", "torch", "share", []),
        ("torch, conj bit", "NumPy", "copy", ["conj"]),
        ("torch, sparse", "Array", "refuse", ["sparse"]),
    ],
)
def test_a_cell_says_what_is_done_why_and_what_it_costs(matrix, source, target, action, codes):
    (cell,) = (
        cell for cell in matrix["cells"] if (cell["source"], cell["target"]) == (source, target)
    )
    assert (cell["action"], [reason["code"] for reason in cell["reasons"]]) == (action, codes)
    assert (cell["nanoseconds"] is None) == (action == "refuse")


def test_the_table_and_the_picture_show_every_cell(run):
    text = run("matrix", "--plot", "matrix.png")
    line = next(line for line in text.splitlines() if line.startswith("| NumPy, reversed "))
    assert re.search(r"\| copy: negative_stride, \d+ ns +\|", line)
    assert "refuse: requires_grad" in text and "from TensorFlow: import tensorflow failed" in text
    assert (run.here / "matrix.png").read_bytes().startswith(b"\x89PNG")


# ---- demo ----------------------------------------------------------------------------------------


def test_the_demo_runs_every_worked_example_from_the_installed_package(run):
    text = run("demo")
    ran = re.findall(r"^==> (.*)$", text, re.MULTILINE)
    wanted = sorted(EXAMPLES.glob("[0-9]*.py"))
    assert [Path(path).name for path in ran] == [path.name for path in wanted]
    for path, source in zip(ran, wanted, strict=True):
        assert Path(path).parent == Path(db.__file__).parent / "examples"
        assert Path(path).read_bytes() == source.read_bytes()
    assert (run.here / "linear_regression.png").exists()


def test_a_demo_that_fails_says_so_with_its_exit_code(monkeypatch, tmp_path, capfd):
    from dlpack_bridge.cli import demo

    (tmp_path / "1_fails.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "2_never.py").write_text("print('ran')\n")
    monkeypatch.setattr(demo, "EXAMPLES", tmp_path)
    assert demo.run(None) == 3
    assert "ran" not in capfd.readouterr().out


def test_the_demo_names_what_it_needs(monkeypatch):
    from dlpack_bridge.cli import demo

    monkeypatch.setattr(demo, "NEEDED", ("numpy", "no_such_framework"))
    with pytest.raises(SystemExit, match="pip install no_such_framework$"):
        demo.run(None)


@pytest.mark.parametrize("command", ["matrix", "bench"])
@pytest.mark.parametrize(
    "file, says", [("ratios.txt", "ends in none of"), ("nowhere/ratios.png", "no folder")]
)
def test_a_picture_that_cannot_be_written_is_refused_before_the_work(command, file, says, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dlpack_bridge", command, "--plot", file],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "argument --plot: " in done.stderr and says in done.stderr
    assert "Traceback" not in done.stderr
