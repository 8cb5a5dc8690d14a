"""Assertions and measurements that many test files share."""

import contextlib
import gc

import numpy as np
import pytest
import torch

import dlpack_bridge as db


def address(x):
    """The address of the first element."""
    if isinstance(x, np.ndarray):
        return x.__array_interface__["data"][0]
    if isinstance(x, torch.Tensor):
        return x.data_ptr()
    if isinstance(x, db.Array):
        return x.data_ptr
    raise TypeError(f"no address known for {type(x)}")


def codes(reasons):
    return {reason.code for reason in reasons}


def settle():
    """Gives back what was dropped without the GIL: torch frees its memory that way."""
    gc.collect()
    db.collect()


def live():
    """How many managed tensors of the hub are alive, once everything dropped is given back."""
    settle()
    return db.stats().live_arrays


def bits(x):
    """The elements in row-major order as bytes, whatever their type."""
    if isinstance(x, torch.Tensor):
        flat = x.detach().resolve_conj().resolve_neg().reshape(-1).contiguous()
        return flat.view(torch.uint8).numpy().tobytes()
    if isinstance(x, db.Array):
        return x.memoryview().tobytes()
    return np.ascontiguousarray(x).tobytes()


def assert_same_elements(result, source):
    """Same shape and, bit for bit, the same elements."""
    assert tuple(result.shape) == tuple(source.shape)
    assert bits(result) == bits(source)


def is_writable(x):
    """Whether the framework lets its user write (torch always does)."""
    if isinstance(x, np.ndarray):
        return x.flags.writeable
    if isinstance(x, db.Array):
        return not x.readonly
    return True


@contextlib.contextmanager
def refuses(*expected_codes, kind=db.ExchangeError, says=()):
    """The block raises exactly `kind` with at least these blockers and words in the message."""
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    if kind is db.ExchangeError:
        assert not isinstance(error, db.CopyRequiredError), error
    assert set(expected_codes) <= codes(error.blockers), error
    for word in says:
        assert word in str(error), (word, str(error))


def needs_copy(*expected_codes, says=()):
    """The block raises CopyRequiredError: `copy=False` is the only obstacle."""
    return refuses(*expected_codes, kind=db.CopyRequiredError, says=says)


def plan_of(x, to, **keywords):
    """The plan, after checking what holds for every plan."""
    plan = db.plan(x, to, **keywords)
    assert plan.action in ("share", "copy", "refuse")
    assert isinstance(plan.reasons, tuple)
    assert isinstance(plan.blockers, tuple)
    assert bool(plan.blockers) == (plan.action == "refuse")
    assert bool(plan.reasons) or plan.action != "copy"
    if plan.action == "share":
        assert plan.reasons == ()
        assert plan.nbytes == 0
    for reason in plan.reasons + plan.blockers:
        assert isinstance(reason.code, str)
        assert isinstance(reason.message, str) and reason.message
    return plan
