"""`dtype="bits"`, packed types, and small floats without ml_dtypes."""

import isolated
import ml_dtypes
import numpy as np
import pytest
import samples
import torch
from checks import address, bits, codes, live, plan_of, refuses
from producers import export

import dlpack_bridge as db

WIDTHS = {8: "uint8", 16: "uint16", 32: "uint32", 64: "uint64"}
ALL = {**samples.COMMON_DTYPES, **samples.SMALL_FLOATS}


@pytest.mark.parametrize("dtype", [name for name in ALL if ALL[name][1] <= 64])
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_bits_is_the_same_memory_as_unsigned_integers(dtype, to):
    t = samples.torch_values(dtype)
    result = db.convert(t, to, dtype="bits")
    assert db.dtype(result.dtype) == WIDTHS[ALL[dtype][1]]
    assert address(result) == address(t)
    assert tuple(result.shape) == (2, 3)
    assert bits(result) == bits(t)
    assert plan_of(t, to, dtype="bits").action == "share"


def test_bits_keeps_strides():
    a = np.arange(12, dtype=np.float32).reshape(3, 4).T
    assert db.asarray(a, dtype="bits").strides == (1, 4)
    assert db.to_torch(a, dtype="bits").stride() == (1, 4)


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_there_is_no_unsigned_integer_of_128_bits(to):
    with refuses("dtype", says=["complex128"]):
        db.convert(torch.zeros(3, dtype=torch.complex128), to, dtype="bits")


def test_bits_of_an_unsigned_integer_is_the_array_itself():
    a = np.arange(3, dtype=np.uint16)
    assert db.to_numpy(a, dtype="bits") is a


def test_bits_can_be_asked_of_a_copy():
    a = np.ones(3, dtype=np.float32)
    result = db.to_numpy(a, dtype="bits", copy=True)
    assert result.tolist() == [0x3F800000] * 3
    assert address(result) != address(a)


@pytest.mark.parametrize("dtype", samples.ONLY_ML_DTYPES)
def test_bits_serve_where_torch_lacks_the_type(dtype):
    a = np.ones(3).astype(getattr(ml_dtypes, dtype))
    t = db.to_torch(a, dtype="bits")
    assert t.dtype is torch.uint8
    assert address(t) == address(a)


def packed():
    return torch.tensor([0x21, 0x43, 0x65], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)


def test_packed_float4_is_carried_by_arrays_of_the_hub():
    t = packed()
    array = db.asarray(t)
    assert (array.dtype.code, array.dtype.bits, array.dtype.lanes) == (17, 4, 2)
    assert array.data_ptr == address(t)
    back = db.to_torch(array)
    assert back.dtype is torch.float4_e2m1fn_x2
    assert address(back) == address(t)
    assert back.shape == t.shape


def test_packed_float4_goes_to_numpy_only_as_its_bytes():
    t = packed()
    with refuses(says=['dtype="bits"']):
        db.to_numpy(t)
    a = db.to_numpy(t, dtype="bits")
    assert a.dtype == np.uint8
    assert a.tolist() == [0x21, 0x43, 0x65]
    assert address(a) == address(t)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_packed_float4_is_never_unpacked_by_guess(dtype):
    with refuses():
        db.to_numpy(packed(), dtype=dtype)


@pytest.mark.parametrize("code", [15, 16])
def test_packed_float6_is_no_numpy_type(code):
    source = export(np.zeros(6, dtype="uint8"), "uint8", dtype=(code, 6, 4), shape=(2,))
    with refuses():
        db.to_numpy(source.capsule())


@pytest.mark.parametrize("lanes", [2, 4, 16])
@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_vector_types_are_refused_naming_code_bits_and_lanes(lanes, to):
    capsule = export(np.zeros(4 * lanes, "f4"), shape=(4,), dtype=(2, 32, lanes)).capsule()
    with refuses("lanes", says=["2", "32", str(lanes)]):
        db.convert(capsule, to)


WITHOUT_ML_DTYPES = """
import sys
sys.modules["ml_dtypes"] = None
import torch, dlpack_bridge as db
t = torch.tensor([1.0, -2.5]).to(getattr(torch, "{dtype}"))
try:
    db.to_numpy(t)
except db.ExchangeError as error:
    text = str(error)
    print("ml_dtypes" in text, 'dtype="bits"' in text, 'dtype="float32"' in text)
print(db.to_numpy(t, dtype="bits").dtype, db.to_numpy(t, dtype="float32").tolist())
print(db.asarray(t).dtype == "{dtype}", torch.equal(db.to_torch(db.asarray(t)).float(), t.float()))
"""


@pytest.mark.parametrize("dtype, unsigned", [("bfloat16", "uint16"), ("float8_e5m2", "uint8")])
def test_without_ml_dtypes_the_error_names_three_ways_out(dtype, unsigned):
    out = isolated.expect_clean(WITHOUT_ML_DTYPES.format(dtype=dtype))
    assert out.splitlines() == ["True True True", f"{unsigned} [1.0, -2.5]", "True True"]


def test_the_plan_of_bits_gives_no_reason():
    t = torch.zeros(3, dtype=torch.bfloat16)
    assert codes(plan_of(t, "numpy", dtype="bits").reasons) == set()


IS_SUBBYTE_TYPE_PADDED = 4


def padded(shape=(4,), dtype=(17, 4, 1)):
    """Each element of a narrow type in a byte of its own."""
    return export(np.arange(16), "uint8", shape=shape, dtype=dtype, flags=IS_SUBBYTE_TYPE_PADDED)


@pytest.mark.parametrize("dtype", [(17, 4, 1), (15, 6, 1), (16, 6, 1)])
@pytest.mark.parametrize("shape", [(4,), (2, 8)])
@pytest.mark.parametrize(
    "to, keywords",
    [
        ("numpy", {"dtype": "bits"}),
        ("numpy", {"dtype": "bits", "copy": True}),
        ("torch", {"dtype": "bits"}),
        ("array", {"dtype": "bits"}),
        ("numpy", {"copy": True}),
        ("torch", {"copy": True}),
        ("array", {"copy": True}),
        ("numpy", {"dtype": "float32"}),
        ("array", {"dtype": "float32"}),
        ("numpy", {}),
    ],
)
def test_padded_elements_are_not_read_as_packed_ones(to, keywords, shape, dtype):
    source, before = padded(shape, dtype), live()
    with refuses("dtype"):
        db.convert(source.capsule(), to, **keywords)
    assert "dtype" in codes(plan_of(source.capsule(), to, **keywords).blockers)
    assert source.exports == source.deleter_calls == 2
    assert live() == before


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_bits_is_no_remedy_for_padded_elements(to):
    with refuses("dtype") as caught:
        db.convert(padded().capsule(), to, copy=True)
    assert 'dtype="bits"' not in str(caught.value)


def test_the_bits_of_complex_numbers_are_aligned_as_integers():
    room = np.zeros(8 * 4 + 64, np.uint8)
    start = -room.ctypes.data % 8 + 4
    x = room[start : start + 32].view(np.complex64)
    assert db.plan(x, "torch").action == "share"
    assert codes(db.plan(x, "torch", dtype="bits").reasons) == {"alignment"}
    assert address(db.to_torch(x, dtype="bits")) % 8 == 0
    assert plan_of(x[:0], "torch", dtype="bits").action == "share"


def test_the_remedy_of_packed_elements_can_be_followed():
    whole = export(np.zeros(2, "u1"), "uint8", dtype=(17, 4, 1), shape=(4,))
    odd = export(np.zeros(2, "u1"), "uint8", dtype=(17, 4, 1), shape=(3,))
    with refuses("dtype", says=['pass dtype="bits"']):
        db.to_numpy(whole.capsule())
    assert db.to_numpy(whole.capsule(), dtype="bits").nbytes == 2
    with refuses("dtype") as caught:
        db.to_numpy(odd.capsule())
    assert "bits" not in str(caught.value)
    with refuses("layout", says=["pad it in the producer"]):
        db.to_numpy(odd.capsule(), dtype="bits")
