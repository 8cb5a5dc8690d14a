"""Pickling: in band below protocol 5, out of band from it on, without a copy where there is none."""

import pickle

import dlpack_lab as lab
import isolated
import numpy as np
import pytest
import samples
import torch
from checks import address, assert_same_elements, live
from producers import export

import dlpack_bridge as db

LAYOUTS = {
    **samples.PLAIN_LAYOUTS,
    **samples.MEANINGLESS_STRIDES,
    **{name: make for name, (make, _) in samples.NEGATIVE_STRIDES.items()},
    **samples.OVERLAPPING,
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_survives_in_band(layout, protocol):
    a = LAYOUTS[layout]()
    again = pickle.loads(pickle.dumps(db.asarray(a), protocol))
    assert type(again) is db.Array
    assert again.dtype == a.dtype
    assert_same_elements(again, a)


@pytest.mark.parametrize("dtype", {**samples.COMMON_DTYPES, **samples.SMALL_FLOATS})
@pytest.mark.parametrize("protocol", [2, 5])
def test_every_type_survives(dtype, protocol):
    t = samples.torch_values(dtype)
    again = pickle.loads(pickle.dumps(db.asarray(t), protocol))
    assert again.dtype == t.dtype
    assert_same_elements(db.to_torch(again), t)


def test_packed_types_survive():
    t = torch.tensor([0x21, 0x43], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    again = pickle.loads(pickle.dumps(db.asarray(t), 5))
    assert db.to_numpy(again, dtype="bits").tolist() == [0x21, 0x43]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_survives_out_of_band(layout):
    a = LAYOUTS[layout]()
    buffers = []
    data = pickle.dumps(db.asarray(a), 5, buffer_callback=buffers.append)
    again = pickle.loads(data, buffers=buffers)
    assert_same_elements(again, a)


def test_out_of_band_buffers_are_the_memory_itself():
    a = np.arange(1000.0)
    buffers = []
    data = pickle.dumps(db.asarray(a), 5, buffer_callback=buffers.append)
    assert len(data) < 1000
    (buffer,) = buffers
    assert address(np.asarray(buffer.raw())) == address(a)


def test_loading_shares_the_buffers_it_is_given():
    a = np.arange(1000.0)
    buffers = []
    data = pickle.dumps(db.asarray(a), 5, buffer_callback=buffers.append)
    memory = bytearray(buffers[0].raw())
    again = pickle.loads(data, buffers=[memory])
    assert again.data_ptr == address(np.frombuffer(memory))
    assert not again.readonly
    frozen = pickle.loads(data, buffers=[bytes(memory)])
    assert frozen.readonly


def test_what_is_loaded_in_band_is_fresh_memory():
    a = np.arange(3.0)
    again = pickle.loads(pickle.dumps(db.asarray(a)))
    a[0] = 9
    assert db.to_numpy(again).tolist() == [0, 1, 2]


def test_buffers_keep_the_memory_alive():
    buffers = []
    data = pickle.dumps(db.asarray(np.arange(1000.0)), 5, buffer_callback=buffers.append)
    again = pickle.loads(data, buffers=buffers)
    del buffers
    assert db.to_numpy(again).sum() == 499500


def test_pickling_leaves_nothing_behind():
    before = live()
    for protocol in (2, 3, 4, 5):
        pickle.loads(pickle.dumps(db.asarray(np.arange(3.0)), protocol))
    assert live() == before


def test_a_buffer_of_the_wrong_size_is_refused():
    buffers = []
    data = pickle.dumps(db.asarray(np.arange(1000.0)), 5, buffer_callback=buffers.append)
    for wrong in (b"", b"short", bytes(7999)):
        with pytest.raises((ValueError, TypeError, BufferError)):
            pickle.loads(data, buffers=[wrong])


def test_pinned_memory_is_pickled_as_host_memory():
    again = pickle.loads(pickle.dumps(db.asarray(export(device=(3, 0)).capsule())))
    assert db.to_numpy(again).tolist() == [0, 1, 2, 3, 4, 5]


def test_memory_on_a_device_is_not_pickled():
    with pytest.raises(db.ExchangeError, match="(?i)device|metal"):
        pickle.dumps(db.asarray(export(device=(8, 0)).capsule()))


@pytest.mark.parametrize("shape", [(4,), (3,), (2, 3), (), (0, 3)])
@pytest.mark.parametrize("protocol", range(6))
def test_packed_elements_of_one_lane_survive(shape, protocol):
    memory = np.arange(1, 9, dtype="u1")
    source = lab.Export(memory.ctypes.data, shape, None, dtype=(17, 4, 1), owner=memory)
    array = db.asarray(source.capsule())
    again = pickle.loads(pickle.dumps(array, protocol))
    assert (again.shape, again.dtype) == (shape, array.dtype)
    assert again.memoryview().tolist() == memory[: array.nbytes].tolist()


def test_a_buffer_that_is_not_aligned_is_copied():
    a = np.arange(6.0)
    for readonly in (False, True):
        a.flags.writeable = not readonly
        buffers = []
        data = pickle.dumps(db.asarray(a), 5, buffer_callback=buffers.append)
        for make in (bytearray, bytes):
            shifted = memoryview(make(b"x" + buffers[0].raw().tobytes()))[1:]
            assert np.frombuffer(shifted, "u1").ctypes.data % 8
            again = pickle.loads(data, buffers=[shifted])
            assert again.data_ptr % 8 == 0 and again.copied
            assert again.readonly is readonly
            assert_same_elements(again, a)


def test_containers_with_arrays_survive():
    tree = {"a": db.asarray(np.arange(3)), "b": [db.asarray(torch.arange(2))]}
    again = pickle.loads(pickle.dumps(tree))
    assert db.to_numpy(again["a"]).tolist() == [0, 1, 2]
    assert db.to_torch(again["b"][0]).tolist() == [0, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        (b"", (2, 0, 1), (0,), False),
        (b"", (2, 32, 0), (0,), False),
        (b"", (2, 24, 1), (0,), False),
        (b"abcd", (200, 32, 1), (1,), False),
        (b"abcd", (2, 32 + 256, 1), (1,), False),
        (b"abcd", (2 + 256, 32, 1), (1,), False),
        (b"abcd", (2, 32, 1 + 65536), (1,), False),
        (b"", (2, 32, 1), (0, 2**62, 2**62), False),
        (b"", (2, 32, 1), (0, -1), False),
        (b"abcd", (2, 32, 1), (-1, -1), False),
        (b"abcd", (2, 32, 1), (1,) * 65, False),
    ],
)
def test_a_damaged_pickle_is_refused(arguments):
    def call():
        with pytest.raises(ValueError, match="pickled"):
            db._rebuild_array(*arguments)

    isolated.forked(call)
