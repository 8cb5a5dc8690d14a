"""What users read of functions with arrays: help(), and stubs made by pybind11-stubgen."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import caster_build
import pytest

lab = caster_build.module()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lab.scale, 'x: typing.Annotated[typing.Any, "array[float32]"], factor: '),
        (lab.points, 'points: typing.Annotated[typing.Any, "array[const float32, (*, 3)]"]'),
        (lab.on_gpu, '"array[float32, on_cuda]"'),
        (lab.no_convert, '"array[const float32, converting]"'),
        (lab.sum_bfloat, '"array[const bfloat16]"'),
        (lab.rank_of, '"array[const float32, 3]"'),
        (lab.make_array, '-> typing.Annotated[typing.Any, "array[float32, 2]"]'),
        (lab.make, "-> numpy.ndarray"),
        (lab.make_torch, "-> torch.Tensor"),
        (lab.make_hub, "-> dlpack_bridge.Array"),
        (lab.relu, "-> typing.Any"),
    ],
)
def test_signatures_in_help(function, words):
    assert words in inspect.getdoc(function)


def tool(*arguments, cwd):
    environment = dict(os.environ)
    here = str(Path(lab.__file__).parent)
    environment["PYTHONPATH"] = os.pathsep.join([here, environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


USES = """
import numpy as np
import caster_lab

x = np.ones(3, "float32")
caster_lab.scale(x, 2.0)
total: float = caster_lab.sum(x)
made: np.ndarray = caster_lab.make(3)
caster_lab.scale(x)  # type: ignore[call-arg]
caster_lab.make("three")  # type: ignore[arg-type]
"""


def test_stubs_are_made_without_a_complaint_and_pass_mypy(tmp_path):
    said = tool("pybind11_stubgen", "caster_lab", "-o", str(tmp_path), "--exit-code", cwd=tmp_path)
    assert "WARNING" not in said and "ERROR" not in said
    stub = (tmp_path / "caster_lab.pyi").read_text()
    assert 'def matrix(x: typing.Annotated[typing.Any, "array[const float32, 2]"]) -> dict' in stub
    (tmp_path / "uses.py").write_text(USES)
    # Overloads that differ in what an array holds look the same to a type checker.
    options = ["--warn-unused-ignores", "--disable-error-code=overload-cannot-match"]
    tool("mypy", "--config-file=", *options, "caster_lab.pyi", "uses.py", cwd=tmp_path)
