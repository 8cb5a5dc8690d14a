"""Arrays: immutable, each with the event after which it is defined."""

import contextlib

import cuda_lab
import device_model as model
import fake_driver as driver
import numpy as np
from device_model import CUDA

pool = model.Pool("device")  # BFC: tied to the compute stream

_compute, _rendezvous = {}, {}

# Whether an imported buffer is only given back after the computations that use it. Which of both XLA
# does depends on its version (open point 1 of the research): the tests know both.
_waits_for_uses = [True]


@contextlib.contextmanager
def release_waits_for_uses(value):
    before, _waits_for_uses[0] = _waits_for_uses[0], value
    try:
        yield
    finally:
        _waits_for_uses[0] = before


def compute_stream(device):
    if device not in _compute:
        _compute[device] = driver.create_stream(device, non_blocking=True)
    return _compute[device]


def rendezvous_stream(device):
    """`device.get_stream_for_external_ready_events()`: XLA's own stream, which is told to producers.
    No kernel runs there."""
    if device not in _rendezvous:
        _rendezvous[device] = driver.create_stream(device, non_blocking=True)
    return _rendezvous[device]


def recorded(device, stream):
    event = driver.Event(device)
    event.record(stream)
    return event


class Buffer:
    """Memory with the event that defines it and, for memory of others, those of its uses."""

    def __init__(self, owner, defined):
        self.owner, self.defined, self.used = owner, defined, None

    def __del__(self):
        if self.used is not None and _waits_for_uses[0]:
            held_back.append((self.owner, self.used))


held_back = []  # imported memory whose uses have not run


def give_back():
    held_back[:] = [held for held in held_back if not held[1].is_complete()]


class Array(model.DeviceArray):
    __module__ = "jaxlib._jax"

    @classmethod
    def of_buffer(cls, buffer, fields):
        return cls.over(buffer, fields, model.numpy_dtype(fields["dlpack_dtype"]))

    def _compute(self, change):
        """A new array, computed from this one on the compute stream."""
        give_back()
        device = self.dlpack_device[1]
        stream = compute_stream(device)
        self.storage.defined.make_wait(device, stream)
        made = allocated(self.shape, model.numpy_dtype(self.dlpack_dtype), device)
        model.kernel(device, stream, reads=[self], writes=[made])
        model.host_view(made)[...] = change(model.host_view(self))
        made.storage.defined = recorded(device, stream)
        if isinstance(self.storage.owner, cuda_lab.Imported):
            self.storage.used = made.storage.defined
        return made

    def __add__(self, value):
        return self._compute(lambda elements: elements + value)

    def use(self):
        return model.host_view(self + 0).copy()

    def block_until_ready(self):
        self.storage.defined.synchronize()
        return self

    def tolist(self):
        self.block_until_ready()
        return model.read_on_host(self).tolist()

    def __dlpack_device__(self):
        return self.dlpack_device

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """None blocks the host; a number is a handle to wait on (jaxlib/dlpack.cc), -1 as well,
        which must therefore never be given. Always a legacy capsule (measured: J04)."""
        if max_version is not None and tuple(max_version) < (0, 5):
            raise BufferError("JAX only supports versions >= 0.5")
        if stream == -1:
            model.findings.append("JAX was given the stream -1, which it uses as a handle")
        elif stream is None:
            self.block_until_ready()
        else:
            self.storage.defined.make_wait(self.dlpack_device[1], stream)
        return self.capsule(False)


def allocated(shape, dtype, device):
    """An array that nothing defines yet."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    owner = pool.allocate(device, nbytes, compute_stream(device))
    fields = {
        "address": owner.block.address,
        "shape": shape,
        "strides": None,
        "dlpack_dtype": model.dlpack_dtype(dtype),
        "dlpack_device": (CUDA, device),
    }
    return Array.of_buffer(Buffer(owner, None), fields)


def full(shape, value, device=0, dtype="float32"):
    give_back()
    made = allocated((shape,) if isinstance(shape, int) else tuple(shape), dtype, device)
    made.write(compute_stream(device), value)
    made.storage.defined = recorded(device, compute_stream(device))
    return made
