"""A model of cuda.core on the fake CUDA driver: buffers whose `__dlpack__` ignores the stream.

Sources: cuda_core/cuda/core/_memory/_buffer.pyx, _dlpack.pyx, _stream.pyx. nanobind's ndarray and
tvm-ffi's `__dlpack__` treat `stream` the same way.
"""

import device_model as model
import fake_driver as driver
import numpy as np
from device_model import CUDA

pool = model.Pool("device")


class Stream:
    """A non-blocking stream by default (StreamOptions)."""

    def __init__(self, device):
        self.device, self.handle = device, driver.create_stream(device, non_blocking=True)

    def __cuda_stream__(self):
        return (0, self.handle)

    def __del__(self):
        driver.destroy_stream(self.device, self.handle)


class Device:
    def __init__(self, device_id=0):
        self.device_id = device_id

    def create_stream(self):
        return Stream(self.device_id)

    def allocate(self, nbytes, *, stream):
        """The pool hands the memory out again in the order of the stream given here, or of the one
        named later (`set_deallocation_stream`)."""
        storage = pool.allocate(self.device_id, nbytes, stream.handle)
        made = Buffer.in_block(storage, (nbytes,), "int8", CUDA, np.dtype("int8"))
        made.kept = stream
        return made


class Buffer(model.DeviceArray):
    def fill(self, value, *, stream):
        self.write(stream.handle, value)

    def set_deallocation_stream(self, stream):
        self.storage.block.home, self.kept = stream.handle, stream

    def __dlpack_device__(self):
        return self.dlpack_device

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """`stream` is accepted and ignored, as if it were -1."""
        if copy is True or dl_device is not None:
            raise BufferError("copies and other devices are not supported")
        return self.capsule(max_version is not None and max_version[0] >= 1)
