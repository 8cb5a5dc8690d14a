"""What the models of the GPU libraries have in common: blocks and pools, streams, kernels.

A model never waits for more than its library does. What a library must never be given is a finding,
which fails the test at its end.
"""

import threading
from collections import defaultdict

import cuda_lab
import fake_driver as driver
import numpy as np

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13

findings = []  # what was done to a library that it cannot stand

_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}


def dlpack_dtype(numpy_dtype):
    """(code, bits, lanes) of a NumPy dtype."""
    dtype = np.dtype(numpy_dtype)
    return _CODES[dtype.kind], dtype.itemsize * 8, 1


def numpy_dtype(dlpack):
    code, bits, _ = dlpack
    kind = next(kind for kind, known in _CODES.items() if known == code)
    return np.dtype(f"{kind}{bits // 8}")


def row_major(shape):
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


# ---- memory --------------------------------------------------------------------------------------


class Block:
    """A piece of device memory and the stream in whose order its pool hands it out."""

    def __init__(self, kind, device, nbytes, home):
        self.kind, self.device, self.nbytes, self.home = kind, device, nbytes, home
        self.address = driver.allocate(kind, device, nbytes)


class Storage:
    """The owner of a block: gives it back to its pool when it dies, wherever that happens."""

    def __init__(self, pool, block):
        self.pool, self.block = pool, block
        self.uses = set()  # streams that the pool was told of, where it listens
        pool.in_use += 1

    def __del__(self):
        self.pool.in_use -= 1
        self.pool.take_back(self)


class Pool:
    """A caching allocator without any protection across streams: a block goes back to the free list
    of its own stream at once, and the next allocation there gets it, filled with rubbish."""

    def __init__(self, kind="device"):
        self.kind, self.in_use, self.reused = kind, 0, 0
        self.free = defaultdict(list)

    def allocate(self, device, nbytes, stream):
        size = (
            -(-max(nbytes, 1) // 512) * 512
        )  # as torch's kMinBlockSize and CuPy's ALLOCATION_UNIT
        waiting = self.free[device, self.home_of(stream), size]
        if not waiting:
            return Storage(self, Block(self.kind, device, size, stream))
        block = waiting.pop()
        self.reused += 1
        driver.reuse(device, stream, block.address, size)
        return Storage(self, block)

    @staticmethod
    def home_of(stream):
        """A per-thread stream is another one on each thread."""
        return (stream, threading.get_ident()) if stream == driver.PER_THREAD else stream

    def take_back(self, storage):
        block = storage.block
        self.free[block.device, self.home_of(block.home), block.nbytes].append(block)

    def empty(self):
        """Gives what is cached back to the driver."""
        for waiting in self.free.values():
            while waiting:
                block = waiting.pop()
                driver.free(block.kind, block.device, block.address)


# ---- kernels -------------------------------------------------------------------------------------


def host_view(array):
    """The elements of an array; the fake keeps device memory on the host. For kernels only: a user
    goes through `tolist` or `get`, which wait as the library does."""
    dtype = numpy_dtype(array.dlpack_dtype)
    low, high = span(array)
    interface = {"data": (low, False), "shape": (high - low,), "typestr": "|u1", "version": 3}
    if high == low:
        return np.empty(array.shape, dtype)
    raw = np.asarray(type("Bytes", (), {"__array_interface__": interface})())
    strides = tuple(stride * dtype.itemsize for stride in array.strides_in_elements)
    return np.ndarray(array.shape, dtype, raw.data, array.address - low, strides)


def span(array):
    """The addresses that an array reaches."""
    size = numpy_dtype(array.dlpack_dtype).itemsize
    low = high = array.address
    for extent, stride in zip(array.shape, array.strides_in_elements, strict=True):
        if extent == 0:
            return array.address, array.address
        reach = (extent - 1) * stride * size
        low, high = min(low, low + reach), max(high, high + reach)
    return low, high + size


def _access(array, writes):
    low, high = span(array)
    return low, high - low, writes


def kernel(device, stream, reads=(), writes=()):
    """A kernel of a library on a stream. The caller changes the elements."""
    accesses = [_access(a, 0) for a in reads] + [_access(a, 1) for a in writes]
    driver.work(device, stream, accesses)


def read_on_host(array):
    """What the host sees now: a race unless it has waited for the writers."""
    low, high = span(array)
    driver.host_access(low, high - low, 0)
    return host_view(array).copy()


# ---- arrays --------------------------------------------------------------------------------------


class DeviceArray(cuda_lab.Array):
    """An array of a model: what it knows of itself and the kernels that all of them have."""

    @classmethod
    def over(cls, storage, fields, dtype):
        """An array over imported or allocated memory; `fields` are those of cuda_lab.Array."""
        made = cls.__new__(cls)
        fields = dict(fields)
        if fields["strides"] is None:
            fields["strides"] = row_major(fields["shape"])
        made.dlpack_dtype = tuple(fields["dlpack_dtype"])
        made.dlpack_device = tuple(fields["dlpack_device"])
        cuda_lab.Array.__init__(made, storage=storage, dtype=dtype, **fields)
        return made

    @classmethod
    def in_block(cls, storage, shape, dtype, device_type, dtype_object):
        fields = {
            "address": storage.block.address,
            "shape": shape,
            "strides": None,
            "dlpack_dtype": dlpack_dtype(dtype),
            "dlpack_device": (device_type, storage.block.device),
        }
        return cls.over(storage, fields, dtype_object)

    @property
    def nbytes(self):
        return int(np.prod(self.shape)) * numpy_dtype(self.dlpack_dtype).itemsize

    def view_of(self, elements, shape, strides):
        """The same storage, `elements` further on."""
        size = numpy_dtype(self.dlpack_dtype).itemsize
        fields = {
            "address": self.address + elements * size,
            "shape": shape,
            "strides": strides,
            "dlpack_dtype": self.dlpack_dtype,
            "dlpack_device": self.dlpack_device,
        }
        return type(self).over(self.storage, fields, self.dtype)

    def write(self, stream, values):
        """A kernel that writes all elements."""
        kernel(self.dlpack_device[1], stream, writes=[self])
        host_view(self)[...] = values

    def update(self, stream, change):
        """A kernel that reads all elements and writes them again."""
        kernel(self.dlpack_device[1], stream, reads=[self], writes=[self])
        elements = host_view(self)
        elements[...] = change(elements)

    def read(self, stream):
        """A kernel that reads all elements; what it saw."""
        kernel(self.dlpack_device[1], stream, reads=[self])
        return host_view(self).copy()


def interface_v3(array, stream):
    """`__cuda_array_interface__`, version 3, as CuPy and numba fill it."""
    dtype = numpy_dtype(array.dlpack_dtype)
    strides = tuple(stride * dtype.itemsize for stride in array.strides_in_elements)
    return {
        "version": 3,
        "typestr": dtype.str,
        "shape": array.shape,
        "strides": None if array.strides_in_elements == row_major(array.shape) else strides,
        "data": (array.address, False),
        "stream": stream,
    }


def fields_of_interface(interface, device):
    dtype = np.dtype(interface["typestr"])
    strides = interface.get("strides")
    return {
        "address": interface["data"][0],
        "shape": interface["shape"],
        "strides": None if strides is None else tuple(s // dtype.itemsize for s in strides),
        "dlpack_dtype": dlpack_dtype(dtype),
        "dlpack_device": (CUDA, device),
    }


def call_dlpack(producer, keywords, droppable=("max_version",)):
    """`producer.__dlpack__(**keywords)`, without the droppable ones where they are not known, as
    torch and CuPy do it."""
    try:
        return producer.__dlpack__(**keywords)
    except TypeError:
        left = {name: value for name, value in keywords.items() if name not in droppable}
        return producer.__dlpack__(**left)


# ---- streams -------------------------------------------------------------------------------------


def wait_for(device, waiting, producer_device, producer):
    """What libraries do between two streams: an event, recorded and waited for."""
    event = driver.Event(producer_device)
    event.record(producer)
    event.make_wait(device, waiting)
