"""How many threads a copy takes, and who in the process may say so."""

import os

import isolated
import pytest

STARTED_BY = """
import os, time
import numpy as np
import dlpack_bridge as db

def started_by(a):
    def running():
        return len(os.listdir("/proc/self/task"))
    before = running()
    db.asarray(a, copy=True)
    return running() - before

large, small = np.zeros(1 << 25, np.uint8), np.zeros((1 << 19) - 16, np.uint8)
"""
two_processors = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="one processor: every copy is made by one thread"
)
pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return monkeypatch


def started(script):
    return [int(n) for n in isolated.expect_clean(STARTED_BY + script).split()]


@two_processors
def test_a_small_copy_starts_no_thread_and_a_large_one_does():
    assert started("print(started_by(small))") == [0]
    assert started("print(started_by(large))")[0] >= 1


@two_processors
def test_a_megabyte_read_and_written_is_worth_a_thread():
    assert started("print(started_by(np.zeros(1 << 19, np.uint8)))")[0] >= 1


@two_processors
def test_the_threads_stay_for_the_next_copy():
    assert started("started_by(large); print(started_by(large))") == [0]


@pytest.mark.parametrize("number, more", [("1", 0), ("1,4", 0), ("2", 1)])
@two_processors
def test_omp_num_threads_is_kept_to(environment, number, more):
    environment.setenv("OMP_NUM_THREADS", number)
    assert started("print(started_by(large))") == [more]


@pytest.mark.parametrize("number", ["", "0", "-3", "many"])
@two_processors
def test_a_number_that_makes_no_sense_is_ignored(environment, number):
    environment.setenv("OMP_NUM_THREADS", number)
    assert started("print(started_by(large))")[0] >= 1


@two_processors
def test_torch_set_num_threads_is_kept_to():
    script = """
import torch
torch.set_num_threads(1)
alone = started_by(large)
torch.set_num_threads(2)
print(alone, started_by(large))
"""
    assert started(script) == [0, 1]


@two_processors
def test_the_processors_of_the_process_are_kept_to():
    script = """
all_of_them = os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(all_of_them)})
alone = started_by(large)
os.sched_setaffinity(0, all_of_them)
time.sleep(0.01)  # the answer is kept for a millisecond
print(alone, int(started_by(large) > 0))
"""
    assert started(script) == [0, 1]


@two_processors
def test_a_process_ends_while_its_threads_sleep_or_wait_for_more():
    isolated.expect_clean(STARTED_BY + "started_by(large)")
    isolated.expect_clean(STARTED_BY + "import time; started_by(large); time.sleep(0.1)")


@two_processors
def test_a_forked_child_starts_threads_of_its_own():
    script = """
import warnings
started_by(large)
warnings.simplefilter("ignore")  # newer Pythons warn about forking beside threads
child = os.fork()
if child == 0:
    os._exit(10 + started_by(large))
print(int(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) > 10))
"""
    assert started(script) == [1]
