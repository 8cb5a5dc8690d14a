"""The example projects of docs/examples as their readers build them: by pip, against the installed
package, in an environment of their own without torch."""

import os
import shutil
import sys
import venv
from pathlib import Path

import pytest

import dlpack_bridge

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
sys.path.insert(0, str(ROOT / "tests" / "support"))
import cuda_toolkit
from commands import run

# What the build and the tests of the examples use of the environment that runs these tests.
LENT = ["numpy*", "pybind11*", "scikit_build_core*", "cmake*", "ninja*", "packaging*", "pathspec*",
        "py.py", "pytest*", "_pytest*", "pluggy*", "iniconfig*", "pygments*", "exceptiongroup*", "tomli*",
        "typing_extensions*"]  # fmt: skip


class Environment:
    """A virtual environment that holds dlpack_bridge, NumPy and the build tools, and no framework."""

    def __init__(self, folder):
        venv.create(folder, with_pip=True, symlinks=True)
        self.python = folder / "bin" / "python"
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self.packages = Path(run(self.python, "-c", where).strip())
        package = Path(dlpack_bridge.__file__).parent
        shutil.copytree(package, self.packages / package.name, symlinks=False)
        for pattern in ["dlpack_bridge-*", *LENT]:
            for found in Path(pytest.__file__).parents[1].glob(pattern):
                if not (self.packages / found.name).exists():
                    (self.packages / found.name).symlink_to(found)

    def install(self, example, folder, **settings):
        """Builds a copy of the project, as a user's checkout, and installs it."""
        shutil.copytree(EXAMPLES / example, folder, dirs_exist_ok=True)
        tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {
            **os.environ,
            "PATH": tools,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            **settings,
        }
        environment.pop("PYTHONPATH", None)
        run(
            self.python, "-m", "pip", "install", "--no-index", "--no-build-isolation", "--no-deps",
            folder, cwd=folder, env=environment,
        )  # fmt: skip

    def test(self, folder):
        environment = {**os.environ}
        environment.pop("PYTHONPATH", None)
        options = ["-p", "no:cacheprovider", "-q", "--rootdir", folder]
        return run(self.python, "-m", "pytest", *options, folder / "tests",
                   cwd=folder, env=environment)  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("clean") / "venv")


@pytest.fixture(scope="module")
def extension(environment, tmp_path_factory):
    """The checkout that was built and installed."""
    folder = tmp_path_factory.mktemp("checkout") / "extension"
    environment.install("extension", folder)
    return folder


def test_the_extension_builds_and_passes_its_tests(environment, extension):
    # Without torch: one of the tests asks for it.
    assert "6 passed, 1 skipped" in environment.test(extension)


@pytest.mark.usefixtures("extension")
def test_the_extension_needs_neither_the_package_nor_a_framework(environment, tmp_path):
    code = """
import sys
sys.modules["dlpack_bridge"] = None  # no import of it succeeds
import signal_tools
assert signal_tools.mean(memoryview(bytearray(16)).cast("d")) == 0
assert "numpy" not in sys.modules
print(type(signal_tools.window(3)).__name__)
sys.modules["numpy"] = None
"""
    assert run(environment.python, "-c", code, cwd=tmp_path).strip() == "ndarray"


@pytest.mark.usefixtures("extension")
def test_results_are_arrays_of_the_hub_where_there_is_no_numpy(environment, tmp_path):
    code = """
import sys
sys.modules["numpy"] = None
import signal_tools
first = signal_tools.window(4)
assert memoryview(first.memoryview()).tolist()[2] == 1
import dlpack_bridge
assert type(first) is dlpack_bridge.Array is type(dlpack_bridge.asarray(bytearray(2)))
assert dlpack_bridge.stats().live_arrays == 1
"""
    run(environment.python, "-c", code, cwd=tmp_path)


nvcc = cuda_toolkit.find_nvcc()


@pytest.mark.skipif(nvcc is None, reason="needs nvcc, which is not installed here")
def test_the_cuda_extension_builds_and_refuses_host_memory(environment, tmp_path):
    toolkit = cuda_toolkit.build_environment(nvcc, tmp_path / "toolkit")
    environment.install("extension_cuda", tmp_path / "extension_cuda", **toolkit)
    # Without torch: two of the tests ask for it.
    assert "1 passed, 2 skipped" in environment.test(tmp_path / "extension_cuda")
