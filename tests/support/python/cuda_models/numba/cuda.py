"""Arrays with `__cuda_array_interface__` v3 (numba/cuda/cudadrv/devicearray.py, numba/cuda/api.py)."""

import device_model as model
import fake_driver as driver
import numpy as np
from device_model import CUDA

pool = model.Pool("device")


class stream:
    """A blocking stream; 0 is the default stream."""

    def __init__(self):
        self.device = driver.current_device()
        self.handle = driver.create_stream(self.device, non_blocking=False)

    def __int__(self):
        return self.handle

    def __del__(self):
        driver.destroy_stream(self.device, self.handle)


class DeviceNDArray(model.DeviceArray):
    """Bound to the stream that it was made with."""

    bound_to = 0

    def __iadd__(self, value):
        self.update(int(self.bound_to), lambda elements: elements + value)
        return self

    @property
    def __cuda_array_interface__(self):
        """The stream that the array is bound to; None (nothing to wait for) for the default one."""
        return model.interface_v3(self, int(self.bound_to) or None)

    def copy_to_host(self):
        driver.synchronize_stream(self.dlpack_device[1], int(self.bound_to))
        return model.read_on_host(self)


def to_device(values, stream=0, dtype="float32"):
    values = np.asarray(values, dtype)
    storage = pool.allocate(driver.current_device(), values.nbytes, int(stream))
    made = DeviceNDArray.in_block(storage, values.shape, dtype, CUDA, np.dtype(dtype))
    made.bound_to = stream
    made.write(int(stream), values)
    return made


def as_cuda_array(source, sync=True):
    """The host waits for the stream of the interface, unless told not to."""
    interface = source.__cuda_array_interface__
    device = driver.current_device()
    if sync and interface.get("stream") is not None:
        driver.synchronize_stream(device, interface["stream"])
    fields = model.fields_of_interface(interface, device)
    return DeviceNDArray.over(source, fields, model.numpy_dtype(fields["dlpack_dtype"]))
