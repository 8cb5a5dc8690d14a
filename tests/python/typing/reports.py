"""What a strict type checker must make of arrays, reports and errors. Read by mypy, never run."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import CapsuleType, assert_type

import dlpack_bridge as db


def array(x: db.Array) -> None:
    assert_type(x.shape, tuple[int, ...])
    assert_type(x.strides, tuple[int, ...])
    assert_type(x.ndim + x.size + x.itemsize + x.nbytes + x.data_ptr, int)
    assert_type(x.readonly, bool)
    assert_type(x.c_contiguous, bool)
    assert_type(x.copied, bool)
    assert_type(x.dtype, db.dtype)
    assert_type(x.dtype.name, str)
    assert_type(x.dtype.code + x.dtype.bits + x.dtype.lanes + x.dtype.itemsize, int)
    assert_type(x.dtype == "float32", bool)
    assert_type(x.device == (1, 0), bool)
    assert_type(x.__dlpack__(), CapsuleType)
    assert_type(x.__dlpack__(stream=None, dl_device=(1, 0), copy=True), CapsuleType)
    assert_type(x.__dlpack_device__(), tuple[int, int])
    assert_type(x.__array__(), NDArray[Any])
    assert_type(x.memoryview(), memoryview)
    assert_type(len(x), int)


def plan(x: NDArray[np.float64]) -> None:
    plan = db.plan(x, "torch", copy=False)
    assert_type(plan, db.Plan)
    assert_type(plan.action, Literal["share", "copy", "refuse"])
    assert_type(plan.reasons, tuple[db.Reason, ...])
    assert_type(plan.blockers, tuple[db.Reason, ...])
    assert_type([reason.code + reason.message for reason in plan.reasons], list[str])
    assert_type(plan.nbytes, int)
    assert_type(plan.readonly, bool)
    assert_type(plan.protocol + plan.source + plan.target, str)
    assert_type(plan.waits, tuple[tuple[Any, Any], ...])


def trace(x: NDArray[np.float64]) -> None:
    with db.trace() as trace:
        db.to_torch(x)
    assert_type(trace, db.trace)
    assert_type(trace.copied_bytes, int)
    for record in trace.records:
        assert_type(record.action, Literal["share", "copy", "refuse"])
        assert_type(record.reasons, tuple[db.Reason, ...])
        assert_type(record.nbytes, int)
        assert_type(record.source + record.target + record.protocol, str)


def the_rest(x: NDArray[np.float64]) -> None:
    info = db.info(x)
    assert_type(info.framework, str)
    assert_type(info.dtype, db.dtype | None)
    assert_type(info.shape, tuple[int, ...])
    assert_type(info.strides, tuple[int, ...] | None)
    assert_type(info.readonly, bool)
    assert_type(info.alignment, int)
    stats = db.stats()
    assert_type(stats.live_arrays + stats.pending_releases + stats.leaked, int)
    assert_type(stats.copies + stats.copied_bytes, int)
    assert_type(db.collect(wait=True), int)
    assert_type(db.__version__, str)


def errors(x: NDArray[np.float64]) -> None:
    try:
        db.to_torch(x)
    except db.ExchangeError as error:
        assert_type(error.blockers, tuple[db.Reason, ...])
    except db.CudaError as error:
        assert_type(error.name, str)
        assert_type(error.code, int)


def is_a_buffer_error(error: db.ExchangeError) -> BufferError:
    return error


def is_all_of(error: db.CopyRequiredError) -> tuple[db.ExchangeError, ValueError]:
    return error, error


def is_both(error: db.NotAnArrayError) -> tuple[TypeError, AttributeError]:
    return error, error


def is_a_runtime_error(error: db.CudaError) -> RuntimeError:
    return error
