"""What C++ functions give of their own: copies, memory of Python objects, nothing, errors."""

import gc
import sys
import threading
from pathlib import Path

import caster_build
import isolated
import numpy as np
import pytest
import torch
from checks import settle

import dlpack_bridge as db

lab = caster_build.module()


# ---- copies --------------------------------------------------------------------------------------


def test_what_a_function_copied_is_an_array_like_any_other():
    a = np.arange(6, dtype="float32").reshape(2, 3)
    for x in (a, a.T):
        dense = lab.c_order(x)
        assert type(dense) is np.ndarray and dense.flags.c_contiguous
        assert dense.tolist() == x.tolist()
    assert lab.as_doubles(a).tolist() == (a + 1.0).tolist()
    assert lab.shared_copy().tolist() == [1, 2]
    with db.trace() as trace:
        assert type(lab.marked_as_copied()) is np.ndarray
    assert [record.action for record in trace.records] == ["share"]


def test_an_array_tells_of_the_copies_of_an_export_only():
    x = lab.make_hub()
    assert db.plan(x.__dlpack__(max_version=(1, 3)), "numpy").action == "share"
    copied = x.__dlpack__(max_version=(1, 3), copy=True)
    assert db.plan(copied, "numpy").action == "copy"


# ---- memory of Python objects --------------------------------------------------------------------


class Callable:
    """An owner that notices a call."""

    calls = 0

    def __call__(self):
        type(self).calls += 1


@pytest.mark.parametrize("make", [lambda: [1], Callable, dict])
def test_a_python_object_keeps_memory_alive_and_is_not_called(make):
    def exchange():
        keep = make()
        before = sys.getrefcount(keep)
        result = lab.owned_by(keep)
        assert result.tolist() == [1, 2, 3, 4] and sys.getrefcount(keep) == before + 1
        del result
        gc.collect()
        assert sys.getrefcount(keep) == before
        return Callable.calls

    assert isolated.forked(exchange) == 0


def test_bytes_and_items_keep_memory_alive():
    def exchange():
        result = lab.of_bytes(b"".join([b"a", b"bc"]))
        gc.collect()
        kept = {"item": [0]}
        one = lab.owned_by_item(kept)
        count = sys.getrefcount(kept["item"])
        del one
        return result.tobytes(), result.flags.writeable, count - sys.getrefcount(kept["item"])

    assert isolated.forked(exchange) == (b"abc", False, 1)


def test_a_thread_without_python_may_be_the_last_user():
    def exchange():
        keep = [1]
        before = sys.getrefcount(keep)
        stop = threading.Event()
        other = threading.Thread(target=stop.wait)
        other.start()
        lab.keep(lab.owned_by(keep))
        lab.drop_kept_elsewhere()
        settle()
        stop.set()
        other.join()
        return sys.getrefcount(keep) - before

    assert isolated.forked(exchange) == 0


def test_an_owner_without_a_value_is_refused():
    def exchange():
        with pytest.raises(ValueError, match="without a value"):
            lab.owned_by_nothing()

    isolated.forked(exchange)


# ---- nothing -------------------------------------------------------------------------------------

NOTHINGS = {
    "nothing_given": (),
    "nothing_moved_from": (),
    "nothing_typed": (),
    "nothing_as_numpy": (),
    "nothing_as_array": (),
    "nothing_as_torch": (),
    "nothing_like": (torch.ones(1),),
}


@pytest.mark.parametrize("name", NOTHINGS)
def test_an_empty_result_is_refused(name):
    def call():
        try:
            return getattr(lab, name)(*NOTHINGS[name]).tolist()
        except db.ExchangeError as error:
            return [reason.code for reason in error.blockers]

    assert isolated.forked(call) == ["malformed"]


def test_a_member_without_an_array_is_refused_until_it_has_one():
    def call():
        frame = lab.Frame()
        try:
            return frame.pixels.tolist()
        except db.ExchangeError as error:
            found = [reason.code for reason in error.blockers]
        frame.pixels = np.ones(2, "float32")
        return [*found, *frame.pixels.tolist()]

    assert isolated.forked(call) == ["malformed", 1, 1]


# ---- what is not moved in ------------------------------------------------------------------------


def test_a_vector_that_is_not_moved_in_is_copied():
    assert lab.like_vector(torch.ones(1)).tolist() == [1, 2]


def test_a_tensor_that_is_not_moved_in_shares_its_memory():
    result = lab.like_tensor(np.ones(1, "float32"))
    assert type(result) is np.ndarray and result.tolist() == [[5], [2]]
    assert lab.numpy_of_tensor().tolist() == [1, 2]


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [lab.refuse, lab.refuse_without_gil])
def test_a_refusal_in_the_body_arrives_with_its_blockers(function):
    with pytest.raises(db.ExchangeError, match="the body refuses") as caught:
        function()
    assert [(reason.code, reason.message) for reason in caught.value.blockers] == [
        ("dtype", "no such elements"),
        ("layout", "no such axes"),
    ]


def test_a_foreign_version_is_a_refusal_too():
    with pytest.raises(db.ExchangeError, match=r"9\.1") as caught:
        lab.refuse_version()
    assert [reason.code for reason in caught.value.blockers] == ["version"]


def test_a_failing_driver_is_named():
    with pytest.raises(db.CudaError, match="it fell over") as caught:
        lab.refuse_device()
    assert (caught.value.name, caught.value.code) == ("CUDA_ERROR_OF_A_TEST", 700)


def test_errors_of_the_body_that_are_not_the_hubs_stay_what_they_are():
    a = np.ones(1, "float32")
    with pytest.raises(RuntimeError, match="the body failed") as caught:
        lab.fail(a)
    assert type(caught.value) is RuntimeError
    with pytest.raises(IndexError):
        lab.fail_without_gil(a)


ALONE = """
import sys
sys.modules["dlpack_bridge"] = None
sys.path.insert(0, {folder!r})
import caster_lab
try:
    caster_lab.refuse()
except BufferError as error:
    print(type(error).__module__, type(error).__name__, [r.code for r in error.blockers])
"""


def test_errors_need_no_package():
    out = isolated.expect_clean(ALONE.format(folder=str(Path(lab.__file__).parent)))
    assert out == "dlpack_bridge ExchangeError ['dtype', 'layout']\n"
