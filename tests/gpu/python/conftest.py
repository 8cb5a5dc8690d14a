"""What every GPU test in Python stands on: a GPU, the package that was just built, a time limit, and
nothing left behind."""

import faulthandler
import gc
import os
import sys
from pathlib import Path

# Before anything opens the driver: one hardware queue for each stream, so that streams that are held
# up hold up no others; memory for all.
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("gpulab", "frameworks")

LIMIT = 120  # seconds of one test; more means that something hangs


def why_not():
    try:
        import gpulab
        import torch

        import dlpack_bridge
    except (ImportError, OSError) as error:
        raise pytest.UsageError(f"{error}: run `make test-gpu`") from error
    if getattr(dlpack_bridge, "__file__", None) is None:
        raise pytest.UsageError("dlpack_bridge is a bare folder here: run `make test-gpu`")
    if (why := gpulab.why_no_gpu()) is not None:
        return f"needs a GPU: {why}"
    return None if torch.cuda.is_available() else "needs a GPU: torch.cuda.is_available() is False"


reason = why_not()


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.gpu)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def warm():
    import frameworks

    frameworks.warm_up()


@pytest.fixture(autouse=True)
def time_limit():
    # Ends the process: what waits for the device cannot be interrupted.
    faulthandler.dump_traceback_later(LIMIT, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    import torch

    import dlpack_bridge as db

    yield
    gc.collect()
    torch.cuda.synchronize()
    db.collect(wait=True)
    left = db.stats()
    assert left.pending_releases == 0, "releases are still pending although the device is idle"
    assert left.leaked == 0
