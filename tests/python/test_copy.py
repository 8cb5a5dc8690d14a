"""`copy=`: None shares or copies with a reason, False shares or raises, True never overlaps."""

import os
import subprocess
import sys

import isolated
import numpy as np
import pytest
import samples
import torch
from checks import address, assert_same_elements, codes, is_writable, needs_copy, plan_of, refuses
from producers import Producer, Table13, export

import dlpack_bridge as db

IS_COPIED = 2
SOURCES = {
    "numpy": lambda: np.arange(6.0),
    "torch": lambda: torch.arange(6.0),
    "array": lambda: db.asarray(np.arange(6.0)),
    "capsule": lambda: export().capsule(),
    "producer": lambda: Producer(),
    "exchange table": lambda: Table13(export()),
    "bytearray": lambda: bytearray(b"abcdef"),
    "0-d": lambda: np.array(3.0),
    "zero size": lambda: np.empty((0, 3)),
    "slice": lambda: np.arange(12.0)[::2],
}


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
@pytest.mark.parametrize("source", SOURCES)
def test_copy_true_is_fresh_writable_memory(source, to):
    x = SOURCES[source]()
    plan = plan_of(x, to, copy=True)
    assert plan.action == "copy"
    assert codes(plan.reasons) == {"copy_requested"}
    result = db.convert(x, to, copy=True)
    assert plan.nbytes == (result.nbytes if to != "torch" else result.numel() * result.itemsize)
    assert is_writable(result)
    if source != "capsule" and result.shape != (0, 3):
        assert not db.shares_memory(result, x)


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_copy_true_of_the_own_framework_is_fresh_too(to):
    x = db.convert(np.arange(6.0), to)
    result = db.convert(x, to, copy=True)
    assert type(result) is type(x)
    assert address(result) != address(x)
    assert_same_elements(result, x)


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
@pytest.mark.parametrize("source", SOURCES)
def test_copy_false_shares(source, to):
    result = db.convert(SOURCES[source](), to, copy=False)
    if to == "array":
        assert not result.copied


def test_copy_none_shares_when_it_can():
    a = np.arange(6.0)
    assert address(db.to_torch(a, copy=None)) == address(a)


@pytest.mark.parametrize(
    "make, keywords, code",
    [
        (lambda: np.arange(6.0)[::-1], {}, "negative_stride"),
        (lambda: np.arange(6.0), {"dtype": "float32"}, "dtype"),
        (lambda: np.arange(6, dtype=np.dtype("i4").newbyteorder("S")), {}, "byte_order"),
        (lambda: samples.misaligned(), {}, "alignment"),
        (lambda: np.zeros((3, 4)).T, {"order": "C"}, "order"),
        (lambda: b"bytes", {}, "readonly"),
        (lambda: torch.tensor([1j]).conj(), {"dtype": "complex128"}, "dtype"),
    ],
)
def test_copy_false_names_what_would_need_the_copy(make, keywords, code):
    with needs_copy(code, says=["copy=None"]):
        db.to_torch(make(), copy=False, **keywords)
    db.to_torch(make(), copy=None, **keywords)


def test_copy_false_lists_every_reason():
    a = np.arange(12, dtype=np.dtype("f4").newbyteorder("S"))[::-1]
    with needs_copy("negative_stride", "byte_order", "dtype"):
        db.to_torch(a, copy=False, dtype="float64")


def test_copy_false_with_another_blocker_is_no_copy_required_error():
    t = torch.zeros(3, dtype=torch.complex64, requires_grad=True).conj()
    with refuses("requires_grad", "conj"):
        db.to_numpy(t, copy=False)


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_a_producer_that_only_claims_to_have_copied_is_not_believed(to):
    source = export(flags=IS_COPIED)
    result = db.convert(Producer(source), to, copy=True)
    assert address(result) != source.address
    assert source.deleter_calls == 1


@pytest.mark.parametrize("make", [lambda e: e.capsule(), Producer, Table13])
def test_what_a_producer_copied_counts_as_a_copy(make):
    source = export(flags=IS_COPIED)
    plan = plan_of(make(source), "array")
    assert (plan.action, codes(plan.reasons)) == ("copy", {"framework"})
    array = db.asarray(make(source))
    assert array.copied
    assert db.to_numpy(array).tolist() == [0, 1, 2, 3, 4, 5]
    with needs_copy("framework"):
        db.asarray(make(source), copy=False)
    assert codes(plan_of(make(source), "array", copy=True).reasons) == {"copy_requested"}


def test_the_hub_does_not_ask_producers_to_copy():
    producer = Producer()
    db.asarray(producer, copy=True)
    assert not producer.calls[0]["copy"]
    db.asarray(producer)
    assert producer.calls[1]["copy"] is None


def test_copy_false_is_passed_on_to_the_producer():
    producer = Producer()
    db.asarray(producer, copy=False)
    assert producer.calls[0]["copy"] is False


def test_copied_is_what_happened():
    a = np.arange(6.0)
    assert db.asarray(a).copied is False
    assert db.asarray(a, copy=True).copied is True
    assert db.asarray(a, dtype="float32").copied is True


def test_copies_are_independent_in_both_directions():
    a = np.arange(6.0)
    t = db.to_torch(a, copy=True)
    t[0], a[1] = 99, 98
    assert a[0] == 0 and t[1] == 1


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), (1, 0)])
def test_copy_true_is_fresh_whatever_way_the_device_is_written(device):
    t = torch.arange(6.0)
    assert db.to_torch(t, device=device, copy=True).data_ptr() != t.data_ptr()


@pytest.mark.parametrize("layout", samples.PLAIN_LAYOUTS)
def test_copies_of_any_layout_have_the_same_elements(layout):
    a = samples.PLAIN_LAYOUTS[layout]()
    for to in ("numpy", "torch", "array"):
        assert_same_elements(db.convert(a, to, copy=True), a)


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
@pytest.mark.parametrize(
    "keywords",
    [
        {"dtype": "float64"},
        {"dtype": "complex128"},
        {"dtype": "bits", "copy": True},
        {"copy": True},
    ],
)
@pytest.mark.parametrize("size", [2**58, 2**59, 2**60, 2**61, 2**62, 2**63 - 1])
def test_a_broadcast_array_that_grows_beyond_all_memory_is_an_error(size, keywords, to):
    def attempt():
        a = np.broadcast_to(np.zeros(1, "i1"), (size,))
        plan = plan_of(a, to, **keywords)
        assert plan.action in ("copy", "refuse") and plan.nbytes >= 0
        before = db.stats()
        with pytest.raises((MemoryError, db.ExchangeError)):
            db.convert(a, to, **keywords)
        after = db.stats()
        return (after.copies, after.copied_bytes) == (before.copies, before.copied_bytes)

    assert isolated.forked(attempt)


@pytest.mark.parametrize("shape", [(2**31, 2**31), (2**20, 2**20, 2**20), (3, 2**60)])
def test_a_broadcast_array_of_several_axes_beyond_all_memory_is_an_error(shape):
    def attempt():
        a = np.broadcast_to(np.zeros((), "i1"), shape)
        for to in ("numpy", "torch", "array"):
            with pytest.raises((MemoryError, db.ExchangeError)):
                db.convert(a, to, dtype="complex128")
        return True

    assert isolated.forked(attempt)


@pytest.mark.parametrize("copy", [None, True])
def test_a_tensor_of_the_hub_cannot_be_resized_and_its_clone_can(copy):
    t = db.to_torch(np.arange(3.0), copy=copy)
    with pytest.raises(RuntimeError, match="resiz"):
        t.resize_(100)
    assert t.clone().resize_(100).shape == (100,)


def test_a_copy_keeps_its_shape_when_the_source_goes():
    """The shape is read from the producer's memory, which is freed once the copy is made; the C
    library fills freed memory here."""
    code = """if True:
        import numpy as np
        import dlpack_bridge as db

        held = db.asarray(np.arange(6.0).reshape(2, 3))
        for to in ("array", "numpy", "torch"):
            made = db.convert(held.__dlpack__(max_version=(1, 3)), to, copy=True)
            assert tuple(made.shape) == (2, 3), made.shape
    """
    fill = {"MALLOC_PERTURB_": "85", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    environment = {**os.environ, **fill}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
