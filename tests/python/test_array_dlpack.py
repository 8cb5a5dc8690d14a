"""`Array.__dlpack__` and `__dlpack_device__`: every keyword, every error class, every flag."""

import dlpack_lab as lab
import numpy as np
import pytest
import samples
import torch
from checks import address, assert_same_elements, live, refuses
from producers import export

import dlpack_bridge as db

READ_ONLY, IS_COPIED = 1, 2
LEGACY = [None, (0, 0), (0, 8)]
VERSIONED = [(1, 0), (1, 1), (1, 3), (1, 99), (2, 0), (255, 0)]


def six():
    return db.asarray(np.arange(6, dtype="f4").reshape(2, 3))


def frozen():
    return db.asarray(np.frombuffer(b"read-only", dtype="u1"))


def reversed_array():
    return db.asarray(np.arange(6.0)[::-1])


@pytest.mark.parametrize("max_version", LEGACY)
def test_without_a_version_of_1_the_capsule_is_a_legacy_one(max_version):
    array = six()
    fields = lab.read(array.__dlpack__(max_version=max_version))
    assert fields["name"] == "dltensor" and fields["version"] is None
    assert lab.read(array.__dlpack__())["name"] == "dltensor"


@pytest.mark.parametrize("max_version", VERSIONED)
def test_from_version_1_on_the_capsule_is_versioned_1_3(max_version):
    fields = lab.read(six().__dlpack__(max_version=max_version))
    assert fields["name"] == "dltensor_versioned"
    assert fields["version"] == (1, 3)
    assert fields["flags"] == 0


@pytest.mark.parametrize("max_version", [None, (1, 3)])
def test_every_field_of_the_capsule(max_version):
    array = six()
    fields = lab.read(array.__dlpack__(max_version=max_version))
    assert fields["data"] == array.data_ptr
    assert fields["device"] == (1, 0)
    assert fields["dtype"] == (2, 32, 1)
    assert (fields["ndim"], fields["shape"], fields["strides"]) == (2, (2, 3), (3, 1))
    assert fields["byte_offset"] == 0
    assert fields["has_deleter"]


@pytest.mark.parametrize("max_version", [None, (1, 3)])
def test_zero_dimensions_are_exported(max_version):
    fields = lab.read(db.asarray(np.array(2.0)).__dlpack__(max_version=max_version))
    assert fields["ndim"] == 0 and fields["shape"] in (None, ()) and fields["strides"] in (None, ())


def test_read_only_is_said_truthfully():
    assert lab.read(frozen().__dlpack__(max_version=(1, 0)))["flags"] == READ_ONLY
    assert lab.read(six().__dlpack__(max_version=(1, 0)))["flags"] == 0


@pytest.mark.parametrize("max_version", LEGACY)
def test_a_legacy_capsule_of_read_only_data_is_refused_with_two_ways_out(max_version):
    with refuses("readonly", says=["max_version", 'db.convert(x, "jax")']):
        frozen().__dlpack__(max_version=max_version)


def test_a_legacy_copy_of_read_only_data_is_fine():
    array = frozen()
    fields = lab.read(array.__dlpack__(copy=True))
    assert fields["name"] == "dltensor" and fields["data"] != array.data_ptr


@pytest.mark.parametrize("make", [six, frozen, reversed_array])
def test_copy_true_is_fresh_writable_and_says_copied(make):
    array = make()
    fields = lab.read(array.__dlpack__(max_version=(1, 3), copy=True))
    assert fields["flags"] == IS_COPIED
    assert fields["data"] != array.data_ptr
    assert all(stride > 0 for stride in fields["strides"])


@pytest.mark.parametrize("copy", [None, False])
def test_without_copy_the_memory_is_shared_and_not_called_copied(copy):
    array = six()
    fields = lab.read(array.__dlpack__(max_version=(1, 3), copy=copy))
    assert fields["data"] == array.data_ptr and fields["flags"] == 0


def test_is_copied_speaks_of_this_export_and_not_of_the_array():
    array = db.asarray(np.arange(3.0), copy=True)
    assert array.copied
    assert lab.read(array.__dlpack__(max_version=(1, 3)))["flags"] == 0


def windows():
    """Elements that share addresses: read-only, though their memory is not."""
    return db.asarray(np.lib.stride_tricks.as_strided(np.arange(4.0), (3, 2), (8, 8)))


REQUESTS = [
    {"max_version": (1, 3)},
    {},
    {"max_version": (1, 3), "copy": False},
    {"max_version": (1, 3), "copy": True},
    {"copy": True},
    {"max_version": (1, 0), "dl_device": (1, 0)},
    {"stream": -1},
]


def answer_of(array, request):
    """What a request gets, apart from addresses."""
    try:
        fields = lab.read(array.__dlpack__(**request))
    except BufferError as error:
        return str(error)
    return {**fields, "data": fields["data"] == array.data_ptr}


@pytest.mark.parametrize("make", [six, frozen, reversed_array, windows])
@pytest.mark.parametrize("shift", range(len(REQUESTS)))
def test_what_was_asked_before_changes_no_answer(make, shift):
    array = make()
    for request in 2 * (REQUESTS[shift:] + REQUESTS[:shift]):
        assert answer_of(array, request) == answer_of(make(), request)


def test_an_export_that_is_traced_is_recorded_also_when_it_was_decided_before():
    array = six()
    array.__dlpack__()
    with db.trace() as trace:
        array.__dlpack__()
        array.__dlpack__(max_version=(1, 0))
    assert [record.action for record in trace.records] == ["share", "share"]


def test_negative_strides_are_exported_as_a_contiguous_copy():
    array = reversed_array()
    fields = lab.read(array.__dlpack__(max_version=(1, 3)))
    assert fields["flags"] == IS_COPIED
    assert fields["strides"] == (1,) and fields["data"] != array.data_ptr
    legacy = lab.read(array.__dlpack__())
    assert legacy["strides"] == (1,)
    assert torch.from_dlpack(array).tolist() == [5, 4, 3, 2, 1, 0]


def test_negative_strides_are_shared_when_a_copy_is_forbidden():
    array = reversed_array()
    fields = lab.read(array.__dlpack__(max_version=(1, 3), copy=False))
    assert (fields["strides"], fields["data"], fields["flags"]) == ((-1,), array.data_ptr, 0)
    shared = np.from_dlpack(array, copy=False)
    assert address(shared) == array.data_ptr


def test_a_copy_of_read_only_reversed_data_for_a_legacy_consumer():
    a = np.arange(3.0)[::-1]
    a.flags.writeable = False
    capsule = db.asarray(a).__dlpack__()
    assert torch.from_dlpack(capsule).tolist() == [2, 1, 0]


@pytest.mark.parametrize("stream", [-1, 0, 1, 2, 3, 12345, -2])
@pytest.mark.parametrize("device", [(1, 0), (3, 0)])
def test_host_memory_has_no_stream(device, stream):
    array = db.asarray(export(device=device).capsule())
    with refuses("stream"):
        array.__dlpack__(stream=stream)


@pytest.mark.parametrize("stream", [True, False, "1", 1.0, object(), (1,)])
def test_a_stream_that_is_no_int_is_a_type_error(stream):
    with pytest.raises(TypeError):
        six().__dlpack__(stream=stream)


@pytest.mark.parametrize("copy", [None, False])
def test_the_own_device_can_be_asked_for(copy):
    array = six()
    capsule = array.__dlpack__(dl_device=(1, 0), max_version=(1, 3), copy=copy)
    fields = lab.read(capsule)
    assert (fields["device"], fields["data"]) == ((1, 0), array.data_ptr)


def test_pinned_memory_can_be_asked_for_as_host_memory():
    source = export(device=(3, 0))
    array = db.asarray(source.capsule())
    assert lab.read(array.__dlpack__())["device"] == (3, 0)
    fields = lab.read(array.__dlpack__(dl_device=(1, 0)))
    assert (fields["device"], fields["data"]) == ((1, 0), source.address)


@pytest.mark.parametrize("device", [(2, 0), (8, 0), (10, 0), (99, 0)])
def test_another_device_is_refused_naming_it(device):
    with pytest.raises((db.ExchangeError, db.CudaError)):
        six().__dlpack__(dl_device=device)


@pytest.mark.parametrize(
    "keywords",
    [
        {"dl_device": 3},
        {"dl_device": (1,)},
        {"dl_device": ("cpu", 0)},
        {"dl_device": (1, 0, 0)},
        {"max_version": 1},
        {"max_version": (1,)},
        {"max_version": "1.0"},
        {"max_version": ("1", "0")},
        {"copy": "yes"},
    ],
)
def test_wrong_keyword_values(keywords):
    with pytest.raises((TypeError, ValueError)) as caught:
        six().__dlpack__(**keywords)
    assert not isinstance(caught.value, db.ExchangeError)


def test_keywords_are_keywords_and_no_others_are_taken():
    with pytest.raises(TypeError):
        six().__dlpack__(None)
    with pytest.raises(TypeError):
        six().__dlpack__(version=(1, 0))


@pytest.mark.parametrize("max_version", [None, (1, 3)])
@pytest.mark.parametrize("copy", [None, True, False])
@pytest.mark.parametrize("dl_device", [None, (1, 0)])
def test_every_combination_can_be_consumed_and_released(max_version, copy, dl_device):
    before = live()
    array = six()
    capsule = array.__dlpack__(stream=None, max_version=max_version, dl_device=dl_device, copy=copy)
    t = torch.from_dlpack(capsule)
    assert lab.name(capsule).startswith("used_")
    assert_same_elements(t, array)
    assert (t.data_ptr() == array.data_ptr) == (copy is not True)
    del capsule, array
    assert t.tolist() == [[0, 1, 2], [3, 4, 5]]
    del t
    assert live() == before


def test_keyword_names_that_are_no_literals():
    """Names in calls are interned mostly, not always."""
    a = np.arange(3.0)
    name = str(b"max_version", "ascii")
    capsule = db.asarray(a).__dlpack__(**{name: (1, 0), str(b"copy", "ascii"): True})
    assert lab.name(capsule) == "dltensor_versioned"
    assert address(db.asarray(capsule)) != address(a)
    with pytest.raises(TypeError, match="max_versio'"):
        db.asarray(a).__dlpack__(**{name[:-1]: (1, 0)})


def test_any_number_of_exports_of_one_array():
    array = six()
    tensors = [torch.from_dlpack(array) for _ in range(20)]
    capsules = [array.__dlpack__(max_version=(1, 0)) for _ in range(20)]
    assert {t.data_ptr() for t in tensors} == {array.data_ptr}
    assert {lab.read(c)["data"] for c in capsules} == {array.data_ptr}


def test_an_unconsumed_capsule_is_released():
    source = export()
    array = db.asarray(source.capsule())
    capsules = [array.__dlpack__(), array.__dlpack__(max_version=(1, 3))]
    del array
    assert source.deleter_calls == 0
    capsules.clear()
    assert source.deleter_calls == 1


def test_the_device():
    assert six().__dlpack_device__() == (1, 0)
    assert all(type(part) is int for part in six().__dlpack_device__())
    for device in [(3, 0), (8, 1), (10, 2)]:
        assert db.asarray(export(device=device).capsule()).__dlpack_device__() == device


@pytest.mark.parametrize("layout", samples.PLAIN_LAYOUTS)
def test_numpy_and_torch_take_every_layout_from_an_array(layout):
    a = samples.PLAIN_LAYOUTS[layout]()
    array = db.asarray(a)
    n, t = np.from_dlpack(array), torch.from_dlpack(array)
    assert address(n) == address(a) and n.flags.writeable
    assert_same_elements(n, a)
    assert_same_elements(t, a)


def test_handle_type_devices_keep_their_byte_offset():
    source = export(shape=(2,), device=(8, 0), byte_offset=16)
    fields = lab.read(db.asarray(source.capsule()).__dlpack__(max_version=(1, 3)))
    assert (fields["data"], fields["byte_offset"], fields["device"]) == (source.address, 16, (8, 0))


HUGE = [2**31, 2**63, 2**70]


@pytest.mark.parametrize("stream", [2**63, 2**64, 2**70, -(2**63) - 1, -(2**70)])
def test_a_stream_beyond_64_bits_is_a_stream_all_the_same(stream):
    with refuses("stream"):
        six().__dlpack__(stream=stream)


@pytest.mark.parametrize("huge", HUGE)
def test_a_huge_version_is_a_version(huge):
    array = six()
    for max_version in ((huge, 0), (1, huge), (huge, huge)):
        fields = lab.read(array.__dlpack__(max_version=max_version))
        assert (fields["name"], fields["version"]) == ("dltensor_versioned", (1, 3))
    for max_version in ((-huge, 0), (0, huge)):
        assert lab.read(array.__dlpack__(max_version=max_version))["name"] == "dltensor"


@pytest.mark.parametrize("huge", [*HUGE, -(2**31) - 1, -(2**70), 2**32 + 1])
def test_a_huge_device_is_refused_and_never_another_one(huge):
    for device in ((huge, 0), (1, huge)):
        for call in (
            lambda: six().__dlpack__(dl_device=device),  # noqa: B023
            lambda: db.from_dlpack(np.zeros(3), device=device),  # noqa: B023
            lambda: db.to_torch(np.zeros(3), device=device),  # noqa: B023
        ):
            with pytest.raises((ValueError, BufferError)):
                call()
