"""The compiled half of the benchmark, built against the installed package when it is first needed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dlpack_bridge.bench import extensions
from dlpack_bridge.bench.names import Unavailable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import torch_cmake

SECTIONS = ["--only", "functions", "copies"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def torch_peer():
    torch_cmake.skip_without_toolkit()


@pytest.fixture(scope="module")
def runs(cache):
    """The benchmark twice in a row."""
    command = [sys.executable, "-m", "dlpack_bridge", "bench", "--json", *SECTIONS]
    command += ["--rounds", "1", "--sizes", "8K", "--threads", "1"]
    return [
        subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=cache,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
            check=False,
        )
        for _ in range(2)
    ]


@pytest.fixture(scope="module")
def report(runs):
    assert runs[0].returncode == 0, runs[0].stderr
    return {
        section["name"]: {row["path"]: row for row in section["rows"]}
        for section in json.loads(runs[0].stdout)["sections"]
    }


@pytest.mark.usefixtures("torch_peer")
def test_building_is_said_and_done_once(runs, cache):
    first, second = (run.stderr.count("compiling ") for run in runs)
    built = sorted(path.name for path in (cache / "dlpack_bridge" / "bench").iterdir())
    assert first == len(built) >= 5 and second == 0
    assert {name.rpartition("-")[0] for name in built} >= {
        "own",
        "floor",
        "pybind11_peer",
        "torch_peer",
        "tvm_peer",
    }


@pytest.mark.usefixtures("torch_peer")
def test_a_function_is_measured_beside_every_peer_that_is_installed(report):
    row = report["functions"]["from torch"]
    assert row["ours"]["least"] > 0 and row["limit"]["most"] == 60
    measured = {peer["call"] for peer in row["peers"]}
    assert {"tvm_peer.take(t)", "pybind11_peer.take(t)", "torch_peer.take(t)"} <= measured
    assert "floor.state_checks(t)" in {floor["call"] for floor in row["floors"]}
    assert report["functions"]["from NumPy"]["limit"]["most"] == 100


@pytest.mark.usefixtures("torch_peer")
def test_torchs_own_caster_is_shown_and_is_no_aim(report):
    row = report["functions"]["from torch"]
    (shown,) = (peer for peer in row["peers"] if peer["call"] == "torch_peer.take(t)")
    assert shown["reach"] is None and shown["verdict"] is None


def test_every_case_of_the_copies_is_measured_and_writes_what_numpy_writes(report):
    for path, row in report["copies"].items():
        assert row["missing"] == [], path
        assert row["ours"]["least"] > 0 and row["peers"], path


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the sources that a test may spoil, and a cache of its own."""
    shutil.copytree(extensions.SOURCES, tmp_path / "sources")
    monkeypatch.setattr(extensions, "SOURCES", tmp_path / "sources")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "sources"


def test_what_goes_into_an_extension_names_its_folder(sources):
    before = {name: extensions.key(name, ()) for name in ("own", "floor")}
    assert before == {name: extensions.key(name, ()) for name in ("own", "floor")}
    with (sources / "own.cpp").open("a") as file:
        file.write("// changed\n")
    assert extensions.key("own", ()) != before["own"]
    assert extensions.key("floor", ()) == before["floor"]
    assert extensions.key("floor", ("numpy",)) != before["floor"]


def test_an_extension_that_does_not_compile_is_a_reason_and_leaves_nothing(sources, capfd):
    (sources / "pybind11_peer.cpp").write_text("int main( {\n")
    with pytest.raises(Unavailable, match="^cmake failed: .*error"):
        extensions.load("pybind11_peer")
    assert list(extensions.cache_folder().iterdir()) == []
    assert capfd.readouterr().err.startswith("compiling pybind11_peer into ")


def test_the_functions_refuse_what_they_do_not_take(runs, cache, monkeypatch):
    import numpy as np

    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    for name in ("own", "tvm_peer"):
        take = extensions.load(name).take
        take(np.ones(4, np.float32))
        for wrong in (np.ones(4), np.ones((2, 2), np.float32)):
            with pytest.raises(TypeError):
                take(wrong)
