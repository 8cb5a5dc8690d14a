"""`order="C"` and `alignment=`: a promise about the result, kept by sharing or by a copy."""

import numpy as np
import pytest
import samples
import torch
from checks import address, assert_same_elements, codes, needs_copy, plan_of

import dlpack_bridge as db

TARGETS = ["numpy", "torch", "array"]


def is_contiguous(x):
    if isinstance(x, torch.Tensor):
        return x.is_contiguous()
    return x.c_contiguous if isinstance(x, db.Array) else x.flags.c_contiguous


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("layout", samples.PLAIN_LAYOUTS)
def test_c_order_is_kept_or_made(layout, to):
    a = samples.PLAIN_LAYOUTS[layout]()
    result = db.convert(a, to, order="C")
    assert is_contiguous(result)
    assert_same_elements(result, a)
    plan = plan_of(a, to, order="C")
    if a.flags.c_contiguous:
        assert plan.action == "share" and address(result) == address(a)
    else:
        assert (plan.action, codes(plan.reasons)) == ("copy", {"order"})
        with needs_copy("order"):
            db.convert(a, to, order="C", copy=False)


def test_c_order_of_the_own_framework():
    a = np.zeros((3, 4))
    assert db.to_numpy(a, order="C") is a
    assert db.to_numpy(a.T, order="C").flags.c_contiguous
    t = torch.zeros(3, 4)
    assert db.to_torch(t, order="C") is t
    assert db.to_torch(t.t(), order="C").is_contiguous()
    assert db.to_torch(t.t()).stride() == (1, 4)


def test_c_order_of_reversed_rows_names_both_reasons_for_torch():
    plan = plan_of(samples.base()[::-1], "torch", order="C")
    assert codes(plan.reasons) == {"negative_stride", "order"}


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("alignment", [1, 2, 8, 16, 64, 256, 4096])
@pytest.mark.parametrize("offset", [0, 4, 8, 16, 32])
def test_alignment_is_kept_or_made(offset, alignment, to):
    a = samples.misaligned("float32", offset=offset)
    source = torch.from_numpy(a) if to == "numpy" else a
    result = db.convert(source, to, alignment=alignment)
    assert address(result) % alignment == 0
    assert_same_elements(result, a)
    if address(a) % alignment == 0:
        assert address(result) == address(a)
        assert plan_of(source, to, alignment=alignment).action == "share"
    else:
        assert codes(plan_of(source, to, alignment=alignment).reasons) == {"alignment"}
        with needs_copy("alignment", says=[str(alignment)]):
            db.convert(source, to, alignment=alignment, copy=False)


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize(
    "keywords", [{"copy": True}, {"dtype": "float16"}, {"dtype": "complex128"}]
)
def test_copies_made_for_other_reasons_are_aligned_too(keywords, to):
    a = np.arange(7, dtype=np.float32)
    for alignment in (128, 1024):
        results = [db.convert(a, to, alignment=alignment, **keywords) for _ in range(5)]
        assert {address(result) % alignment for result in results} == {0}


def test_alignment_of_the_own_framework():
    a = samples.misaligned("float32", offset=4)
    assert db.to_numpy(a, alignment=4) is a
    aligned = db.to_numpy(a, alignment=64)
    assert aligned is not a and address(aligned) % 64 == 0


def test_alignment_is_judged_at_the_first_element():
    a = np.zeros(64, dtype=np.float32)
    start = (-address(a) % 64) // 4
    assert db.to_torch(a[start:], alignment=64, copy=False).data_ptr() == address(a[start:])
    with needs_copy("alignment"):
        db.to_torch(a[start + 1 :], alignment=64, copy=False)


@pytest.mark.parametrize("alignment", [0, 3, 12, -8])
def test_an_alignment_that_is_no_power_of_two_is_a_value_error(alignment):
    with pytest.raises(ValueError):
        db.to_torch(np.zeros(3), alignment=alignment)


@pytest.mark.parametrize("order", ["F", "A", "K", "c", "", 1])
def test_an_unknown_order_is_a_wrong_keyword(order):
    with pytest.raises((ValueError, TypeError)):
        db.to_torch(np.zeros(3), order=order)
