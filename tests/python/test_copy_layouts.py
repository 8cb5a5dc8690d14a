"""Random elements of every type in random layouts: each arrives as the reference has it."""

import math

import ml_dtypes
import numpy as np
import samples
from hypothesis import given, settings
from hypothesis import strategies as st

import dlpack_bridge as db

SETTINGS = settings(max_examples=1500, deadline=None, derandomize=True, database=None)
FLOAT8 = [n for n in samples.SMALL_FLOATS | samples.ONLY_ML_DTYPES if n.startswith("float8")]
INTEGERS = [name for name in samples.COMMON_DTYPES if "int" in name]
NAMES = [*samples.COMMON_DTYPES, "bfloat16", *FLOAT8]


def dtype(name):
    return np.dtype(getattr(ml_dtypes, name, None) or name)


@st.composite
def index(draw, extent):
    step = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 5, -1, -2]))
    low = draw(st.integers(0, min(extent, 9)))
    return slice(low, None, step) if step > 0 else slice(None, low - 1 if low else None, step)


@st.composite
def shapes(draw):
    """0 to 4 axes, of which some are about as long as vectors and cache lines are."""
    ndim = draw(st.integers(0, 4))
    most = {0: 1, 1: 300, 2: 70, 3: 20, 4: 6}[ndim]
    return tuple(draw(st.lists(st.integers(0, most), min_size=ndim, max_size=ndim)))


@st.composite
def arrays(draw):
    """Any bits, at any address, sliced, turned, repeated and in any order of axes and bytes."""
    shape, t = draw(shapes()), dtype(draw(st.sampled_from(NAMES)))
    offset = draw(st.sampled_from([0, 0, 1, 2, 3, 4, 8, 13]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    memory = random.integers(0, 256, math.prod(shape) * t.itemsize + offset, np.uint8)
    if t == bool:
        memory &= 1
    swaps = t.kind in "iufc" and t.isbuiltin == 1 and draw(st.integers(0, 4)) == 0
    a = np.ndarray(shape, t.newbyteorder("S") if swaps else t, memory.data, offset)
    a = a[(*(draw(index(extent)) for extent in shape), ...)]
    a = a.transpose(draw(st.permutations(range(a.ndim))))
    if draw(st.integers(0, 5)) == 0:
        a = np.broadcast_to(a[..., None], (3, *a.shape, draw(st.integers(0, 40))))
    return a


def integer_of(value, source, target):
    """The integer of a float, by the rule that the documentation states."""
    limits = np.iinfo(target)
    if source in FLOAT8 and not math.isfinite(value):
        return 0 if math.isnan(value) else limits.max if value > 0 else limits.min
    if target == "uint64" and value >= 2**63:
        return int(value) if value < 2**64 else 0
    bits = 64 if limits.bits == 64 or target == "uint32" else 32
    fits = -(2 ** (bits - 1)) - 1 < value < 2 ** (bits - 1)
    return int(value) if fits else -(2 ** (bits - 1))


def expected(a, target):
    a = np.ascontiguousarray(a).astype(a.dtype.newbyteorder("="))
    source = a.dtype.name
    with np.errstate(all="ignore"):
        if target in INTEGERS and source not in [*INTEGERS, "bool"]:
            values = a.real.astype(np.float64).ravel().tolist()
            mask = 2 ** np.iinfo(target).bits - 1
            wrapped = [integer_of(value, source, target) & mask for value in values]
            return np.array(wrapped, f"u{dtype(target).itemsize}").reshape(a.shape)
        pair = {source, target}
        if len(pair) == 2 and "float8_e8m0fnu" in pair and pair <= set(FLOAT8):
            a = a.astype(np.float32)  # ml_dtypes has no cast between them
        if a.dtype.kind == "c" and dtype(target).kind not in "cb":
            a = a.real
        return a.astype(dtype(target))


@SETTINGS
@given(arrays(), st.sampled_from(NAMES))
def test_every_element_arrives_as_the_reference_has_it(a, target):
    result = db.convert(a, "numpy", dtype=dtype(target), copy=True, order="C")
    assert result.dtype == dtype(target) and result.shape == a.shape
    assert result.tobytes() == expected(a, target).tobytes()
