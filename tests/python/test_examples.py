"""The worked examples run as they stand, say what they do, and leave nothing but what they name."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
NUMBERED = [script for script in SCRIPTS if script[0].isdigit()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs an example once, in an empty folder and with an empty home: what it printed and wrote."""

    @functools.cache
    def run(script):
        home, here = (tmp_path_factory.mktemp(name) for name in ("home", "here"))
        done = subprocess.run(
            [sys.executable, "-W", "error", EXAMPLES / script],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=here,
            env={**os.environ, "HOME": str(home), "MPLCONFIGDIR": str(home)},
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout, sorted(here.iterdir())

    return run


@pytest.fixture
def printed(run):
    return lambda script: run(script)[0]


def sections(text):
    """The steps of an example: title -> the lines below it."""
    steps = (step.split("\n", 1) for step in text.strip().split("\n\n"))
    return {title.strip(): body for title, body in steps}


def addresses(text):
    return set(re.findall(r"0x[0-9a-f]+", text))


def test_the_examples_are_numbered_without_a_gap():
    assert [script.split("_")[0] for script in NUMBERED] == [
        f"{number:02}" for number in range(1, len(NUMBERED) + 1)
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_can_be_copied(script):
    """It stands alone: a docstring, a main, and nothing that a reader would have to install."""
    text = (EXAMPLES / script).read_text()
    assert text.startswith('"""')
    assert "\ndef main():\n" in text
    assert text.endswith('\n\nif __name__ == "__main__":\n    main()\n')
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    known = {"dlpack_bridge", "numpy", "torch", "matplotlib"}
    assert imported - known <= set(sys.stdlib_module_names)


def test_eye(printed):
    steps = sections(printed("01_eye.py"))

    shared = steps["np.eye(3) to torch"]
    assert "share: nothing is copied" in shared and "the same address" in shared
    assert len(addresses(shared)) == 1

    copied = steps["np.eye(3) to torch as float32"]
    assert "copy: 36 bytes, because" in copied and "float32" in copied
    assert len(addresses(copied)) == 2

    assert "share: nothing is copied" in steps["torch.eye(3) to NumPy"]

    title = "torch.eye(3, requires_grad=True) to NumPy"
    assert "refused: ExchangeError" in steps[title]
    assert "requires_grad" in steps[title] and "detach=True" in steps[title]
    assert "share: nothing is copied" in steps[f"{title} with detach=True"]

    idle = steps['detach=True and device="cpu" for an array that needs neither']
    assert "share: nothing is copied" in idle and "the array itself" in idle


def test_eye_to_and_from_the_gpu(printed):
    """Carried out where there is one, otherwise a refusal that says why."""
    import torch

    steps = sections(printed("01_eye.py"))
    there, back = steps['np.eye(3) to torch on "cuda"'], steps["torch.eye(3) on the GPU to NumPy"]
    if torch.cuda.is_available():
        assert "copy: 72 bytes" in there or "refused: " in there
        assert "copy: 36 bytes" in back or "refused: " in back
    else:
        assert "refused: " in there and "cuda" in there and "driver" in there
        assert "left out" in back


def test_capsules(printed):
    steps = sections(printed("02_capsules.py"))
    for kind, name in (("legacy", "dltensor"), ("versioned", "dltensor_versioned")):
        for title in (
            f"NumPy to torch with a {kind} capsule",
            f"torch to NumPy with a {kind} capsule",
        ):
            step = steps[title]
            assert f'made      <capsule object "{name}"' in step
            assert f'consumed  <capsule object "used_{name}"' in step
            (numpy_address, torch_address) = re.findall(r"(?:NumPy|torch) (0x[0-9a-f]+)", step)
            assert numpy_address == torch_address
    assert printed_refusals(steps["NumPy to torch with a legacy capsule"]) == ["torch", "the hub"]
    unconsumed = steps["A capsule that nobody consumes"]
    assert "its source is alive" in unconsumed
    assert "dropped   0 live, its source is gone" in unconsumed


def printed_refusals(step):
    return re.findall(r"refused   by (.+): \w+", step)


def test_integers(printed):
    text = printed("03_integers.py")
    assert "int32 -> torch.int32 -> int32, all at" in text
    assert "int16 -> torch.int16 -> int16, all at" in text
    assert "as int64: [-1, 0, 30000] (copy, 24 bytes)" in text
    assert 'as "bits": [4294967295, 0, 30000] (shared' in text


def test_linear_regression(run):
    text, files = run("04_linear_regression.py")
    assert "copy: 960 bytes" in text and "dtype" in text
    losses = [float(loss) for loss in re.findall(r"loss (\d+\.\d+)", text)]
    assert len(losses) >= 5 and losses == sorted(losses, reverse=True)
    (shared,) = re.findall(r"shared: torch (0x[0-9a-f]+), NumPy \1", text) or [None]
    assert shared

    (picture,) = files
    assert text.strip().endswith(f"Picture: {picture.resolve()}")
    assert_is_a_picture(picture)


def assert_is_a_picture(path):
    """A PNG with room for two diagrams, and drawn on: the colours of data and lines are there."""
    from matplotlib import image

    pixels = image.imread(path)[..., :3]
    height, width = pixels.shape[:2]
    assert width >= 1000 and height >= 400
    for color in ("#cc3311", "#228833"):  # the fitted line, the training loss
        wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        assert np.isclose(pixels, wanted, atol=0.02).all(axis=-1).sum() > 500, color
    assert 0.02 < (pixels < 0.95).any(axis=-1).mean() < 0.5


def test_speed(printed):
    lines = printed("05_speed.py").strip().splitlines()
    rounds = int(re.search(r"best of (\d+) interleaved rounds", lines[0]).group(1))
    assert rounds >= 15
    for line, (ours, theirs) in zip(
        lines[-2:],
        [("db.to_torch(a)", "torch.from_numpy(a)"), ("db.to_numpy(t)", "t.numpy()")],
        strict=True,
    ):
        first, second, ratio = (float(n) for n in re.findall(r"([\d.]+)(?: ns|$)", line))
        assert ours in line and theirs in line
        assert abs(ratio - first / second) < 0.02


@pytest.mark.parametrize("script", [name for name in SCRIPTS if "linear" not in name])
def test_only_the_picture_is_written(run, script):
    assert run(script)[1] == []
