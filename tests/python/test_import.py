"""What importing the package does, and above all what it does not do."""

from pathlib import Path

import isolated
import pytest

import dlpack_bridge as db

FRAMEWORKS = ("numpy", "torch", "jax", "cupy", "tensorflow", "tvm_ffi", "ml_dtypes")


def test_import_loads_no_framework():
    out = isolated.expect_clean(
        f"import sys, dlpack_bridge\nprint([name for name in {FRAMEWORKS} if name in sys.modules])"
    )
    assert out == "[]\n"


def test_import_starts_no_thread():
    out = isolated.expect_clean(
        "import os, dlpack_bridge\nprint(len(os.listdir('/proc/self/task')))"
    )
    assert out == "1\n"


def test_import_opens_no_driver_and_no_libtorch():
    out = isolated.expect_clean(
        "import dlpack_bridge\n"
        "import pathlib\n"
        "maps = pathlib.Path('/proc/self/maps').read_text()\n"
        "print([name for name in ('libcuda', 'libcudart', 'libtorch', 'libc10') if name in maps])"
    )
    assert out == "[]\n"


def test_import_prints_nothing_and_warns_about_nothing():
    assert isolated.expect_clean("import dlpack_bridge", options=("-W", "error")) == ""


def test_import_works_from_any_folder(tmp_path):
    script = f"import os; os.chdir({str(tmp_path)!r}); import dlpack_bridge as d; print(d.__file__)"
    assert isolated.expect_clean(script).strip() == db.__file__


def test_buffers_are_exchanged_without_numpy_and_torch():
    out = isolated.expect_clean(
        "import sys\n"
        "sys.modules['numpy'] = sys.modules['torch'] = None\n"
        "import dlpack_bridge as db\n"
        "array = db.asarray(bytearray(b'abc'))\n"
        "print(array.shape, array.dtype == 'uint8', array.memoryview().tolist())"
    )
    assert out == "(3,) True [97, 98, 99]\n"


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("call", ["convert", "plan"])
def test_a_target_that_is_not_installed_is_an_import_error_naming_the_package(name, call):
    out = isolated.expect_clean(
        "import sys\n"
        f"sys.modules[{name!r}] = None\n"
        "import dlpack_bridge as db\n"
        "try:\n"
        f"    db.{call}(bytearray(4), {name!r})\n"
        "except ImportError as error:\n"
        "    print(error)\n"
        "print(db.stats().live_arrays)"
    )
    message, alive = out.strip().rsplit("\n", 1)
    assert name in message
    assert alive == "0"


def test_the_package_carries_its_types():
    folder = Path(db.__file__).parent
    assert (folder / "py.typed").exists()
    assert list(folder.glob("*.pyi"))


@pytest.mark.parametrize(
    "name",
    [
        "to_numpy",
        "to_torch",
        "convert",
        "asarray",
        "from_dlpack",
        "plan",
        "trace",
        "info",
        "shares_memory",
        "stats",
        "record_stream",
        "collect",
        "convert_tree",
        "compute_in",
        "dtype",
        "Array",
        "Plan",
        "Reason",
        "ExchangeError",
        "CopyRequiredError",
        "NotAnArrayError",
        "CudaError",
    ],
)
def test_every_public_name_is_there(name):
    assert callable(getattr(db, name))


# The name of the module changed, and with it how the kind of interpreter is named.
IN_A_SUBINTERPRETER = """
try:
    import _xxsubinterpreters as interpreters
    made = interpreters.create(isolated=False)
except ImportError:
    import _interpreters as interpreters
    made = interpreters.create("legacy")
{before}
try:
    failed = interpreters.run_string(made, "import dlpack_bridge")
except Exception as error:
    failed = error
print(failed)
interpreters.destroy(made)
import dlpack_bridge as db
print(db.asarray(b"abc").shape)
"""


@pytest.mark.parametrize("before", ["", "import dlpack_bridge"])
def test_a_subinterpreter_is_told_and_not_kept_waiting(before):
    out = isolated.expect_clean(IN_A_SUBINTERPRETER.format(before=before), timeout=60, options=())
    assert "main interpreter only" in out
    assert out.endswith("(3,)\n")
