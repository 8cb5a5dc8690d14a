"""How long arguments live, and who may drop them."""

import gc
import sys
import threading
import weakref
from multiprocessing import shared_memory

import caster_build
import isolated
import numpy as np
import pytest
import torch
from checks import live, settle
from producers import Producer, export

lab = caster_build.module()


class Watched(np.ndarray):
    """A NumPy array that can be referred to weakly under its own name."""


def watched():
    a = np.arange(4, dtype="float32").view(Watched)
    return a, weakref.ref(a)


def test_an_argument_is_not_kept_beyond_the_call():
    a, alive = watched()
    lab.sum(a)
    lab.sum_without_gil(a)
    del a
    gc.collect()
    assert alive() is None


def test_a_copy_keeps_it():
    a, alive = watched()
    lab.keep(a)
    del a
    gc.collect()
    assert alive() is not None
    assert lab.sum_of_kept() == 6
    lab.drop_kept()
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("make", [lambda a: a, torch.from_numpy, lambda a: Producer(export(a))])
def test_a_kept_argument_may_be_dropped_on_a_thread_without_python(make):
    before = live()
    a = np.arange(4, dtype="float32")
    count = sys.getrefcount(a)
    lab.keep(make(a))
    gc.collect()
    assert lab.sum_of_kept() == 6
    lab.drop_kept_elsewhere()
    settle()
    assert sys.getrefcount(a) == count
    assert live() == before


def test_a_tensor_is_kept_with_its_memory():
    t = torch.arange(4, dtype=torch.float32)
    lab.keep(t[1:])
    del t
    gc.collect()
    assert lab.sum_of_kept() == 6
    lab.drop_kept()


def test_a_kept_parameter_is_kept_with_the_memory_that_it_had():
    memory, alive = watched()
    p = torch.nn.Parameter(torch.from_numpy(memory), requires_grad=False)
    lab.keep(p)
    p.data = torch.zeros(2)
    del memory
    gc.collect()
    assert alive() is not None and lab.sum_of_kept() == 6
    lab.drop_kept()
    gc.collect()
    assert alive() is None


def test_a_converted_argument_lives_as_long_as_it_is_used():
    source = export([1, 2], "int64")
    assert lab.sum_converted(Producer(source)) == 3
    gc.collect()
    assert (source.exports, source.deleter_calls) == (1, 1)


def test_functions_may_release_the_gil():
    a = np.zeros(200_000, "float32")
    results = []

    def work():
        for _ in range(20):
            results.append(lab.sum_without_gil(a))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0.0] * 80
    lab.scale_without_gil(a, 2)
    settle()


IN_TWO_THREADS = """
import sys, threading
import numpy as np
import caster_build

lab = caster_build.module()
a, done = np.arange(4, dtype="float32"), threading.Event()
{first}

def drop():
    while not done.is_set():
        lab.keep(a)
        lab.drop_kept_under_lock()

sys.setswitchinterval(1e-6)
thread = threading.Thread(target=drop)
thread.start()
for _ in range(1_000_000):
    lab.wait_for_lock()
    lab.sum_without_gil(a)
done.set()
thread.join()
"""


def test_dropping_under_a_lock_does_not_wait_for_a_thread_that_wants_the_lock():
    isolated.expect_clean(IN_TWO_THREADS.format(first="lab.sum_without_gil(a)"), timeout=60)


def test_the_first_calls_of_two_threads_do_not_wait_for_each_other():
    isolated.expect_clean(IN_TWO_THREADS.format(first=""), timeout=60)


def test_references_are_dropped_at_once_without_the_gil_and_beside_other_threads():
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        a, alive = watched()
        lab.sum_without_gil(a)
        del a
        assert alive() is None  # nothing waits for a later holder of the GIL
    finally:
        stop.set()
        other.join()


@pytest.mark.parametrize(
    ("function", "error"), [(lab.fail, RuntimeError), (lab.fail_without_gil, IndexError)]
)
def test_an_exception_of_the_body_drops_the_argument(function, error):
    a, alive = watched()
    with pytest.raises(error):
        function(a)
    del a
    gc.collect()
    assert alive() is None


def test_threads_share_a_parameter():
    a, b = np.ones(1000, "float32"), torch.ones(1000)
    wrong = []

    def work(x):
        for _ in range(200):
            if lab.sum(x) != 1000:
                wrong.append(x)
            try:
                lab.sum(3)
            except TypeError:
                continue
            wrong.append(3)

    threads = [threading.Thread(target=work, args=(x,)) for x in (a, b, a, b)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("keep", [lab.keep, lambda a: lab.in_vector([a, a], int, True)])
@pytest.mark.parametrize("make", [lambda a: a, lambda a: a[1:]])
def test_a_kept_argument_holds_the_buffer_under_an_array(keep, make):
    shared = shared_memory.SharedMemory(create=True, size=64)
    try:
        a = np.ndarray(4, "float32", buffer=shared.buf)
        keep(make(a))
        del a
        gc.collect()
        with pytest.raises(BufferError):
            shared.close()
        lab.drop_kept()
        lab.take_kept_items()
        shared.close()
    finally:
        shared.unlink()


def test_an_argument_that_is_not_kept_leaves_the_buffer_alone():
    memory = bytearray(16)
    lab.sum(np.ndarray(4, "float32", buffer=memory))
    memory.append(0)
