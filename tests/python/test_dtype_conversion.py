"""`dtype=`: the same results as NumPy's astype(casting="unsafe"), and as ml_dtypes' casts."""

import itertools
import warnings

import ml_dtypes
import numpy as np
import pytest
import samples
import torch
from checks import address, bits, codes, needs_copy, plan_of

import dlpack_bridge as db

NAMES = list(samples.COMMON_DTYPES)
SMALL = {**samples.SMALL_FLOATS, **samples.ONLY_ML_DTYPES}


def numpy_dtype(name):
    return np.dtype(getattr(ml_dtypes, name) if name in SMALL else name)


def reference(a, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # complex to real
        return a.astype(numpy_dtype(name), casting="unsafe")


def values(name):
    """Values that fit every target: fractions where the type has them."""
    numbers = [0, 1, 2.5, 100.75, 7, 64]
    return np.array(numbers).astype(numpy_dtype(name)).reshape(2, 3)


@pytest.mark.parametrize("source", NAMES)
def test_every_pair_of_common_types_equals_astype(source):
    a = values(source)
    for target in NAMES:
        expected = reference(a, target)
        for to in ("numpy", "torch", "array"):
            result = db.convert(a, to, dtype=target)
            assert db.dtype(result.dtype) == target
            assert bits(result) == bits(expected), (source, target, to)


@pytest.mark.parametrize("source", ["int8", "int16", "int32", "int64", "float16", "float64"])
def test_negative_values_equal_astype(source):
    a = np.array([-1, -2.75, -100, 3]).astype(source)
    for target in ("int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool"):
        assert bits(db.to_numpy(a, dtype=target)) == bits(reference(a, target)), target


ROUNDED = [
    ("int64", "float32", [2**24 + 1, 2**24 + 3, 2**53 + 1, -(2**53) - 3, 2**62 + 1, 2**63 - 1]),
    ("int64", "float64", [2**53 + 1, 2**53 + 3, 2**63 - 1, -(2**63)]),
    ("uint64", "float32", [2**64 - 1, 2**63 + 1, 2**24 + 1]),
    ("uint64", "float64", [2**64 - 1, 2**63 + 1025, 2**53 + 1]),
    ("float64", "float32", [1 + 2**-24, 1 + 3 * 2**-24, 1e-45, 7e-46, 1e-40, -0.0, np.pi]),
    ("float64", "float16", [1 + 2**-11, 1 + 3 * 2**-11, 6e-8, 2.98e-8, 1e-6, 65504, -0.0, 0.1]),
    ("float32", "float16", [1 + 2**-11, 2049, 2051, 6e-8, 2.98e-8, 65504, -0.0, 0.1]),
    ("float64", "int64", [2.0**62, -(2.0**63), 0.999999, -0.5]),
    ("float64", "uint64", [2.0**63, 2.0**63 + 2048, 0.999]),
    ("float16", "float64", [6e-8, 65504, -0.0, 0.1]),
    ("float64", "bool", [0.0, -0.0, 1e-320, np.nan, -1.0]),
    ("complex128", "bool", [0j, 1e-320j, complex(0, np.nan), -0j]),
    ("complex128", "float32", [1 + 2j, -3.25 - 4j]),
    ("float32", "complex128", [1.5, -0.0, np.inf]),
]


@pytest.mark.parametrize("source, target, numbers", ROUNDED)
def test_rounding_equals_astype(source, target, numbers):
    a = np.array(numbers, dtype=source)
    assert bits(db.to_numpy(a, dtype=target)) == bits(reference(a, target))


@pytest.mark.parametrize(
    "source, target", [*itertools.permutations(["float16", "float32", "float64"], 2)]
)
def test_infinities_and_nan_survive(source, target):
    a = np.array([np.inf, -np.inf, np.nan], dtype=source)
    result = db.to_numpy(a, dtype=target)
    np.testing.assert_array_equal(result, a.astype(target))


def all_patterns(name):
    width = numpy_dtype(name).itemsize
    return np.arange(2 ** (8 * width), dtype=f"u{width}").view(numpy_dtype(name))


@pytest.mark.parametrize("name", ["bfloat16", "float16", *SMALL])
@pytest.mark.parametrize("target", ["float32", "float64"])
def test_widening_is_exact_for_every_bit_pattern(name, target):
    a = all_patterns(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = a.astype(target)
    np.testing.assert_array_equal(db.to_numpy(a, dtype=target), expected)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("source", ["float32", "float64", "float16", "int32"])
def test_narrowing_equals_ml_dtypes(name, source):
    largest = float(ml_dtypes.finfo(numpy_dtype(name)).max)
    smallest = float(ml_dtypes.finfo(numpy_dtype(name)).smallest_subnormal)
    generator = np.random.default_rng(7)
    exponents = generator.uniform(np.log2(smallest) - 1, np.log2(min(largest, 3e4)), 4000)
    a = (2.0**exponents * generator.uniform(0.5, 1, 4000)).astype(source)
    if name != "float8_e8m0fnu":
        a[::2] = -a[::2]
    else:
        a = a[a > 0]
    expected = reference(a, name)
    result = db.to_numpy(a, dtype=getattr(ml_dtypes, name))
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result.view("uint8"), expected.view("uint8"))


def test_bfloat16_rounds_ties_to_even():
    a = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8], dtype=np.float32)
    result = db.to_torch(a, dtype="bfloat16")
    assert torch.equal(result, torch.from_numpy(a).to(torch.bfloat16))


@pytest.mark.parametrize(
    "dtype",
    ["float32", np.float32, np.dtype("float32"), torch.float32, db.dtype("float32")],
    ids=["name", "NumPy type", "NumPy dtype", "torch dtype", "db.dtype"],
)
def test_the_type_can_be_named_in_any_framework_s_words(dtype):
    a = np.arange(3.0)
    assert db.to_torch(a, dtype=dtype).dtype is torch.float32
    assert db.to_numpy(a, dtype=dtype).dtype == np.float32
    assert db.asarray(a, dtype=dtype).dtype == "float32"


def test_ml_dtypes_types_are_names_too():
    for dtype in (ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16), "bfloat16", torch.bfloat16):
        assert db.to_torch(np.arange(3.0), dtype=dtype).dtype is torch.bfloat16
        assert db.to_numpy(torch.arange(3), dtype=dtype).dtype == np.dtype(ml_dtypes.bfloat16)


def test_a_conversion_is_a_fresh_contiguous_writable_copy():
    a = np.arange(12.0).reshape(3, 4).T
    a.flags.writeable = False
    plan = plan_of(a, "torch", dtype="float32")
    assert (plan.action, plan.nbytes) == ("copy", 48)
    assert "dtype" in codes(plan.reasons)
    t = db.to_torch(a, dtype="float32")
    assert t.is_contiguous()
    t[0, 0] = 9
    assert a[0, 0] == 0


def test_the_type_it_already_has_is_no_conversion():
    a = np.arange(3.0)
    assert address(db.to_torch(a, dtype="float64")) == address(a)
    assert plan_of(a, "torch", dtype="float64", copy=False).action == "share"


def test_a_conversion_without_a_copy_is_refused():
    with needs_copy("dtype", says=["float64", "float32"]):
        db.to_torch(np.arange(3.0), dtype="float32", copy=False)


@pytest.mark.parametrize("layout", {**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES})
def test_any_layout_is_converted(layout):
    a = {**samples.PLAIN_LAYOUTS, **samples.MEANINGLESS_STRIDES}[layout]()
    for target in ("float64", "int32", "bool", "complex64"):
        result = db.to_numpy(a, dtype=target)
        np.testing.assert_array_equal(result, a.astype(target))
        assert result.shape == a.shape and result.flags.c_contiguous


@pytest.mark.parametrize("layout", samples.NEGATIVE_STRIDES)
def test_reversed_layouts_are_converted(layout):
    a = samples.NEGATIVE_STRIDES[layout][0]()
    np.testing.assert_array_equal(db.to_torch(a, dtype="int32").numpy(), a.astype("int32"))


def test_foreign_byte_order_and_type_in_one_step():
    a = np.array([1, 2, 258], dtype=np.dtype("i4").newbyteorder("S"))
    result = db.to_torch(a, dtype="float32")
    assert result.tolist() == [1.0, 2.0, 258.0]
    assert "dtype" in codes(plan_of(a, "torch", dtype="float32").reasons)


def test_large_arrays_are_converted_whole():
    a = np.arange(3_000_017, dtype=np.int32)
    np.testing.assert_array_equal(db.to_numpy(a, dtype="float64"), a.astype("float64"))
    m = np.arange(1500 * 1100, dtype=np.float32).reshape(1500, 1100).T
    np.testing.assert_array_equal(db.to_torch(m, dtype="float64").numpy(), m.astype("float64"))
