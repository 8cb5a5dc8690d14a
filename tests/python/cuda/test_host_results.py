"""Host memory handed out is final, and other Python threads run while the hub waits for it."""

import sys
import threading
import time

import fake_driver as driver
import numpy as np
import pytest
import raw_cuda as raw
from cuda_checks import KINDS, makes, on_torch, torch_array

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]

HOST_RESULTS = {
    "to_numpy": db.to_numpy,
    "to_torch": lambda x: db.to_torch(x, device="cpu"),
    "asarray": lambda x: db.asarray(x, device="cpu"),
    "cuda_host": lambda x: db.asarray(x, device="cuda_host"),
    "from_dlpack": lambda x: db.from_dlpack(x, device="cpu"),
}


def address(result):
    if isinstance(result, np.ndarray):
        return result.ctypes.data
    return result.data_ptr if isinstance(result, db.Array) else result.data_ptr()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [torch_array, raw.array])
@pytest.mark.parametrize("how", HOST_RESULTS)
def test_the_host_reads_without_a_race(how, make, kind):
    p = raw.Stream(kind)
    with on_torch(p):
        result = HOST_RESULTS[how](make(VALUES, p))
    driver.host_access(address(result), 16, 0)
    assert driver.races() == []
    assert np.asarray(db.to_numpy(result)).tolist() == VALUES


def test_the_host_waits_once():
    p = raw.Stream()
    with on_torch(p):
        x = torch_array(VALUES, p)
        db.to_numpy(x)
        before = driver.host_waits()
        db.to_numpy(x)
        assert driver.host_waits() - before == 1


def test_a_dropped_source_goes_back_after_the_copy():
    p = raw.Stream()
    with on_torch(p):
        db.to_numpy(torch_array(VALUES, p))
        torch_array([9, 9, 9, 9], p)
    db.to_numpy(raw.array(VALUES, p))
    raw.array([9, 9, 9, 9], p)


@pytest.mark.parametrize("kind", [raw.Array, raw.WithInterface])
@pytest.mark.parametrize("memory", [raw.CUDA_HOST, raw.CUDA_MANAGED])
def test_pinned_and_managed_memory_is_shared_when_its_writers_are_done(memory, kind):
    x = raw.array(VALUES, raw.Stream(), memory=memory)
    n = db.to_numpy(x)
    driver.host_access(n.ctypes.data, n.nbytes, 0)
    assert n.ctypes.data == x.address
    assert driver.races() == []


def test_other_threads_run_while_the_hub_copies_to_the_host():
    p = raw.Stream()
    x = torch_array(np.zeros(1 << 24), p)
    turns, stop = [0], threading.Event()

    def spin():
        while not stop.is_set():
            turns[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=spin)
    thread.start()
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1000)  # from here on nobody takes the GIL, it must be given
        with on_torch(p):
            seen = 0
            for _ in range(5):
                before = turns[0]
                db.to_numpy(x)
                seen += turns[0] - before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
    assert seen > 0


def test_other_threads_run_while_the_first_copy_loads_its_kernel():
    p = raw.Stream()
    x = torch_array(VALUES, p)
    loading = []

    def go_on():
        wait_until = time.monotonic() + 5
        while not (loading or time.monotonic() > wait_until):
            loading.extend([True] * driver.held())
        driver.hold(0)

    driver.hold(1)
    thread = threading.Thread(target=go_on)
    thread.start()
    with on_torch(p):
        y = db.asarray(x, dtype="float64")
    thread.join()
    assert loading == [True]
    del y


def test_device_to_device_never_blocks_the_host():
    p, c = raw.Stream(), raw.Stream()
    with on_torch(p):
        x = torch_array(VALUES, p)
        db.asarray(x)
        with makes(1, 1):
            db.to_torch(x, stream=c)
        before = driver.host_waits()
        db.to_torch(x, stream=c, copy=True)
        db.to_torch(x, stream=raw.Stream(device=1), device="cuda:1")
        db.asarray(x, dtype="float64", order="C")
        assert driver.host_waits() == before
