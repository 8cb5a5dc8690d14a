"""Streams where only host memory is involved: checked, and otherwise idle."""

import numpy as np
import pytest
import torch
from checks import address, codes, plan_of, refuses

import dlpack_bridge as db


class CudaStream:
    """An object with the stream protocol."""

    def __init__(self, *answer):
        self.answer = answer

    def __cuda_stream__(self):
        return self.answer


class OldCudaStream:
    """Has the answer as an attribute, as cuda.core's first releases had it."""

    __cuda_stream__ = (0, 0x7F0000001000)


VALID = [
    None,
    -1,
    1,
    2,
    np.int64(7),
    OldCudaStream(),
    0x7F0000001000,
    CudaStream(0, 0),
    CudaStream(0, 0x7F0000001000),
]


@pytest.mark.parametrize("stream", VALID, ids=str)
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_a_valid_stream_is_accepted_and_idle_between_host_arrays(stream, to):
    for source in (np.arange(3.0), torch.arange(3.0), bytearray(3)):
        plan = plan_of(source, to, stream=stream)
        assert plan.action == "share" and plan.waits == ()
        result = db.convert(source, to, stream=stream)
        assert db.to_numpy(result).size == 3


@pytest.mark.parametrize("stream", VALID, ids=str)
def test_copies_on_the_host_ignore_a_valid_stream(stream):
    assert db.to_torch(np.arange(3.0)[::-1], stream=stream).tolist() == [2, 1, 0]
    assert db.to_numpy(torch.arange(3), stream=stream, dtype="float32")[2] == 2


@pytest.mark.parametrize("stream", [True, False, "1", 1.0, object(), [1], b"1", (0, 1)])
@pytest.mark.parametrize("function", [db.to_numpy, db.to_torch, db.asarray])
def test_a_wrong_type_is_a_type_error(stream, function):
    with pytest.raises(TypeError):
        function(np.zeros(3), stream=stream)
    with pytest.raises(TypeError):
        db.plan(np.zeros(3), "torch", stream=stream)


@pytest.mark.parametrize(
    "answer", [(), (0,), (0, "x"), (0, 1, 2), (0, None), (0, True), ("x", 7), (None, 7), (9, 7)]
)
def test_a_broken_stream_object_is_a_type_or_value_error(answer):
    with pytest.raises((TypeError, ValueError)):
        db.to_torch(np.zeros(3), stream=CudaStream(*answer))


def test_record_stream_is_for_device_memory():
    a = np.zeros(3)
    for x in (db.asarray(a), db.to_torch(a), db.to_numpy(torch.zeros(3))):
        for stream in (1, CudaStream(0, 0)):
            with pytest.raises(ValueError):
                db.record_stream(x, stream)


def test_collect_releases_nothing_where_nothing_is_pending():
    db.collect()
    assert db.collect() == 0
    assert db.collect(wait=False) == 0
    assert db.collect(wait=True) == 0


def test_the_host_is_never_ordered():
    a = np.arange(3.0)
    assert address(db.asarray(a, stream=-1)) == address(a)


NO_STREAM = [0, -2, -(2**63), 2**63, 2**64, 2**70, -(2**70), CudaStream(0, 2**70)]


@pytest.mark.parametrize("stream", NO_STREAM, ids=str)
@pytest.mark.parametrize(
    "make, to",
    [
        (lambda: np.zeros(3), "torch"),
        (lambda: np.zeros(3), "array"),
        (lambda: torch.zeros(3), "numpy"),
        (lambda: bytearray(3), "numpy"),
    ],
)
def test_a_number_that_no_device_allows_is_a_refusal(make, to, stream):
    x = make()
    with refuses("stream", says=["stream"]):
        db.convert(x, to, stream=stream)
    assert codes(plan_of(x, to, stream=stream).blockers) == {"stream"}
    with refuses("stream"):
        db.convert(x, to, stream=stream, copy=True)


@pytest.mark.parametrize("stream", [2**63, 2**70, -(2**70), CudaStream(0, 2**70)], ids=str)
def test_record_stream_of_a_huge_number_is_a_value_error(stream):
    with pytest.raises(ValueError):
        db.record_stream(db.asarray(np.zeros(3)), stream)
