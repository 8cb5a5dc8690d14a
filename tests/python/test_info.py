"""`db.info`: what the hub sees, without owning, consuming or raising a refusal."""

import dlpack_lab as lab
import numpy as np
import pytest
import torch
import torch_states
from checks import address, live
from producers import ByInterface, Producer, Table13, export

import dlpack_bridge as db


def test_info_of_a_numpy_array():
    a = np.arange(12, dtype="f4").reshape(3, 4).T
    info = db.info(a)
    assert info.framework == "numpy"
    assert info.dtype == "float32"
    assert info.device == "cpu"
    assert tuple(info.shape) == (4, 3)
    assert tuple(info.strides) == (1, 4)
    assert info.readonly is False
    assert info.protocols


def test_info_of_a_tensor():
    info = db.info(torch.zeros(2, 3, dtype=torch.bfloat16))
    assert info.framework == "torch"
    assert info.dtype == "bfloat16"
    assert info.device == (1, 0)
    assert (tuple(info.shape), tuple(info.strides)) == ((2, 3), (3, 1))


@pytest.mark.parametrize("shift", [0, 4, 8, 16, 36])
def test_alignment_is_a_power_of_two_that_divides_the_address(shift):
    raw = np.zeros(64, dtype=np.float32)
    a = raw[((-address(raw) % 128) + shift) // 4 :][:4]
    alignment = db.info(a).alignment
    assert alignment & (alignment - 1) == 0 and alignment >= 4
    assert address(a) % alignment == 0
    if shift:
        assert alignment == shift & -shift


SOURCES = {
    "array": lambda: db.asarray(np.arange(6, dtype="f4")),
    "capsule": lambda: export().capsule(),
    "legacy capsule": lambda: export(versioned=False).capsule(),
    "producer": Producer,
    "exchange table": lambda: Table13(export()),
    "interface": lambda: ByInterface(np.arange(6, dtype="f4")),
    "memoryview": lambda: memoryview(np.arange(6, dtype="f4")),
}


@pytest.mark.parametrize("source", SOURCES)
def test_info_of_every_kind_of_source(source):
    x = SOURCES[source]()
    before = live()
    info = db.info(x)
    assert (info.dtype, info.device, tuple(info.shape)) == ("float32", "cpu", (6,))
    assert tuple(info.strides) == (1,)
    assert info.readonly is False
    assert live() == before


def test_info_sees_read_only_memory():
    assert db.info(b"abc").readonly is True
    assert db.info(np.broadcast_to(1.0, (3,))).readonly is True
    assert db.info(export(flags=1).capsule()).readonly is True


def test_info_leaves_capsules_and_producers_as_they_were():
    source = export()
    capsule = source.capsule()
    db.info(capsule)
    assert lab.name(capsule) == "dltensor_versioned" and source.deleter_calls == 0
    producer = Producer()
    db.info(producer)
    assert producer.export.exports == producer.export.deleter_calls


def test_info_of_memory_on_a_device_without_an_adapter():
    info = db.info(export(device=(8, 0)).capsule())
    assert info.device == (8, 0)
    assert tuple(info.shape) == (6,)


def test_info_of_what_would_be_refused():
    assert db.info(torch.ones(3, requires_grad=True)).framework == "torch"
    assert tuple(db.info(torch_states.conjugated()).shape) == (3,)


@pytest.mark.parametrize("x", [[1], 3, None, "abc", {}])
def test_info_of_what_is_no_array_is_a_type_error(x):
    with pytest.raises(db.NotAnArrayError):
        db.info(x)


def test_info_can_be_read_by_a_person():
    text = str(db.info(np.zeros((2, 3), dtype="f4")))
    for word in ("numpy", "float32", "cpu", "2, 3"):
        assert word in text


def test_an_array_lists_the_interface_that_it_has():
    assert "array_interface" in db.info(db.asarray(np.ones(2))).protocols
    wide = db.asarray(torch.ones(2, dtype=torch.bfloat16))
    assert not hasattr(wide, "__array_interface__")
    assert "array_interface" not in db.info(wide).protocols
