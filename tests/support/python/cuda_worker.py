"""A pytest plugin: runs single tests on the fake CUDA driver, each in a fork of one process.

The process sees the models of torch, CuPy and JAX instead of the real ones. It collects the test
files as pytest does, sends the names, and then runs what it is asked for: a fresh driver, a fresh
hub and fresh models for every test. `cuda_session.py` starts it and holds the other ends of the pipes.
"""

import gc
import json
import os
import select
import signal
import sys
import time

import fake_driver
import pytest
from _pytest.runner import runtestprotocol

TIMEOUT = 120.0


# ---- what holds after each test ------------------------------------------------------------------


def loaded_pools():
    """Every pool of every model that the test has imported."""
    names = {
        "torch": ["pool", "pinned_pool"],
        "cupy": ["pool"],
        "jax._array": ["pool"],
        "numba.cuda": ["pool"],
        "cuda.core": ["pool"],
    }
    for module, pools in names.items():
        for pool in pools if module in sys.modules else ():
            yield f"{module}.{pool}", getattr(sys.modules[module], pool)
    if "raw_cuda" in sys.modules:
        yield from ((f"raw_cuda {kind}", p) for kind, p in sys.modules["raw_cuda"].pools.items())


def settle():
    """Lets the devices run, and gives back all that was dropped."""
    import dlpack_bridge as db

    gc.collect()
    for device in range(fake_driver.device_count()):
        fake_driver.run(device)
    db.collect(wait=True)
    if "jax._array" in sys.modules:
        sys.modules["jax._array"].give_back()
        db.collect(wait=True)
    gc.collect()


def check_what_is_left(driver_broken):
    import cuda_lab
    import device_model

    import dlpack_bridge as db

    assert device_model.findings == []
    assert fake_driver.races() == []
    if driver_broken:
        return
    settle()
    assert fake_driver.races() == []
    stats = db.stats()
    left = {"live_arrays": stats.live_arrays, "pending_releases": stats.pending_releases}
    left["exports, imports of the models"] = sum(cuda_lab.live())
    for name, pool in loaded_pools():
        left[name] = pool.in_use
        pool.empty()
    left["device memory"] = fake_driver.live("device")
    left["managed memory"] = fake_driver.live("managed")
    assert {what: count for what, count in left.items() if count != 0} == {}


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    capture = pyfuncitem.config.pluginmanager.getplugin("capturemanager")
    result = yield
    if pyfuncitem.get_closest_marker("without_driver") is None:
        check_what_is_left(pyfuncitem.get_closest_marker("breaks_driver") is not None)
    assert capture.read_global_capture() == ("", ""), "something was printed"
    return result


# ---- the loop ------------------------------------------------------------------------------------


def pytest_addoption(parser):
    parser.addoption("--pipes", nargs=2, type=int, help="file descriptors: requests, answers")


def pytest_configure(config):
    config.addinivalue_line("markers", "breaks_driver: sticky errors; what is left may be leaked")
    config.addinivalue_line("markers", "without_driver: cuInit fails in this test")


def send(config, answer):
    os.write(config.getoption("pipes")[1], (json.dumps(answer) + "\n").encode())


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    send(session.config, [[item.nodeid, *item.location] for item in session.items])


def run_here(item, pipe):
    reports = runtestprotocol(item, nextitem=None, log=False)
    texts = []
    for report in reports:
        if not report.passed:
            texts += [report.longreprtext, *(f"{head}\n{text}" for head, text in report.sections)]
    with os.fdopen(pipe, "w") as stream:
        stream.write("\n".join(texts))


def run_in_fork(item):
    """What went wrong, as text; a skipped test has no place here and counts as well."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        run_here(item, writable)
        os._exit(0)
    os.close(writable)
    answer, deadline = b"", time.monotonic() + TIMEOUT
    while select.select([readable], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(readable, 65536)
        if not chunk:
            break
        answer += chunk
    else:
        os.kill(child, signal.SIGKILL)
    os.close(readable)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        return answer.decode()
    how = "did not end in time" if status == -signal.SIGKILL else f"ended with {status}"
    return f"the process of {item.nodeid} {how}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    items = {item.nodeid: item for item in session.items}
    gc.collect()
    gc.freeze()  # the forks need not look at it again
    with os.fdopen(session.config.getoption("pipes")[0]) as requests:
        for line in requests:
            send(session.config, run_in_fork(items[json.loads(line)]))
    return True
