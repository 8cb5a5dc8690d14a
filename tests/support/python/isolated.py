"""Runs code where a crash or a hang costs one test and not the whole run."""

import os
import pickle
import select
import signal
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

import dlpack_lab


class Crash(AssertionError):
    """The child was ended by a signal or did not answer in time."""


def _answer(function, pipe):
    try:
        outcome = ("value", function())
    except BaseException:  # noqa: BLE001  the parent shall see whatever it was
        outcome = ("error", traceback.format_exc())
    with os.fdopen(pipe, "wb") as stream:
        pickle.dump(outcome, stream)
    os._exit(0)


def forked(function, timeout=60.0):
    """Returns what `function` returns in a fork of this process; it must be picklable."""
    readable, writable = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn about forking beside threads
        child = os.fork()
    if child == 0:
        os.close(readable)
        _answer(function, writable)
    os.close(writable)
    deadline, answer = time.monotonic() + timeout, b""
    while select.select([readable], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(readable, 65536)
        if not chunk:
            break
        answer += chunk
    else:
        os.kill(child, signal.SIGKILL)
    os.close(readable)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        raise Crash(f"ended by {signal.Signals(os.WTERMSIG(status)).name}")
    kind, value = pickle.loads(answer)
    if kind == "error":
        raise AssertionError(value)
    return value


def environment():
    """The environment in which a fresh interpreter finds the laboratory and the helpers."""
    folders = [str(Path(dlpack_lab.__file__).parent), str(Path(__file__).parent)]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(folders))


def interpreter(script, *arguments, timeout=300.0, options=("-W", "error")):
    """Runs `script` in a fresh interpreter away from the repository; returns the finished process."""
    return subprocess.run(
        [sys.executable, *options, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
        cwd=Path(dlpack_lab.__file__).parent,
        check=False,
    )


def expect_clean(script, timeout=300.0, options=("-W", "error")):
    """Runs `script`, which must end with exit code 0 and nothing on stderr; returns its stdout."""
    done = interpreter(script, timeout=timeout, options=options)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stdout, done.stderr)
    return done.stdout
