"""What the benchmark does about peers that are not there, do not work, or do other work."""

import sys

import isolated
import numpy as np
import pytest
from dlpack_bridge.bench import copies, extensions, machine, names, sections
from dlpack_bridge.bench.names import Names, Unavailable
from dlpack_bridge.bench.options import Options

OPTIONS = Options(rounds=1, sizes=(1024,), threads=1, alive=(1, 10), listed=1)


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A module that is there and cannot be imported."""
    (tmp_path / "broken_peer.py").write_text("print('hello')\nraise OSError('no such library')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "broken_peer"


def test_a_module_that_is_not_installed_is_a_reason():
    with pytest.raises(Unavailable, match="^no_such_peer is not installed$"):
        names.imported("no_such_peer")


def test_a_module_that_fails_is_a_reason_and_prints_nothing(broken, capfd):
    with pytest.raises(Unavailable, match="^import broken_peer failed, OSError: no such library$"):
        names.imported(broken)
    assert capfd.readouterr().out == ""


def test_names_are_made_only_for_those_who_need_them():
    made = Names({"a": "np.ones(3)", "b": "a + no_such_sample"})
    assert made.value("a.sum()") == 3 and set(made) == {"np", "a"}


def test_a_sample_that_stands_on_a_missing_module_has_its_reason(monkeypatch):
    monkeypatch.setitem(names.MODULES, "gone", "no_such_peer")
    made = Names({"a": "gone.array()", "b": "(a, a)"})
    for _ in range(2):
        with pytest.raises(Unavailable, match="no_such_peer is not installed"):
            made.provide("b")


def test_a_name_that_nobody_knows_is_a_mistake_of_ours_and_no_missing_peer():
    with pytest.raises(NameError):
        Names({}).provide("unheard_of + 1")
    with pytest.raises(NameError):
        extensions.load("unheard_of")


@pytest.mark.parametrize(
    "code, expected",
    [
        ("f(a, b.c, 'd')", ["f", "a", "b"]),
        ("[f(x) for x in many]", ["f", "many"]),
        ("r = f(a); r.shape", ["f", "a"]),
        ("lambda n: g(a, n)", ["g", "a"]),
        ("callable(None)", []),
    ],
)
def test_the_names_of_a_piece_of_code(code, expected):
    assert sorted(names.names_in(code)) == sorted(expected)


def test_a_version_is_found_under_any_name_of_the_package():
    assert machine.version_of(("no-such-package", "numpy")) == np.__version__
    assert machine.version_of(("no-such-package",)) is None


def test_every_peer_is_listed_with_its_version_or_with_a_reason():
    listed = machine.peers()
    assert {
        "NumPy",
        "torch",
        "tvm-ffi",
        "nanobind",
        "pybind11",
        "cuda.core",
        "JAX",
        "TensorFlow",
    } <= {peer["name"] for peer in listed}
    for peer in listed:
        assert (peer["version"] is None) == bool(peer["reason"])


def test_a_contender_that_writes_something_else_is_not_measured():
    into, made = np.zeros(3, np.float32), Names({})
    made.update(into=into)
    expected = np.ones(3, np.float32).view(np.uint8)
    copies.check_work("into.fill(1)", made, expected)
    with pytest.raises(
        Unavailable, match="something else"
    ):  # what the one before wrote is no merit
        copies.check_work("into.size", made, expected)
    with pytest.raises(Unavailable, match="something else"):
        copies.check_work("into.fill(2)", made, expected)


def test_bytes_are_those_read_and_written_and_a_repeated_axis_is_read_once():
    into = np.empty((4, 5), np.float64)
    assert copies.bytes_moved(np.ones((4, 5), np.float32), into) == 20 * 4 + 20 * 8
    assert copies.bytes_moved(np.broadcast_to(np.ones(5, np.float32), (4, 5)), into) == 5 * 4 + 160
    assert copies.bytes_moved(np.ones((4, 10), np.float32)[:, ::2], into) == 20 * 4 + 160


@pytest.mark.parametrize("case", copies.CASES, ids=lambda case: case.name)
def test_a_case_makes_a_copy_of_about_the_size_asked_for(case):
    made = copies.names_of_case(case, 4096)
    assert 0.7 * 4096 <= made["into"].nbytes <= 4096
    assert made["source"].shape == made["into"].shape and made["into"].flags.c_contiguous


def test_a_section_whose_process_dies_is_a_reason_and_not_the_end(capfd):
    section = sections.Section("no_such_section", "Nothing", "ns")
    record = sections.run_section(section, OPTIONS, (1,))
    assert record["rows"] == [] and record["failed"].endswith("ended with exit code 1")
    assert "no_such_section" in capfd.readouterr().err
    assert sections.how_it_ended(-9).endswith("ended with signal SIGKILL")


def test_importing_the_package_loads_none_of_this():
    out = isolated.expect_clean(
        "import sys, dlpack_bridge\n"
        "print([m for m in sys.modules if m.startswith('dlpack_bridge.') or m == 'argparse'])"
    )
    assert sorted(eval(out)) == ["dlpack_bridge._compute_in", "dlpack_bridge._core"]


def test_an_extension_without_compiler_or_package_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Unavailable, match="needs a C\\+\\+ compiler, and there is no no-such"):
        extensions.load("own")
    monkeypatch.setitem(
        extensions.EXTENSIONS, "own", (("no-such-package",), extensions.own_options)
    )
    monkeypatch.setenv("CXX", sys.executable)  # anything that answers --version
    with pytest.raises(Unavailable, match="no-such-package is not installed"):
        extensions.load("own")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_tool_is_a_reason_with_the_line_that_says_why():
    script = "import sys; print('first'); print('the error: it is late'); sys.exit(3)"
    with pytest.raises(Unavailable, match="failed: the error: it is late$"):
        extensions.output(sys.executable, "-c", script)
    assert extensions.output(sys.executable, "-c", "print('fine')") == "fine\n"
