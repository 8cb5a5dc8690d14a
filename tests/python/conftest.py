"""What every test of the Python module stands on.

The extension `dlpack_lab` is compiled into a temporary folder; after each test nothing of the hub
may be left: no live array, no pending release, no warning, nothing printed.
"""

import gc
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support" / "python"


def check_import():
    """The folder `dlpack_bridge/` at the root can be imported as an empty namespace package."""
    if any(Path(entry or ".").resolve() == ROOT for entry in sys.path):
        raise pytest.UsageError(
            f"{ROOT} is on sys.path: run `pytest tests/python`, not `python -m pytest` in the root"
        )
    try:
        import dlpack_bridge
    except ImportError as error:
        raise pytest.UsageError(f"the tests need the installed package: {error}") from error
    if getattr(dlpack_bridge, "__file__", None) is None:
        raise pytest.UsageError("dlpack_bridge is a bare folder here: install the package first")


def prepare_support():
    sys.path[:0] = [str(SUPPORT), str(Path(__file__).parent)]
    pytest.register_assert_rewrite(*(path.stem for path in SUPPORT.glob("*.py")))
    import lab_build

    folder = tempfile.TemporaryDirectory(prefix="dlpack_lab_")
    lab_build.build(folder.name)
    sys.path.insert(0, folder.name)
    return folder


check_import()
lab_folder = prepare_support()

import torch_states

import dlpack_bridge as db


def pytest_collection_finish():
    """Loads what torch loads lazily."""
    for _, make in torch_states.REFUSED.values():
        make()


def pytest_unconfigure():
    lab_folder.cleanup()


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("error"))


def what_is_left():
    gc.collect()
    db.collect()
    stats = db.stats()
    return {"live_arrays": stats.live_arrays, "pending_releases": stats.pending_releases}


@pytest.fixture(autouse=True)
def nothing_is_left_behind(capfd):
    before = what_is_left()
    gc.freeze()  # what tests have imported would be searched for garbage twice in every later test
    yield
    left = what_is_left()
    for name, count in left.items():  # less is left where a failed test let go of its traceback
        assert 0 <= count <= before[name], f"{name}: {count}, {before[name]} before the test"
    assert tuple(capfd.readouterr()) == ("", ""), "the hub printed something"
