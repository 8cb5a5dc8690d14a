"""Into JAX, TensorFlow and tvm-ffi, the real ones: what `target_checks.py` lists, each framework in a
process of its own; and what becomes of a framework that is not what it should be."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import isolated
import pytest

import dlpack_bridge as db

SUPPORT = Path(isolated.__file__).parent
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


def environment(folder):
    """TensorFlow's import makes a folder for Keras, at home if it is not told better."""
    return {**isolated.environment(), **QUIET, "KERAS_HOME": str(folder)}


@pytest.mark.parametrize("framework", ["jax", "tensorflow", "tvm_ffi"])
def test_arrays_go_into_the_framework(framework, tmp_path):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} has no wheel for this Python here")
    done = subprocess.run(
        [sys.executable, SUPPORT / "target_checks.py", framework],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        cwd=SUPPORT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert len(outcomes) >= 14
    failed = [text for text in outcomes.values() if text is not None]
    assert not failed, "\n".join(failed)


# A framework of that name, whose own function does what FROM_DLPACK does with a capsule.
SETTING = """
import gc, sys, types
import numpy as np
import dlpack_bridge as db
tvm_ffi = sys.modules["tvm_ffi"] = types.ModuleType("tvm_ffi")
a = np.arange(6.0)
"""

CASES = {
    "what a framework raises passes through and nothing is lost": """
def from_dlpack(capsule):
    raise KeyError("not today")
tvm_ffi.from_dlpack = from_dlpack
before = sys.getrefcount(a), db.stats().live_arrays
for keywords in ({}, {"copy": True}):
    try:
        db.convert(a, "tvm_ffi", **keywords)
    except KeyError as error:
        assert error.args == ("not today",)
        del error
    else:
        raise AssertionError("nothing was raised")
gc.collect()
assert (sys.getrefcount(a), db.stats().live_arrays) == before
""",
    "a framework that lets the capsule go lets the array go": """
tvm_ffi.from_dlpack = lambda capsule: None
before = sys.getrefcount(a), db.stats().live_arrays
assert db.convert(a, "tvm_ffi") is None
assert (sys.getrefcount(a), db.stats().live_arrays) == before
""",
    "a capsule is versioned and says what the memory is": """
kept = []
tvm_ffi.from_dlpack = kept.append
db.convert(a, "tvm_ffi")
assert '"dltensor_versioned"' in repr(kept[0])
n = db.to_numpy(kept[0])
assert n.ctypes.data == a.ctypes.data and n.flags.writeable
""",
    "a framework without its function is too old": """
for _ in range(2):
    try:
        db.convert(a, "tvm_ffi")
    except ImportError as error:
        assert "the installed tvm_ffi has no from_dlpack" in str(error), error
    else:
        raise AssertionError("nothing was raised")
tvm_ffi.from_dlpack = lambda capsule: "here"
assert db.convert(a, "tvm_ffi") == "here"
""",
}


@pytest.mark.parametrize("case", CASES)
def test_a_framework_that_is_not_what_it_should_be(case):
    isolated.expect_clean(SETTING + CASES[case])


@pytest.mark.parametrize("to", ["jax", "cupy", "tensorflow", "tvm_ffi"])
def test_a_framework_that_is_not_installed_is_named_with_its_package(to):
    package = {"cupy": "cupy-cuda13x", "tvm_ffi": "apache-tvm-ffi"}.get(to, to)
    isolated.expect_clean(
        f"""
import sys
import dlpack_bridge as db
sys.modules[{to!r}] = None
for call in (db.convert, db.plan):
    try:
        call(b"x", {to!r})
    except ImportError as error:
        assert str(error) == "{to} is not installed: pip install {package}", error
    else:
        raise AssertionError("nothing was raised")
"""
    )


def test_another_librarys_type_of_the_same_name_is_no_target():
    for module, name in (("elsewhere", "Array"), ("jax", "Sharding"), ("numpy", "matrix")):
        with pytest.raises(TypeError, match="a framework's name, its module or its array type"):
            db.convert(b"x", type(name, (), {"__module__": module}))
