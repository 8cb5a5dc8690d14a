"""Read-only memory stays read-only, or `readonly=` says what happens."""

import mmap

import dlpack_lab as lab
import numpy as np
import pytest
import torch
from checks import address, assert_same_elements, codes, needs_copy, plan_of, refuses
from producers import ByInterface, Producer, Table13, export

import dlpack_bridge as db

READ_ONLY = 1


def frozen():
    a = np.arange(6.0)
    a.flags.writeable = False
    return a


def read_only_map():
    with open(__file__, "rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


READ_ONLY_SOURCES = {
    "writeable=False": frozen,
    "bytes": lambda: b"some bytes",
    "read-only memoryview": lambda: memoryview(bytearray(8)).toreadonly(),
    "read-only mmap": read_only_map,
    "READ_ONLY capsule": lambda: export(flags=READ_ONLY).capsule(),
    "READ_ONLY producer": lambda: Producer(export(flags=READ_ONLY)),
    "READ_ONLY exchange table": lambda: Table13(export(flags=READ_ONLY)),
    "read-only interface": lambda: ByInterface(frozen()),
    "db.Array": lambda: db.asarray(frozen()),
    "broadcast": lambda: np.broadcast_to(np.arange(3.0), (2, 3)),
}


@pytest.mark.parametrize("source", READ_ONLY_SOURCES)
def test_read_only_memory_stays_read_only_in_the_hub_and_in_numpy(source):
    array = db.asarray(READ_ONLY_SOURCES[source]())
    assert array.readonly
    assert not array.copied
    a = db.to_numpy(array)
    assert not a.flags.writeable
    assert address(a) == array.data_ptr
    with pytest.raises(ValueError):
        a[...] = 1


@pytest.mark.parametrize("source", [name for name in READ_ONLY_SOURCES if name != "broadcast"])
def test_a_read_only_result_cannot_be_unlocked(source):
    x = READ_ONLY_SOURCES[source]()
    if isinstance(x, np.ndarray):
        x = db.asarray(x)
    a = db.to_numpy(x)
    with pytest.raises(ValueError):
        a.flags.writeable = True


@pytest.mark.parametrize("source", READ_ONLY_SOURCES)
def test_every_export_of_read_only_memory_says_so(source):
    array = db.asarray(READ_ONLY_SOURCES[source]())
    assert lab.read(array.__dlpack__(max_version=(1, 3)))["flags"] & READ_ONLY
    owned = lab.api_export(db.Array.__dlpack_c_exchange_api__, array)
    assert owned.fields()["flags"] & READ_ONLY
    owned.release()
    assert not np.from_dlpack(array).flags.writeable
    assert array.memoryview().readonly
    assert db.asarray(db.to_numpy(array)).readonly


@pytest.mark.parametrize("source", READ_ONLY_SOURCES)
def test_torch_gets_a_writable_copy_by_default(source):
    x = db.asarray(READ_ONLY_SOURCES[source]())
    plan = plan_of(x, "torch")
    assert (plan.action, codes(plan.reasons), plan.readonly) == ("copy", {"readonly"}, False)
    t = db.to_torch(x)
    assert_same_elements(t, db.to_numpy(x))
    assert address(t) != x.data_ptr
    t.fill_(1)


def test_a_copy_leaves_the_read_only_source_alone():
    a = frozen()
    db.to_torch(a)[0] = 99
    assert a[0] == 0


def test_torch_shares_read_only_memory_when_told_so():
    a = frozen()
    plan = plan_of(a, "torch", readonly="share")
    assert plan.action == "share"
    assert address(db.to_torch(a, readonly="share")) == address(a)
    assert address(db.to_torch(a, readonly="share", copy=False)) == address(a)


def test_read_only_memory_can_be_an_error():
    a = frozen()
    with refuses("readonly", says=["read", "readonly="]):
        db.to_torch(a, readonly="error")
    assert codes(plan_of(a, "torch", readonly="error").blockers) == {"readonly"}


def test_read_only_memory_for_torch_without_a_copy_is_refused():
    with needs_copy("readonly", says=['readonly="share"']):
        db.to_torch(frozen(), copy=False)


@pytest.mark.parametrize("policy", ["copy", "share", "error"])
def test_the_policy_is_idle_for_writable_memory_and_for_targets_that_can_say_read_only(policy):
    a = np.arange(6.0)
    assert address(db.to_torch(a, readonly=policy)) == address(a)
    b = frozen()
    assert address(db.convert(b, "array", readonly=policy)) == address(b)
    assert not db.convert(db.asarray(b), "numpy", readonly=policy).flags.writeable


def test_a_legacy_capsule_is_taken_as_writable():
    source = export(versioned=False)
    a = db.to_numpy(source.capsule())
    assert a.flags.writeable
    assert address(db.to_torch(source.capsule())) == source.address


def test_writable_data_stays_writable_through_every_hop():
    a = np.arange(6.0)
    hop = db.to_numpy(db.asarray(db.to_torch(db.asarray(a))))
    assert hop.flags.writeable
    hop[0] = 42
    assert a[0] == 42
    assert np.from_dlpack(db.asarray(a)).flags.writeable


def test_plans_say_whether_the_result_is_read_only():
    assert plan_of(frozen(), "array").readonly is True
    assert plan_of(np.arange(3.0), "array").readonly is False
    assert plan_of(frozen(), "array", copy=True).readonly is False
    assert plan_of(frozen(), "torch").readonly is False


def test_nothing_is_warned_in_a_fresh_process():
    import isolated

    isolated.expect_clean(
        "import numpy as np, torch, dlpack_bridge as db\n"
        "a = np.arange(3.0); a.flags.writeable = False\n"
        "db.to_torch(a); db.to_torch(a, readonly='share'); db.to_torch(b'abc')\n"
        "db.to_torch(a, copy=True); db.to_torch(np.broadcast_to(a, (2, 3)))\n"
    )


def test_immutable_bytes_never_change_through_torch():
    data = b"abc"
    t = db.to_torch(data)
    assert t.dtype is torch.uint8
    t[0] = 0
    assert data == b"abc"


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
@pytest.mark.parametrize("flags", [0, READ_ONLY])
def test_an_empty_array_without_an_address_keeps_its_flag(shape, flags):
    x = Producer(lab.Export(0, shape, flags=flags))
    for source in (x, db.asarray(x)):
        assert db.plan(source, "numpy").readonly == bool(flags)
        assert db.to_numpy(source).flags.writeable != bool(flags)


def test_readonly_error_is_told_with_the_copy_that_was_forbidden():
    source = frozen()[::-1]
    plan = plan_of(source, "torch", copy=False, readonly="error")
    assert codes(plan.blockers) == {"negative_stride", "readonly"}
    with needs_copy("negative_stride", "readonly"):
        db.to_torch(source, copy=False, readonly="error")
    assert db.to_torch(source, readonly="error").tolist() == [5, 4, 3, 2, 1, 0]
