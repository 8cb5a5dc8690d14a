"""Many threads, and threads that Python never saw."""

import functools
import gc
import sys
import threading
from multiprocessing import shared_memory

import dlpack_lab as lab
import isolated
import numpy as np
import pytest
import torch
from checks import address, codes, live
from producers import Producer, Table13, export, export_of

import dlpack_bridge as db

TABLE = db.Array.__dlpack_c_exchange_api__


def in_threads(count, work):
    """Runs work(n) in `count` threads that start together; raises what any of them raised."""
    barrier, errors = threading.Barrier(count), []

    def run(n):
        try:
            barrier.wait()
            work(n)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.fixture
def quick_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_eight_threads_exchange(quick_switches):
    before = live()

    def work(n):
        a = np.full(64, float(n))
        for _ in range(300):
            t = db.to_torch(a)
            assert t.data_ptr() == address(a)
            assert db.to_numpy(t)[63] == n
            assert db.asarray(t, copy=True).shape == (64,)
            assert db.to_torch(a[::-1])[0] == n
            torch.from_dlpack(db.asarray(a))

    in_threads(8, work)
    assert live() == before


def test_eight_threads_share_one_source(quick_switches):
    source, a = export(), np.arange(6.0)
    before = sys.getrefcount(a)

    def work(n):
        for _ in range(300):
            db.to_torch(a)
            db.asarray(source.capsule())
            db.plan(a, "torch", copy=True)
            db.info(a)
            db.stats()

    in_threads(8, work)
    assert sys.getrefcount(a) == before
    assert source.exports == source.deleter_calls == 8 * 300


def test_one_capsule_is_consumed_by_one_thread_only(quick_switches):
    def consume(capsule, results, n):
        try:
            results.append(db.to_numpy(capsule))
        except db.ExchangeError as error:
            assert codes(error.blockers) == {"capsule"}

    for _ in range(200):
        source, results = export(), []
        capsule = source.capsule()
        in_threads(4, functools.partial(consume, capsule, results))
        assert len(results) == 1
        results.clear()
        del capsule
        assert source.deleter_calls == 1


def test_new_types_in_many_threads(quick_switches):
    def work(n):
        for i in range(100):
            kind = type(f"Kind{n}_{i}", (Producer,), {})
            assert db.to_numpy(kind()).tolist() == [0, 1, 2, 3, 4, 5]

    in_threads(8, work)


def test_results_dropped_in_another_thread():
    source = export()
    results = [db.to_torch(source.capsule()) for _ in range(50)]
    in_threads(1, lambda n: results.clear())
    gc.collect()
    assert source.deleter_calls == 50


@pytest.mark.parametrize("hold_gil", [False, True], ids=["GIL free", "GIL held by the waiter"])
@pytest.mark.parametrize("kind", ["ndarray", "bytearray", "capsule", "copy"])
def test_a_release_on_a_foreign_thread_never_waits_for_the_gil(kind, hold_gil):
    source = export()
    x = {
        "ndarray": np.arange(6.0),
        "bytearray": bytearray(48),
        "capsule": np.arange(6.0),
        "copy": np.arange(6.0),
    }[kind]
    references = sys.getrefcount(x)
    array = db.asarray(source.capsule() if kind == "capsule" else x, copy=kind == "copy" or None)
    exported = lab.api_export(TABLE, array)
    taken = lab.take(array.__dlpack__())
    del array
    assert exported.release_on_thread(hold_gil=hold_gil)
    assert taken.release_on_thread(hold_gil=hold_gil)
    db.collect()
    assert sys.getrefcount(x) == references
    assert source.deleter_calls == source.exports


def test_a_producer_with_python_objects_is_released_from_a_foreign_thread():
    a = np.arange(6.0)
    source = export_of(a)
    before = sys.getrefcount(a)
    array = db.asarray(Producer(source))
    owned = lab.api_export(TABLE, array)
    del array
    assert owned.release_on_thread(hold_gil=True)
    db.collect()
    assert sys.getrefcount(a) == before and source.deleter_calls == 1


def test_what_a_foreign_thread_released_is_given_back_without_another_call():
    data = bytearray(8)
    owned = lab.api_export(TABLE, db.asarray(data))
    assert owned.release_on_thread()
    for _ in range(100_000):
        try:
            data.append(0)
            break
        except BufferError:
            continue
    assert len(data) == 9


def test_any_entry_point_gives_back_what_a_foreign_thread_released():
    for entry in (db.collect, lambda: db.asarray(b"x"), lambda: db.to_torch(bytearray(1))):
        a = np.arange(6.0)
        before = sys.getrefcount(a)
        owned = lab.api_export(TABLE, db.asarray(a))
        assert owned.release_on_thread(hold_gil=True)
        entry()
        assert sys.getrefcount(a) == before


def test_collect_counts_what_it_released():
    gc.collect()
    db.collect()
    assert db.collect() == 0
    released = db.collect(wait=True)
    assert type(released) is int and released == 0


def test_many_releases_from_foreign_threads(quick_switches):
    a = np.arange(6.0)
    before, alive = sys.getrefcount(a), live()

    def work(n):
        for _ in range(20):
            owned = lab.api_export(TABLE, db.asarray(a))
            assert owned.release_on_thread()

    in_threads(8, work)
    db.collect()
    assert live() == alive and sys.getrefcount(a) == before


def test_a_deleter_that_reenters_runs_from_a_foreign_thread():
    seen = []
    source = export(callback=lambda: seen.append(db.to_numpy(torch.arange(2)).tolist()))
    array = db.asarray(source.capsule())
    owned = lab.api_export(TABLE, array)
    del array
    assert owned.release_on_thread()
    db.collect()
    assert seen == [[0, 1]] and source.deleter_calls == 1


def test_torch_releases_in_its_own_threads():
    source = export(np.arange(8.0), "float32")
    t = db.to_torch(source.capsule()).requires_grad_(True)
    ((t * 2) ** 2).sum().backward()
    assert t.grad.tolist() == [8 * i for i in range(8)]
    del t
    gc.collect()
    assert source.deleter_calls == 1


@pytest.fixture
def idle_thread():
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


def test_what_torch_drops_beside_an_idle_thread_goes_back_at_the_next_entry(idle_thread):
    a = np.arange(6.0)
    references = sys.getrefcount(a)
    t = db.to_torch(a)
    assert sys.getrefcount(a) == references + 1
    del t
    db.collect()
    assert sys.getrefcount(a) == references


def test_what_torch_drops_beside_an_idle_thread_goes_back_without_the_hub_too(idle_thread):
    a = np.arange(6.0)
    references = sys.getrefcount(a)
    t = db.to_torch(a)
    del t
    for _ in range(2):  # the end of a round is where Python looks after pending calls
        pass
    assert sys.getrefcount(a) == references


def test_what_torch_drops_in_the_only_thread_goes_back_at_once():
    isolated.expect_clean(
        """
import sys
import numpy as np, torch, dlpack_bridge as db

a = np.arange(6.0)
references = sys.getrefcount(a)
t = db.to_torch(a)
assert sys.getrefcount(a) == references + 1
t = None; assert db.stats().pending_releases == 0 and sys.getrefcount(a) == references
"""
    )


def test_shared_memory_can_be_closed_after_its_last_tensor(idle_thread):
    shared = shared_memory.SharedMemory(create=True, size=64)
    try:
        t = db.to_torch(shared.buf)
        del t
        db.collect()
        shared.close()
    finally:
        shared.unlink()


def test_large_copies_let_other_threads_run():
    ticks, done = [], threading.Event()
    a = np.zeros((2000, 2000))

    def tick():
        while not done.is_set():
            ticks.append(1)

    thread = threading.Thread(target=tick)
    thread.start()
    for _ in range(10):
        db.to_torch(a.T, order="C", copy=True)
    done.set()
    thread.join()
    assert ticks


def test_exchange_tables_in_many_threads(quick_switches):
    source = export()

    def work(n):
        held = Table13(source)
        for _ in range(300):
            db.to_numpy(held)

    in_threads(8, work)
    assert source.exports == source.deleter_calls == 8 * 300


def test_the_first_use_of_the_hub_may_happen_in_eight_threads_at_once():
    isolated.expect_clean(
        "import threading, numpy as np, torch, dlpack_bridge as db\n"
        "barrier, wrong = threading.Barrier(8), []\n"
        "def work():\n"
        "    barrier.wait()\n"
        "    for _ in range(50):\n"
        "        if db.to_numpy(db.to_torch(np.arange(3))).tolist() != [0, 1, 2]: wrong.append(1)\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert not wrong and db.stats().live_arrays == 0\n"
    )
