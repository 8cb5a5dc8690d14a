"""Capsules that lie: one clear error or a correct result, never a crash, never a stray read.

Each case runs in a fork, so that a crash fails one test; the counters come back with the answer.
"""

import gc
import platform

import dlpack_lab as lab
import isolated
import numpy as np
import pytest
import torch
from checks import codes
from producers import OnDevice, Producer, Table13

import dlpack_bridge as db

TARGETS = ["numpy", "torch", "array"]
HUGE = 2**62


def outcome(source, make, to, keywords):
    """What happens to one exchange: (codes of the refusal or None, shape, deleters, exports)."""
    found, shape = None, None
    try:
        shape = tuple(db.convert(make(source), to, **keywords).shape)
    except db.ExchangeError as error:
        found = sorted(codes(error.blockers)) or ["none"]
        assert str(error)
    gc.collect()
    return found, shape, source.deleter_calls, source.exports


def exchange(fields, to, make, **keywords):
    """The outcome for a tensor with these fields, found out in a fork."""
    fields = {"values": np.zeros(8), "dtype": (2, 32, 1), **fields}
    values = fields.pop("values")
    data, shape = fields.pop("data", values), fields.pop("shape", values.shape)
    source = lab.Export(data, shape, fields.pop("strides", None), **fields)
    return isolated.forked(lambda: outcome(source, make, to, keywords))


def as_capsule(source):
    return source.capsule()


# name -> (fields, codes of which at least one is expected)
REFUSED = {
    "ndim -1": ({"ndim": -1}, {"malformed"}),
    "ndim -1 without a shape": ({"ndim": -1, "shape": None}, {"malformed"}),
    "ndim -2^31": ({"ndim": -(2**31), "shape": None}, {"malformed"}),
    "ndim 2^31 - 1": ({"ndim": 2**31 - 1}, None),
    "ndim 2^31 - 1 without a shape": ({"ndim": 2**31 - 1, "shape": None}, {"malformed"}),
    "shape NULL": ({"shape": None, "ndim": 2}, {"malformed"}),
    "negative extent": ({"shape": (-1,)}, {"malformed"}),
    "negative extents": ({"shape": (-2, -3)}, {"malformed"}),
    "least extent": ({"shape": (-(2**63),)}, {"malformed"}),
    "size overflows": ({"shape": (2**40, 2**40)}, {"malformed"}),
    "size overflows to zero": ({"shape": (2**32, 2**32)}, {"malformed"}),
    "size overflows to small": ({"shape": (2**32 + 1, 2**32)}, {"malformed"}),
    "bytes overflow": ({"shape": (2**62,)}, {"malformed"}),
    "greatest extent": ({"shape": (2**63 - 1,)}, {"malformed"}),
    "NULL data": ({"data": None, "shape": (6,)}, {"malformed"}),
    "stride overflows": ({"shape": (4,), "strides": (HUGE,)}, {"malformed"}),
    "strides add up to an overflow": ({"shape": (3, 3), "strides": (2**60, 2**60)}, {"malformed"}),
    "least stride": ({"shape": (2,), "strides": (-(2**63),)}, {"malformed"}),
    "byte_offset without end": ({"byte_offset": 2**64 - 1}, {"malformed"}),
    "an address that wraps": ({"data": 2**64 - 8}, {"malformed"}),
    "wraps along strides": ({"data": 2**64 - 64, "strides": (4,)}, {"malformed"}),
    "below address 0": ({"data": 8, "strides": (-1,)}, {"malformed"}),
    "code 99": ({"dtype": (99, 8, 1)}, {"dtype"}),
    "code 255": ({"dtype": (255, 8, 1)}, {"dtype"}),
    "opaque handle": ({"dtype": (3, 64, 1), "shape": (1,)}, {"dtype"}),
    "bits 0": ({"dtype": (2, 0, 1)}, {"dtype"}),
    "bits 7": ({"dtype": (0, 7, 1)}, {"dtype"}),
    "bits 24": ({"dtype": (2, 24, 1), "shape": (1,)}, {"dtype"}),
    "bits 255": ({"dtype": (0, 255, 1), "shape": (1,)}, {"dtype"}),
    "bool of 16 bits": ({"dtype": (6, 16, 1), "shape": (1,)}, {"dtype"}),
    "bfloat of 32 bits": ({"dtype": (4, 32, 1), "shape": (1,)}, {"dtype"}),
    "32 lanes of complex": ({"dtype": (5, 64, 32), "shape": (1,)}, {"lanes"}),
    "lanes 0": ({"dtype": (2, 32, 0)}, {"lanes", "dtype", "malformed"}),
    "lanes 4": ({"dtype": (2, 32, 4), "shape": (1,)}, {"lanes"}),
    "lanes 65535": ({"dtype": (2, 32, 65535), "shape": (1,)}, {"lanes"}),
    **(
        {"byte_offset in the upper half": ({"byte_offset": 2**63}, {"malformed"})}
        if platform.machine() == "x86_64"
        else {}
    ),
    "major 0": ({"version": (0, 8)}, {"version"}),
    "major 2": ({"version": (2, 0)}, {"version"}),
    "major 255 with poison": ({"version": (255, 0), "ndim": 2**31 - 1, "data": 0x10}, {"version"}),
}


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("make", [as_capsule, Producer, Table13])
def test_it_is_refused_and_released_once(case, to, make):
    fields, expected = REFUSED[case]
    found, _, deleters, exports = exchange(fields, to, make)
    assert found is not None, "it was accepted"
    if expected:
        assert expected & set(found), found
    assert deleters == exports == 1


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("keywords", [{"copy": True}, {"dtype": "float64"}, {"dtype": "bits"}])
@pytest.mark.parametrize(
    "case", ["shape NULL", "size overflows", "NULL data", "stride overflows", "ndim 2^31 - 1"]
)
def test_it_is_refused_whatever_was_asked_for(case, keywords, to):
    found, _, deleters, exports = exchange(REFUSED[case][0], to, as_capsule, **keywords)
    assert found is not None and deleters == exports == 1


# Strange, but nothing in it is false: a result or one clear error, and no crash.
STRANGE = {
    "no context": {"null_context": True},
    "minor 200": {"version": (1, 200)},
    "unknown flags": {"flags": 1 << 40},
    "padded flag on bytes": {"flags": 4, "dtype": (1, 8, 1)},
    "all flags": {"flags": 2**64 - 1},
    "65 dimensions": {"shape": (1,) * 65},
    "1000 dimensions": {"shape": (1,) * 1000},
    "empty beside an overflow": {"shape": (2**62, 2**62, 0)},
    "empty with a wild stride": {"shape": (0, 3), "strides": (2**62, -(2**63))},
    "size-1 axis with a wild stride": {"shape": (1, 3), "strides": (2**62, 1)},
    "byte offset beyond the address space": {"byte_offset": 2**64 - 4, "shape": (1,)},
    "device id 7": {"device": (1, 7)},
    "device id -1": {"device": (1, -1)},
    "device type 0": {"device": (0, 0)},
    "device type -1": {"device": (-1, 0)},
    "device type 99": {"device": (99, 0)},
    "device type 2^31 - 1": {"device": (2**31 - 1, 0)},
    "packed without whole bytes": {"dtype": (17, 4, 1), "shape": (3,)},
    "packed and padded": {"dtype": (17, 4, 1), "shape": (3,), "flags": 4},
}


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("case", STRANGE)
@pytest.mark.parametrize("keywords", [{}, {"copy": True}])
def test_it_is_a_result_or_one_clear_error(case, to, keywords):
    fields = {"values": np.zeros(64), **STRANGE[case]}
    found, _, deleters, exports = exchange(fields, to, as_capsule, **keywords)
    assert found is None or "none" not in found
    assert deleters == exports == 1


@pytest.mark.parametrize("case", ["no context", "minor 200"])
def test_what_is_only_unusual_is_accepted(case):
    found, values, _, _ = exchange(STRANGE[case], "numpy", Producer)
    assert found is None and values == (8,)


@pytest.mark.parametrize("strides", [(0,), (0, 0), (1, 1), (0, 1), (2, 1), (-1, 1)])
def test_elements_that_overlap_are_read_only(strides):
    shape = (4,) * len(strides)
    source = lab.Export(np.zeros(64, "f4"), shape, strides, byte_offset=128)
    assert db.asarray(source.capsule()).readonly
    assert not db.to_numpy(source.capsule()).flags.writeable


def test_a_layout_too_complex_to_judge_is_read_only_and_decided_quickly():
    generator = np.random.default_rng(1)
    strides = tuple(int(s) for s in generator.integers(10**8, 10**9, 12))
    found = isolated.forked(
        lambda: (
            db.asarray(lab.Export(1 << 40, (5,) * 12, strides, dtype=(1, 8, 1)).capsule()).readonly
        ),
        timeout=30,
    )
    assert found in (True, False)


@pytest.mark.parametrize("device", [2, 4, 7, 8, 10, 14, 15, 99])
@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_memory_of_another_device_is_never_touched(device, to):
    source = lab.Export(0x10, (3,), device=(device, 0))

    def attempt():
        with pytest.raises((db.ExchangeError, db.CudaError)):
            db.convert(source.capsule(), to, copy=True)
        gc.collect()
        return source.deleter_calls

    assert isolated.forked(attempt) == 1


def test_a_shared_result_over_unreadable_memory_is_not_read():
    def share():
        source = lab.Export(0x1000, (3,))
        result = db.to_numpy(source.capsule())
        pointer = result.__array_interface__["data"][0]
        plan = str(db.plan(result, "torch"))
        db.info(result), db.asarray(result), repr(db.asarray(result)), plan
        return pointer

    assert isolated.forked(share) == 0x1000


@pytest.mark.parametrize("announced", [(2, 0), (8, 0), (99, 0), (0, 0), (-1, -1)])
def test_a_device_that_differs_from_the_announced_one(announced):
    def attempt():
        producer = OnDevice(announced)
        try:
            result = db.to_numpy(producer).tolist()
        except (db.ExchangeError, db.CudaError):
            result = None
        gc.collect()
        return result, producer.export.exports - producer.export.deleter_calls

    result, left = isolated.forked(attempt)
    assert result in (None, [0, 1, 2, 3, 4, 5]) and left == 0


def test_hostile_capsules_leave_the_rest_of_the_process_whole():
    for case in ("shape NULL", "code 99", "major 2", "negative extent"):
        fields = {"dtype": (2, 32, 1), **REFUSED[case][0]}
        shape = fields.pop("shape", (8,))
        with pytest.raises(db.ExchangeError):
            db.to_torch(lab.Export(np.zeros(8), shape, **fields).capsule())
    assert db.to_numpy(torch.arange(3)).tolist() == [0, 1, 2]
