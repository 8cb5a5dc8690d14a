"""Bare producers and consumers on the fake CUDA driver: no library, no hidden stream.

A producer writes on the stream it is given and orders that stream; a consumer names the stream it
uses. Each notes what it was asked.
"""

import cuda_lab
import device_model as model
import fake_driver as driver
import numpy as np
from device_model import CUDA, CUDA_HOST, CUDA_MANAGED

pools = {
    CUDA: model.Pool("device"),
    CUDA_HOST: model.Pool("host"),
    CUDA_MANAGED: model.Pool("managed"),
}


class Stream:
    """A stream of every kind: "legacy", "per-thread", "blocking", "non-blocking". As torch's, it is
    never destroyed, so that a test need not care for the order in which its variables go; or, as
    CuPy's, with the object."""

    def __init__(self, kind="non-blocking", device=0, owned=False):
        self.kind, self.device, self._owned = kind, device, owned
        fixed = {"legacy": driver.LEGACY, "per-thread": driver.PER_THREAD}.get(kind)
        self.handle = fixed or driver.create_stream(device, kind == "non-blocking")

    def __cuda_stream__(self):
        """NULL for the legacy stream, as libraries do."""
        return (0, 0 if self.kind == "legacy" else self.handle)

    def __del__(self):
        if self._owned:
            driver.destroy_stream(self.device, self.handle)


class Array(model.DeviceArray):
    """Follows the protocol to the letter, and knows which stream wrote it."""

    def __dlpack_device__(self):
        return self.dlpack_device

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        self.asked.append({"stream": stream, "max_version": max_version, "copy": copy})
        if self.dlpack_device[0] == CUDA_HOST or (
            self.dlpack_device[0] == CUDA_MANAGED and stream is None
        ):
            driver.synchronize_stream(self.writer.device, self.writer.handle)
        else:
            self.order(driver.LEGACY if stream is None else stream)
        return self.capsule(max_version is not None and max_version[0] >= 1)

    def order(self, stream):
        if stream == 0 or stream < -1:
            model.findings.append(f"a producer was given the stream {stream}")
        if stream not in (-1, self.writer.handle):
            device = self.dlpack_device[1]
            model.wait_for(device, stream, self.writer.device, self.writer.handle)

    # ---- kernels on its own stream -----------------------------------------------------------------

    def fill(self, value):
        self.write(self.writer.handle, value)
        return self

    def add(self, value):
        self.update(self.writer.handle, lambda elements: elements + value)

    def tolist(self):
        driver.synchronize_stream(self.writer.device, self.writer.handle)
        return model.read_on_host(self).tolist()


class RefusesPerThread(Array):
    """As torch: the number 2 is a BufferError."""

    def order(self, stream):
        if stream == driver.PER_THREAD:
            raise BufferError("per-thread default stream is not supported.")
        super().order(stream)


class WithoutStream(Array):
    """Has no `stream` keyword, as TensorFlow: it orders nothing."""

    def __dlpack__(self, *, max_version=None):
        self.asked.append({"max_version": max_version})
        return self.capsule(max_version is not None and max_version[0] >= 1)


class IgnoresStream(Array):
    """Accepts `stream` and ignores it, as nanobind, cuda.core and tvm-ffi."""

    def order(self, stream):
        pass


class WithInterface(model.DeviceArray):
    """`__cuda_array_interface__` and nothing else; `named` is what it says of its stream."""

    @property
    def __cuda_array_interface__(self):
        return model.interface_v3(self, self.named)

    fill, add, tolist = Array.fill, Array.add, Array.tolist


def array(values, writer, kind=Array, memory=CUDA, dtype="float32", home=None):
    """Values written by a kernel on `writer`, in memory of its device whose pool orders its reuse on
    `home` (the writer)."""
    values = np.asarray(values, dtype)
    storage = pools[memory].allocate(writer.device, values.nbytes, (home or writer).handle)
    made = kind.in_block(storage, values.shape, dtype, memory, np.dtype(dtype))
    made.writer, made.asked, made.named = writer, [], writer.handle
    if home is not None:
        model.wait_for(writer.device, writer.handle, home.device, home.handle)
    return made.fill(values)


class Result:
    """What a consumer holds: it uses the memory on the stream it named."""

    def __init__(self, imported, stream):
        fields = imported.fields
        self.array = model.DeviceArray.over(imported, fields, None)
        self.stream = stream

    def use(self):
        return self.array.read(self.stream.handle).tolist()

    def add(self, value):
        self.array.update(self.stream.handle, lambda elements: elements + value)


def consume(source, stream, **keywords):
    """`source.__dlpack__` as a consumer that works on `stream` calls it."""
    keywords = {"stream": stream.handle, "max_version": (1, 3), **keywords}
    return Result(cuda_lab.take(source.__dlpack__(**keywords)), stream)
