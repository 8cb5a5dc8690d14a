"""`db.stats`: counters that add up, whatever happened."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from checks import live

import dlpack_bridge as db


def difference(before, after):
    return after.copies - before.copies, after.copied_bytes - before.copied_bytes


def test_live_arrays_counts_arrays_results_and_unconsumed_capsules():
    before = live()
    array = db.asarray(np.arange(3.0))
    assert live() == before + 1
    capsule = array.__dlpack__()
    assert live() == before + 2
    result = db.to_torch(array)
    assert live() == before + 3
    del capsule
    assert live() == before + 2
    del array
    assert live() > before
    del result
    assert live() == before


def test_live_arrays_counts_each_of_many():
    before = live()
    arrays = [db.asarray(np.zeros(3)) for _ in range(1000)]
    assert live() == before + 1000
    del arrays[::2]
    assert live() == before + 500
    arrays.clear()
    assert live() == before


def test_a_consumed_capsule_counts_until_its_consumer_lets_go():
    before = live()
    t = torch.from_dlpack(db.asarray(np.arange(3.0)))
    assert live() > before
    del t
    assert live() == before


def test_views_of_a_result_keep_it_counted():
    before = live()
    view = db.to_numpy(torch.arange(10))[3:5]
    assert live() == before + 1
    del view
    assert live() == before


@pytest.mark.parametrize("count", [0, 1, 12, 1000, 100_000])
def test_a_copy_for_numpy_counts_until_the_last_view_and_base_of_it_go(count):
    before = live()
    copy = db.to_numpy(np.arange(count), copy=True)
    view, base = copy[::2], copy.base
    del copy
    assert live() == before + 1
    np.testing.assert_array_equal(view, np.arange(count)[::2])
    del view
    assert live() == before + 1
    del base
    assert live() == before


def test_a_share_copies_nothing():
    before = db.stats()
    db.to_torch(np.arange(6.0))
    db.to_numpy(torch.arange(6.0))
    db.asarray(np.arange(6.0))
    assert difference(before, db.stats()) == (0, 0)


@pytest.mark.parametrize(
    "copy, nbytes",
    [
        (lambda: db.to_torch(np.arange(6.0), copy=True), 48),
        (lambda: db.to_torch(np.arange(6.0), dtype="float32"), 24),
        (lambda: db.to_torch(np.arange(6.0)[::-1]), 48),
        (lambda: db.to_torch(b"abc"), 3),
        (lambda: db.to_numpy(np.empty((0, 3)), copy=True), 0),
        (lambda: db.to_torch(np.broadcast_to(1.0, (10, 10))), 800),
    ],
)
def test_a_copy_is_counted_with_its_bytes(copy, nbytes):
    before = db.stats()
    copy()
    assert difference(before, db.stats()) == (1, nbytes)


def test_copies_of_many_threads_are_counted_exactly():
    small, large = np.ones(12, np.float32), np.ones(4096, np.float32)  # the larger without the GIL
    rounds = 500

    def copy_both(_):
        for _ in range(rounds):
            db.to_numpy(small, copy=True)
            db.to_numpy(large, copy=True)

    before = db.stats()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(copy_both, range(8)))
    after = db.stats()
    assert difference(before, after) == (16 * rounds, 8 * rounds * (48 + 16384))
    assert after.live_arrays == before.live_arrays


def test_a_refusal_and_a_plan_count_nothing():
    before = db.stats()
    with pytest.raises(db.ExchangeError):
        db.to_numpy(torch.ones(3, requires_grad=True))
    db.plan(np.arange(6.0), "torch", copy=True)
    after = db.stats()
    assert difference(before, after) == (0, 0)
    assert after.live_arrays == before.live_arrays


def test_nothing_is_pending_or_leaked_on_the_host():
    stats = db.stats()
    assert stats.leaked == 0
    array = db.asarray(np.zeros(3))
    del array
    assert db.stats().pending_releases == stats.pending_releases


def test_stats_are_a_snapshot_that_can_be_read():
    stats = db.stats()
    alive = stats.live_arrays
    array = db.asarray(np.zeros(3))
    assert stats.live_arrays == alive
    assert db.stats().live_arrays == alive + 1
    assert "live_arrays" in str(stats)
    del array
