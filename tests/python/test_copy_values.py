"""Every value of every conversion equals that of NumPy and ml_dtypes, in every layout."""

import platform
import warnings

import ml_dtypes
import numpy as np
import pytest
import samples

import dlpack_bridge as db

X86 = platform.machine() in {"x86_64", "AMD64"}
FLOAT8 = [n for n in samples.SMALL_FLOATS | samples.ONLY_ML_DTYPES if n.startswith("float8")]
INTEGERS = [name for name in samples.COMMON_DTYPES if "int" in name]
NAMES = [*samples.COMMON_DTYPES, "bfloat16", *FLOAT8]


def dtype(name):
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def quietly(convert):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # complex to real
        with np.errstate(all="ignore"):
            return convert()


def converted(a, name):
    return db.convert(a, "numpy", dtype=dtype(name), copy=True)


def reference(a, name):
    scale = {"float8_e8m0fnu"} & {a.dtype.name, name}
    if scale and {a.dtype.name, name} <= set(FLOAT8):
        a = a.astype(np.float32)  # ml_dtypes has no cast between them
    return quietly(lambda: a.astype(dtype(name), casting="unsafe"))


def short_reference(a, name):
    """NumPy's result for arrays of one element: for uint32 that of long ones differs."""
    real = a.real if a.dtype.kind == "c" else a
    return np.concatenate([reference(x, name) for x in real.reshape(-1, 1)])


def patterns(a):
    return np.ascontiguousarray(a).view(np.uint8).reshape(*a.shape, a.dtype.itemsize)


def assert_equal(result, expected, source):
    wrong = (patterns(result) != patterns(expected)).any(axis=-1)
    assert not wrong.any(), (
        f"{source.dtype} {source[wrong][:3]} to {result.dtype}: {result[wrong][:3]}, "
        f"not {expected[wrong][:3]}; {wrong.sum()} of {wrong.size} differ"
    )


def around(values):
    """Values and their neighbours on both sides."""
    below = np.nextafter(values, values.dtype.type(-np.inf))
    return np.concatenate([values, below, np.nextafter(values, values.dtype.type(np.inf))])


def turning_points():
    """All small floats and what lies halfway between two of them, as float64."""
    points = []
    for name in ("float16", "bfloat16", *FLOAT8):
        small = all_patterns(name).astype(np.float32)
        small = np.unique(small[np.isfinite(small)]).astype(np.float64)
        points += [small, (small[1:] + small[:-1]) / 2]
    for bits in (7, 8, 15, 16, 31, 32, 63, 64):
        points.append(np.array([2.0**bits, -(2.0**bits), 2.0**bits - 1, 1 - 2.0**bits]))
    return np.concatenate(points)


def all_patterns(name):
    t = dtype(name)
    return np.arange(256**t.itemsize, dtype=f"u{t.itemsize}").view(t)


def random_patterns(name, count):
    t = dtype(name)
    return np.random.default_rng(1).integers(0, 256, count * t.itemsize, np.uint8).view(t)


def values(name):
    """All patterns of a small type; of a large one random patterns and those where results turn."""
    t = dtype(name)
    if t.kind == "b":
        return np.array([False, True])
    if t.itemsize <= 2:
        return all_patterns(name)
    if t.kind in "iu":
        scattered = random_patterns(name, 5000)
        return np.concatenate([scattered >> t.type(s) for s in range(0, 8 * t.itemsize, 3)])
    part = np.dtype(np.float32 if name in {"float32", "complex64"} else np.float64)
    numbers = np.concatenate(
        [around(quietly(lambda: turning_points().astype(part))), random_patterns(part.name, 50000)]
    )
    return numbers if t.kind == "f" else np.stack([numbers, numbers[::-1]], axis=-1).view(t)[:, 0]


def compare(a, name):
    result, expected = converted(a, name), reference(a, name)
    if name in INTEGERS and a.dtype.name not in INTEGERS and not X86:
        exact = reference(a.real, "float64")
        limits = np.iinfo(name)
        fits = (exact > float(limits.min) - 1) & (exact < float(limits.max))
        result, expected, a = result[fits], expected[fits], a[fits]
    elif name == "uint32" and a.dtype.name not in INTEGERS:
        differ = result != expected
        result, a = result[differ], a[differ]
        expected = short_reference(a, name) if a.size else result
    assert_equal(result, expected, a)


@pytest.mark.parametrize("source", NAMES)
def test_every_pair_equals_numpy_and_ml_dtypes(source):
    a = values(source)
    for target in NAMES:
        compare(a, target)


def test_a_truth_value_of_any_byte_becomes_one():
    odd = np.array([0, 1, 2, 128, 255], np.uint8).view(bool)
    for target in NAMES:
        if target != "bool":
            assert_equal(converted(odd, target), converted(odd.view(np.uint8) != 0, target), odd)


def layouts(a):
    """The same elements of a (6, 10, 7) array in many layouts; each with a name."""
    wide = np.repeat(np.repeat(a, 2, axis=2), 3, axis=0)
    moved = np.zeros(a.nbytes + 1, np.uint8)
    odd = np.ndarray(a.shape, a.dtype, moved.data, offset=1)
    odd[...] = a
    yield "Fortran order", np.asfortranarray(a)
    yield "inner axes swapped", np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2)
    yield "outer axis last", np.ascontiguousarray(np.moveaxis(a, 0, -1)).transpose(2, 0, 1)
    yield "every other element", wide[::3, :, ::2]
    yield "backward", np.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1]
    yield "an odd address", odd
    if a.dtype.kind in "iufc" and a.dtype.itemsize > 1 and a.dtype.isbuiltin == 1:
        yield "the other byte order", a.astype(a.dtype.newbyteorder("S"))


@pytest.mark.parametrize("source", NAMES)
def test_every_layout_gives_the_same_values(source):
    flat = values(source)
    a = np.resize(flat[:: max(flat.size // 420, 1)], (6, 10, 7))
    for target in NAMES:
        expected = converted(a, target)
        for name, b in layouts(a):
            result = converted(b, target)
            assert patterns(result).tobytes() == patterns(expected).tobytes(), (name, target)
            assert result.flags.c_contiguous


@pytest.mark.parametrize(
    "source, target", [("uint8", "float32"), ("float64", "float16"), ("float32", "bfloat16")]
)
@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_large_arrays_give_the_same_values_as_small_ones(source, target, axes):
    some = values(source)
    a = np.resize(some, (3001, 2999)).transpose(axes)
    assert_equal(
        converted(a, target), np.resize(reference(some, target), (3001, 2999)).transpose(axes), a
    )


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65, 127, 1000])
def test_results_do_not_depend_on_the_length(length):
    for source in ("float32", "float64"):
        a = values(source)
        for target in NAMES:
            assert_equal(
                converted(a[-length:], target), converted(a, target)[-length:], a[-length:]
            )
