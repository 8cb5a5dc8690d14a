"""jax.dlpack.from_dlpack (jax/_src/dlpack.py)."""

import cuda_lab
from device_model import CUDA

from ._array import Array, Buffer, give_back, recorded, rendezvous_stream


def from_dlpack(source):
    """The producer is told the rendezvous stream; what is recorded there then defines the array.
    Only legacy capsules are read, and only compact layouts (measured: J04, J05)."""
    give_back()
    device_type, device = source.__dlpack_device__()
    if device_type != CUDA:
        raise TypeError("Array passed to from_dlpack is on unsupported device type")
    stream = rendezvous_stream(device)
    capsule = source.__dlpack__(stream=stream)
    imported = cuda_lab.take(capsule)
    return Array.of_buffer(Buffer(imported, recorded(device, stream)), imported.fields)
