"""Arrays of JAX and TensorFlow in host memory: these say so themselves, and JAX lends a buffer.

The stand-ins have what the hub looks at: the module of the type, the framework's own word, the protocols.
"""

import array
import mmap

import numpy as np
import pytest
import torch
from checks import codes, is_writable, live, plan_of, refuses
from producers import Producer, export

import dlpack_bridge as db


class Asked(Producer):
    """Notes in `asked` which methods run."""

    def __init__(self, source=None):
        super().__init__(source)
        self.asked = []

    def __dlpack__(self, **keywords):
        self.asked.append("__dlpack__")
        return super().__dlpack__(**keywords)

    def __dlpack_device__(self):
        self.asked.append("__dlpack_device__")
        return super().__dlpack_device__()


class Jax(array.array):
    """Four floats of JAX with a buffer; a buffer of JAX's own is read-only."""

    __module__ = "jaxlib._jax"

    def __new__(cls):
        made = super().__new__(cls, "f", [0, 1, 2, 3])
        made.dlpack = Asked()
        return made

    def is_deleted(self):
        return False

    def is_ready(self):
        return True

    def __dlpack__(self, **keywords):
        return self.dlpack.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.dlpack.__dlpack_device__()

    @property
    def address(self):
        return self.buffer_info()[0]


class JaxWithoutBuffer(mmap.mmap):
    """What JAX does for bfloat16: the type has the buffer protocol, and asking for a buffer fails."""

    __module__ = "jaxlib._jax"

    def __new__(cls):
        made = super().__new__(cls, -1, 16)
        made.dlpack = Asked(export([1.0, 2.0]))
        made.close()
        return made

    is_deleted, is_ready = Jax.is_deleted, Jax.is_ready
    __dlpack__ = Jax.__dlpack__
    __dlpack_device__ = Jax.__dlpack_device__


class TensorFlow(Asked):
    __module__ = "tensorflow.python.framework.ops"

    def __init__(self, device="CPU:0", source=None):
        super().__init__(source)
        self.backing_device = f"/job:localhost/replica:0/task:0/device:{device}"


def test_jax_on_the_host_travels_by_its_buffer_and_is_asked_for_no_export():
    x = Jax()
    result = db.to_numpy(x)
    assert result.ctypes.data == x.address and result.tolist() == [0, 1, 2, 3]
    assert x.dlpack.asked == []
    assert db.plan(x, "numpy").protocol == "buffer" and db.info(x).framework == "jax"


def test_the_buffer_is_held_as_long_as_the_result_lives():
    before = live()
    x = Jax()
    result = db.asarray(x)
    with pytest.raises(BufferError):
        x.append(4)
    del result
    x.append(4)
    assert live() == before


def test_jax_arrays_stay_read_only_whatever_their_buffer_says():
    x = Jax()
    assert not is_writable(db.to_numpy(x)) and db.asarray(x).readonly
    assert db.to_torch(x).data_ptr() != x.address
    assert codes(plan_of(x, "torch").reasons) == {"readonly"}
    assert db.to_torch(x, readonly="share").data_ptr() == x.address
    with refuses("readonly"):
        db.to_torch(x, readonly="error")


def test_jax_without_a_buffer_is_asked_for_a_capsule():
    x = JaxWithoutBuffer()
    assert db.to_numpy(x).tolist() == [1, 2]
    assert x.dlpack.asked == ["__dlpack_device__", "__dlpack__"]
    assert db.plan(x, "numpy").protocol == "dlpack"


def test_tensorflow_on_the_host_is_only_asked_for_a_capsule():
    x = TensorFlow()
    assert db.to_numpy(x).ctypes.data == x.export.address
    assert x.asked == ["__dlpack__"] and x.calls[0]["stream"] is None
    assert not is_writable(db.to_numpy(x))


def test_tensorflow_elsewhere_is_asked_where_it_is():
    x = TensorFlow("GPU:0")
    db.to_numpy(x)
    assert x.asked == ["__dlpack_device__", "__dlpack__"]
    del x.backing_device
    db.to_numpy(x)
    assert x.asked == ["__dlpack_device__", "__dlpack__"] * 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_passes_through_the_word_of_a_framework(error):
    class Interrupted(TensorFlow):
        __module__ = TensorFlow.__module__

        def __getattribute__(self, name):
            if name == "backing_device":
                raise error
            return super().__getattribute__(name)

    class Asked(Jax):
        __module__ = Jax.__module__

        def is_deleted(self):
            raise error

    for x in (Interrupted(), Asked()):
        with pytest.raises(error):
            db.to_numpy(x)


@pytest.mark.parametrize("says", [{"is_deleted": True}, {"is_ready": False}])
def test_jax_that_is_deleted_or_not_ready_is_not_asked_for_its_buffer(says):
    class Other(Jax):
        __module__ = Jax.__module__

    for name, answer in says.items():
        setattr(Other, name, lambda self, answer=answer: answer)
    x = Other()
    assert db.to_numpy(x).tolist() == [0, 1, 2, 3, 4, 5]
    assert x.dlpack.asked == ["__dlpack_device__", "__dlpack__"]


def test_the_word_of_the_framework_is_checked_against_the_capsule():
    x = TensorFlow("CPU:0", export(device=(2, 0)))
    with refuses("malformed", says=["announces cpu", "capsule says cuda"]):
        db.to_numpy(x)
    assert x.export.deleter_calls == 1


def test_copy_false_reaches_a_tensorflow_tensor():
    x = TensorFlow()
    assert isinstance(db.to_torch(x, copy=False, readonly="share"), torch.Tensor)
    assert x.calls[0]["copy"] is False


def test_a_framework_of_another_name_has_no_such_word():
    class Other(TensorFlow):
        __module__ = "elsewhere"

    x = Other()
    assert isinstance(db.to_numpy(x), np.ndarray)
    assert x.asked == ["__dlpack_device__", "__dlpack__"]
