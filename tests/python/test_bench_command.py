"""`python -m dlpack_bridge bench` as a user runs it, with few rounds and without a compiler."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dlpack_bridge

SECTIONS = ["calls", "functions", "copies", "fresh", "scale", "memory", "imports", "contents"]
QUICK = ["--rounds", "1", "--sizes", "1K", "2K", "--threads", "1", "2", "--most-alive", "20"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Runs it in an empty folder. The peer tensorflow is there and cannot be imported."""
    broken, here = tmp_path_factory.mktemp("broken"), tmp_path_factory.mktemp("here")
    (broken / "tensorflow.py").write_text("raise OSError('broken on purpose')\n")
    paths = [str(broken), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "XDG_CACHE_HOME": str(here / "cache"),
        "MPLCONFIGDIR": str(here),
        "CXX": "no-such-compiler",
    }

    @functools.cache
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "dlpack_bridge", "bench", *arguments],
            capture_output=True,
            text=True,
            cwd=here,
            env=environment,
            check=False,
        )

    run.here = here
    return run


@pytest.fixture(scope="module")
def report(bench):
    done = bench("--json", *QUICK)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def rows(report):
    """Of a section, by path."""
    by_name = {section["name"]: section["rows"] for section in report["sections"]}
    return lambda name: {row["path"]: row for row in by_name[name]}


def test_the_report_holds_what_its_readers_rely_on(report):
    assert set(report) == {"schema", "machine", "peers", "method", "sections"}
    assert report["schema"] == 1
    assert {"dlpack_bridge", "python", "processor", "cores", "governor", "load"} <= set(
        report["machine"]
    )
    assert "1 interleaved rounds" in report["method"]
    assert [section["name"] for section in report["sections"]] == SECTIONS
    for section in report["sections"]:
        assert set(section) == {"name", "title", "unit", "rows", "failed"}
        assert section["failed"] is None and section["rows"]


def test_every_row_has_the_same_fields(report):
    fields = {"path", "why", "ours", "peers", "floors", "limit", "missing", "verdict"}
    cost = {"call", "least", "median"}
    for section in report["sections"][:-1]:
        for row in section["rows"]:
            assert fields <= set(row) <= fields | {"size", "threads", "bytes"}
            assert row["why"]
            for floor in row["floors"]:
                assert set(floor) == cost
            for peer in row["peers"]:
                assert set(peer) == cost | {"ratio", "ratio_of_medians", "reach", "verdict"}
            assert row["ours"] is None or set(row["ours"]) == cost
            assert (row["ours"] is None) == (row["verdict"] == "missing")


def test_rows_where_the_hub_loses_are_first_in_every_section(report):
    order = ["behind", "allowed", "level", "short", "reached", "stated", "missing"]
    for section in report["sections"][:-1]:
        places = [order.index(row["verdict"]) for row in section["rows"]]
        assert places == sorted(places)


def test_paths_between_what_is_installed_are_measured(rows):
    calls = rows("calls")
    for path in ("NumPy -> torch", "torch -> NumPy", "torch -> Array", "NumPy -> Array"):
        row = calls[path]
        assert row["ours"]["least"] > 0
        assert any(peer["least"] > 0 and peer["ratio"] > 0 for peer in row["peers"])
    assert [peer["call"] for peer in calls["NumPy -> torch"]["peers"]] == [
        "torch.from_numpy(a)",
        "torch.from_dlpack(a)",
        "torch.as_tensor(a)",
    ]


def reasons(row):
    return {missing["call"]: missing["reason"] for missing in row["missing"]}


def test_a_peer_that_cannot_be_imported_leaves_its_rows_out_and_says_why(rows):
    row = rows("calls")["TensorFlow -> torch"]
    assert row["verdict"] == "missing"
    assert set(reasons(row).values()) == {"import tensorflow failed, OSError: broken on purpose"}


def test_without_a_compiler_the_compiled_rows_say_so_and_the_others_are_measured(rows, bench):
    for row in rows("functions").values():
        assert row["verdict"] == "missing"
        (said,) = {why for call, why in reasons(row).items() if call.startswith("own.")}
        assert "no-such-compiler" in said
    for row in rows("copies").values():
        assert "no-such-compiler" in reasons(row)["dlpack_bridge"]
    assert not (bench.here / "cache").exists()


def test_copies_are_measured_for_every_size_and_number_of_threads(report):
    (section,) = (found for found in report["sections"] if found["name"] == "copies")
    seen = {(row["path"], row["size"], row["threads"]) for row in section["rows"]}
    paths = {path for path, _, _ in seen}
    assert {"contiguous", "transpose", "byte swap", "float32 -> bfloat16"} <= paths
    assert len(section["rows"]) == len(seen) == len(paths) * 2 * 2


def test_scale_tells_numbers_alive_threads_and_lists_apart(rows):
    scale = rows("scale")
    assert {"NumPy -> torch, 20 alive", "NumPy -> torch, 8 threads"} <= set(scale)
    (row,) = (row for path, row in scale.items() if path.startswith("list of 2 NumPy arrays"))
    assert {peer["call"] for peer in row["peers"]} == {
        "[db.to_torch(a) for a in arrays]",
        "[torch.from_numpy(a) for a in arrays]",
    }


def test_bytes_of_a_live_array_are_a_whole_number_of_the_allocators_units(rows):
    """Every result takes the same: what is counted is no noise. One list of 16 is allowed for."""
    for row in rows("memory").values():
        assert row["ours"]["least"] > 100
        assert abs(row["ours"]["least"] - round(row["ours"]["least"] / 16) * 16) < 1


def test_the_import_is_judged_above_an_empty_interpreter(rows):
    (row,) = rows("imports").values()
    assert row["limit"]["call"] == "an empty interpreter" and row["limit"]["most"] == 10e6
    empty = next(floor for floor in row["floors"] if floor["call"] == "an empty interpreter")
    assert row["limit"]["least"] == pytest.approx(row["ours"]["least"] - empty["least"])


def test_the_contents_of_the_wheel_are_counted(report):
    groups = {row["what"]: row for row in report["sections"][-1]["rows"]}
    module = groups["the extension module"]
    assert module["files"] == 1 and 0 < module["compressed"] < module["bytes"]
    assert all(row["files"] for row in groups.values())
    package = Path(dlpack_bridge.__file__).parent
    files = [f for f in package.rglob("*") if f.is_file() and f.suffix != ".pyc"]
    assert sum(row["files"] for row in groups.values()) == len(files)
    assert sum(row["bytes"] for row in groups.values()) == sum(f.stat().st_size for f in files)


def test_the_text_begins_with_machine_and_losses_and_the_picture_is_drawn(bench):
    done = bench("--rounds", "1", "--only", "calls", "contents", "--plot", "ratios.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("* dlpack_bridge ")
    first, *titles = done.stdout.split("\n## ")
    assert "\nRows: " in first
    assert [title.split("\n")[0] for title in titles] == [
        "One exchange of a small array",
        "What is in the wheel",
    ]
    assert (bench.here / "ratios.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["bench", "--only", "everything"], "invalid choice: 'everything'"),
        (["bench", "--rounds", "0"], "no positive number"),
        (["bench", "--sizes", "big"], "'big' is no size such as 512, 64K or 1M"),
        (["bench", "--sizes", "0"], "'0' is no size"),
        ([], "required: command"),
        (["no-such-command"], "invalid choice: 'no-such-command'"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_is_wrong(arguments, said, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dlpack_bridge", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""
