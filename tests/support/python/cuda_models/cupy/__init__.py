"""A model of CuPy on the fake CUDA driver.

Sources, as of cupy 14: cupy/_core/core.pyx (`__dlpack__`, `__cuda_array_interface__`),
cupy/_core/dlpack.pyx, cupy/cuda/stream.pyx, cupy/cuda/memory.pyx.
"""

import warnings

import cuda_lab
import device_model as model
import fake_driver as driver
import numpy as np
from device_model import CUDA, CUDA_MANAGED

from . import cuda

__version__ = "14.0.0"

# One arena per stream that was current at the allocation; a freed block is handed out again at once
# (memory.pyx, SingleDeviceMemoryPool). Nothing protects other streams.
pool = model.Pool("device")


class ndarray(model.DeviceArray):
    @property
    def device(self):
        return cuda.Device(self.dlpack_device[1])

    @staticmethod
    def _stream():
        """Kernels run on the current stream of the *current* device."""
        return cuda.get_current_stream().ptr

    def fill(self, value):
        self.write(self._stream(), value)

    def __iadd__(self, value):
        self.update(self._stream(), lambda elements: elements + value)
        return self

    def use(self):
        return self.read(self._stream())

    def get(self):
        """Copies to the host: waits for the current stream."""
        driver.synchronize_stream(driver.current_device(), self._stream())
        return model.read_on_host(self)

    def tolist(self):
        return self.get().tolist()

    @property
    def T(self):
        return self.view_of(0, self.shape[::-1], self.strides_in_elements[::-1])

    def __getitem__(self, key):
        """Slices of one axis, negative steps as well."""
        start, stop, step = key.indices(self.shape[0])
        stride = self.strides_in_elements[0]
        return self.view_of(start * stride, (len(range(start, stop, step)),), (stride * step,))

    # ---- exchange ----------------------------------------------------------------------------------

    def __dlpack_device__(self):
        return self.dlpack_device

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """Orders CuPy's current stream of the current device, whichever device the array is on; the
        event has timing. -1 is no order, None the legacy stream, 0 as well after a warning."""
        if dl_device is not None and tuple(dl_device) != self.dlpack_device:
            raise BufferError("CuPy exports to the array's own device or to the CPU")
        if copy:
            raise BufferError("copying is only supported to the CPU")
        versioned = max_version is not None and max_version[0] >= 1
        current = cuda.get_current_stream()
        if self.dlpack_device[0] == CUDA_MANAGED:
            current.synchronize()  # dlpack.pyx: the consumer may be on the host
            return self.capsule(versioned)
        if stream is not None and stream < -1:
            raise ValueError("On CUDA, stream must be -1 or a positive number")
        if stream == 0:
            warnings.warn("Stream 0 is passed to __dlpack__", stacklevel=2)
        if stream != -1:
            handle = 0 if stream in (None, 0, driver.LEGACY) else stream
            if handle != current.ptr:
                event = driver.Event(current.device_id, timing=True)
                event.record(current.ptr)
                event.make_wait(current.device_id, handle)
        return self.capsule(versioned)

    @property
    def __cuda_array_interface__(self):
        """Names the current stream, the default stream as 1."""
        return model.interface_v3(self, cuda.get_current_stream().ptr or 1)


def empty(shape, dtype="float32"):
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    storage = pool.allocate(driver.current_device(), nbytes, cuda.get_current_stream().ptr)
    return ndarray.in_block(storage, shape, dtype, CUDA, np.dtype(dtype))


def full(shape, value, dtype="float32"):
    made = empty(shape, dtype)
    made.fill(value)
    return made


def arange(count, dtype="float32"):
    return full(count, np.arange(count), dtype)


def from_dlpack(source):
    """dlpack.pyx: makes the device current and passes the current stream, its 0 as 1."""
    device_type, device = source.__dlpack_device__()
    if device_type not in (CUDA, CUDA_MANAGED):
        raise TypeError(f"Unsupported device type: {device_type}")
    with driver.on_device(device):
        keywords = {"stream": cuda.get_current_stream().ptr or 1, "max_version": (1, 0)}
        imported = cuda_lab.take(model.call_dlpack(source, keywords))
    fields = imported.fields
    return ndarray.over(imported, fields, model.numpy_dtype(fields["dlpack_dtype"]))


def asarray(source):
    """Of an object with `__cuda_array_interface__`: the host waits for the stream that it names
    (core.pyx, `_convert_object_with_cuda_array_interface`)."""
    interface = source.__cuda_array_interface__
    device = driver.current_device()
    if interface.get("stream") is not None:
        driver.synchronize_stream(device, interface["stream"])
    fields = model.fields_of_interface(interface, device)
    return ndarray.over(source, fields, model.numpy_dtype(fields["dlpack_dtype"]))
