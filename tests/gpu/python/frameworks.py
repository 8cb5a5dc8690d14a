"""The frameworks of the GPU tests: how each one writes on a stream, and how each one reads on one.

A producer makes an array of NaN, ready on the device; `write` then fills it on its stream. A consumer
takes an array over for a stream and gives a function that reads it there into memory of the lab.
"""

import contextlib
import importlib
import importlib.util

import gpulab
import pytest
import torch

import dlpack_bridge as db

# So large that torch's allocator gives it a segment of its own, which it neither splits nor joins: what
# is freed is what the next allocation gets. No other array of these processes has this size.
COUNT = 3_000_017
GOOD = 42.0


def installed(name):
    """A module, or a skip: only torch is a must."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}, which is not installed here")
    return importlib.import_module(name)


# ---- streams in the words of each framework -------------------------------------------------------


def torch_stream(stream):
    if stream.kind == "legacy":
        return torch.cuda.default_stream(0)
    return torch.cuda.ExternalStream(stream.handle, device=0)


def on_torch(stream):
    return torch.cuda.stream(torch_stream(stream))


def on_cupy(stream):
    cupy = installed("cupy")
    if stream.kind == "legacy":
        return cupy.cuda.Stream.null
    if stream.kind == "per-thread":
        return cupy.cuda.Stream.ptds
    return cupy.cuda.ExternalStream(stream.handle)


def on(stream):
    """torch's and CuPy's current stream, if there is a CuPy."""
    both = contextlib.ExitStack()
    both.enter_context(on_torch(stream))
    if importlib.util.find_spec("cupy") is not None:
        both.enter_context(on_cupy(stream))
    return both


# ---- producers ------------------------------------------------------------------------------------


class TorchProducer:
    """Allocates on its stream, as long as that is torch's current one."""

    def make(self, stream, count=COUNT):
        with on_torch(stream):
            x = torch.full((count,), float("nan"), device="cuda:0")
        stream.wait()
        return x

    def write(self, x, value, stream):
        with on_torch(stream):
            x.fill_(value)

    def address(self, x):
        return x.data_ptr()


class CupyProducer:
    def make(self, stream, count=COUNT):
        cupy = installed("cupy")
        with on_cupy(stream):
            x = cupy.full((count,), float("nan"), dtype=cupy.float32)
        stream.wait()
        return x

    def write(self, x, value, stream):
        with on_cupy(stream):
            x.fill(value)

    def address(self, x):
        return x.data.ptr


class RawProducer:
    """`__cuda_array_interface__` with a stream."""

    def make(self, stream, count=COUNT):
        x = gpulab.Memory(count, stream=stream)
        x.fill(float("nan"), stream)
        stream.wait()
        return x

    def write(self, x, value, stream):
        x.fill(value, stream)

    def address(self, x):
        return x.address


class ArrayProducer(TorchProducer):
    """An Array that holds a tensor; written through the tensor."""

    def make(self, stream, count=COUNT):
        self.tensor = super().make(stream, count)
        with on_torch(stream):
            return db.asarray(self.tensor)

    def write(self, x, value, stream):
        super().write(self.tensor, value, stream)

    def address(self, x):
        return x.data_ptr


PRODUCERS = {
    "torch": TorchProducer,
    "cupy": CupyProducer,
    "raw": RawProducer,
    "array": ArrayProducer,
}


# ---- consumers ------------------------------------------------------------------------------------


def read_torch(y, stream):
    def read(out):
        with on_torch(stream):
            torch.from_dlpack(Unordered(out)).copy_(y)

    return read


def read_cupy(y, stream):
    def read(out):
        cupy = installed("cupy")
        with on_cupy(stream):
            cupy.copyto(cupy.from_dlpack(Unordered(out)), y)

    return read


def read_raw(address, stream, keep):
    def read(out):
        gpulab.copy(out, address, stream)
        return keep

    return read


class Unordered:
    """Memory of the lab as an array that asks for no order: the destination of a test's copy."""

    def __init__(self, memory):
        self.array = db.asarray(memory, stream=-1)

    def __dlpack__(self, **keywords):
        return self.array.__dlpack__(**dict(keywords, stream=-1))

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


# Each takes (x, p, c, stream=c): the producer works on p, the consumer on c.


def to_torch_by_keyword(x, p, c, stream):
    with on(p):
        y = db.to_torch(x, stream=stream)
    return read_torch(y, c)


def to_torch_current(x, p, c, stream):
    with on(p):
        a = db.asarray(x)
    with on_torch(c):
        y = db.to_torch(a) if stream is c else db.to_torch(a, stream=stream)
    return read_torch(y, c)


def torch_from_dlpack(x, p, c, stream):
    with on(p):
        a = db.asarray(x) if stream is c else db.asarray(x, stream=stream)
    with on_torch(c):
        y = torch.from_dlpack(a if stream is c else _NoSync(a))
    return read_torch(y, c)


def cupy_from_dlpack(x, p, c, stream):
    cupy = installed("cupy")
    with on(p):
        a = db.asarray(x) if stream is c else db.asarray(x, stream=stream)
    with on_cupy(c):
        y = cupy.from_dlpack(a if stream is c else _NoSync(a))
    return read_cupy(y, c)


def dlpack_method(x, p, c, stream):
    with on(p):
        a = db.asarray(x)
    number = c.handle if stream is c else stream
    capsule = a.__dlpack__(stream=number, max_version=(1, 3))
    return read_raw(a.data_ptr, c, capsule)


class _NoSync(Unordered):
    def __init__(self, array):
        self.array = array


CONSUMERS = {
    "to_torch(stream=)": to_torch_by_keyword,
    "to_torch on the current stream": to_torch_current,
    "torch.from_dlpack(Array)": torch_from_dlpack,
    "cupy.from_dlpack(Array)": cupy_from_dlpack,
    "Array.__dlpack__(stream=)": dlpack_method,
}


def warm_up():
    """Runs each operation once: kernels that are loaded later would wait for a held stream."""
    p, c = gpulab.Stream(), gpulab.Stream()
    out = gpulab.Memory(COUNT)
    for producer in PRODUCERS.values():
        for consumer in CONSUMERS.values():
            with contextlib.suppress(pytest.skip.Exception):
                maker = producer()
                x = maker.make(p)
                maker.write(x, GOOD, p)
                consumer(x, p, c, c)(out)
    torch.cuda.synchronize()
    db.collect(wait=True)
