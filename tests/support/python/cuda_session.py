"""The tests on the fake CUDA driver, as seen by the pytest that was started.

Their files import models named torch, cupy and jax, so another process collects and runs them (see
`cuda_worker.py`); here they are items whose outcomes come through a pipe.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cuda_build
import pytest

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[2]


def put_first(environment, name, folders):
    known = [environment[name]] if environment.get(name) else []
    environment[name] = os.pathsep.join([*map(str, folders), *known])


class Worker:
    """The process that runs the tests of a folder."""

    def __init__(self, config, folder):
        import dlpack_lab

        self.config = config
        self.folder = tempfile.TemporaryDirectory(prefix="cuda_lab_")
        cuda_build.build_lab(self.folder.name)
        search = [
            SUPPORT / "cuda_models",
            self.folder.name,
            Path(dlpack_lab.__file__).parent,
            SUPPORT,
        ]
        environment = dict(os.environ)
        put_first(environment, "PYTHONPATH", search)
        put_first(environment, "LD_LIBRARY_PATH", [cuda_build.fake_driver_folder()])
        requests, self.requests = os.pipe()
        self.answers, answers = os.pipe()
        options = ["-p", "cuda_worker", "--noconftest", "--rootdir", ROOT]
        options += ["-c", ROOT / "pyproject.toml", "-o", f"cache_dir={self.folder.name}"]
        options += ["--pipes", requests, answers, folder]
        self.log = Path(self.folder.name, "log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *map(str, options)],
                cwd=self.folder.name,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(requests, answers),
            )
        os.close(requests)
        os.close(answers)
        self.lines = os.fdopen(self.answers)
        self.found = self._answer()

    def _answer(self):
        line = self.lines.readline()
        if not line:
            raise pytest.UsageError(
                f"the process on the fake driver ended:\n{self.log.read_text()}"
            )
        return json.loads(line)

    def run(self, nodeid):
        """What went wrong in a test, as text; empty when nothing did."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.requests, (json.dumps(nodeid) + "\n").encode())
        return self._answer()

    def close(self):
        os.close(self.requests)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        self.lines.close()
        self.folder.cleanup()


class Failed(Exception):
    """A test failed in the worker; its text is all there is to show."""


class DriverTest(pytest.Item):
    """A test that the worker has collected."""

    def __init__(self, *, place, **keywords):
        super().__init__(**keywords)
        self.place = place

    def reportinfo(self):
        return self.path, self.place[0], self.place[1]

    def runtest(self):
        trouble = self.config.stash[worker_key].run(self.nodeid)
        if trouble:
            raise Failed(trouble)

    def repr_failure(self, excinfo, style=None):
        if isinstance(excinfo.value, Failed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)


class DriverFile(pytest.File):
    def collect(self):
        for nodeid, _, *place in self.config.stash[worker_key].found:
            file, _, name = nodeid.partition("::")
            if file == self.nodeid:
                yield DriverTest.from_parent(self, name=name, place=place)


worker_key = pytest.StashKey[Worker]()


def collect_file(module_path, parent):
    """For `pytest_pycollect_makemodule`."""
    stash = parent.config.stash
    if worker_key not in stash:
        stash[worker_key] = Worker(parent.config, module_path.parent)
    return DriverFile.from_parent(parent, path=module_path)


def close(config):
    worker = config.stash.get(worker_key, None)
    if worker is not None:
        worker.close()
