"""The GPU lab of the tests (tests/gpu/lab/lab.h) in Python: latches that hold a stream up, fills and
copies, streams of every kind, memory of every kind."""

import contextlib
import ctypes
import json
import os
import time
from pathlib import Path

NOT_READY = 600
PATIENCE = 8.0
KINDS = ["legacy", "per-thread", "blocking", "non-blocking"]
PAIRS = [(p, c) for p in KINDS for c in KINDS]
MEMORY = {"device": 0, "pooled": 1, "managed": 2, "pinned": 3}
CAPTURE_MODES = {"global": 0, "thread-local": 1, "relaxed": 2}

_pointer, _int, _size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_SIGNATURES = {
    "lab_open": (ctypes.c_char_p, []),
    "lab_error_name": (ctypes.c_char_p, [_int]),
    "lab_device_count": (_int, []),
    "lab_driver_version": (_int, []),
    "lab_latch_make": (_int, []),
    "lab_latch_hold": (_int, [_int, _int, _pointer, ctypes.c_double]),
    "lab_latch_open": (None, [_int]),
    "lab_latch_timed_out": (_int, [_int]),
    "lab_fill": (_int, [_int, _pointer, _pointer, _size, ctypes.c_uint32]),
    "lab_copy": (_int, [_int, _pointer, _pointer, _pointer, _size]),
    "lab_wait": (_int, [_int, _pointer, ctypes.c_double]),
    "lab_is_done": (_int, [_int, _pointer]),
    "lab_stream_make": (_int, [_int, _int, ctypes.POINTER(_pointer)]),
    "lab_alloc": (_int, [_int, _int, _size, _pointer, ctypes.POINTER(_pointer)]),
    "lab_free": (_int, [_int, _int, _pointer, _pointer]),
    "lab_move": (_int, [_int, _pointer, _pointer, _pointer, _size]),
    "lab_capture_begin": (_int, [_int, _pointer, _int]),
    "lab_capture_end": (_int, [_int, _pointer, ctypes.POINTER(_pointer)]),
    "lab_capture_status": (_int, [_int, _pointer]),
}


def _load():
    path = os.environ.get("DLPACK_BRIDGE_GPU_LAB")
    if path is None:
        raise ImportError("DLPACK_BRIDGE_GPU_LAB is not set")
    library = ctypes.CDLL(path)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


lab = _load()


def why_no_gpu():
    """None, or why there is no GPU to test on."""
    why = lab.lab_open()
    return why.decode() if why else None


def must(code, call):
    if code != 0:
        raise RuntimeError(f"{call} failed: {lab.lab_error_name(code).decode()} ({code})")


def note(key, finding):
    """Writes a finding for build/gpu/findings.json."""
    path = os.environ.get("DLPACK_BRIDGE_GPU_FINDINGS")
    if path:
        with open(path, "a") as file:
            file.write(f"{key}\t{finding}\n")
    print(f"{key}: {finding}")


class Latch:
    """Holds streams up until it is opened."""

    def __init__(self):
        self.number = lab.lab_latch_make()

    def hold(self, stream, seconds=PATIENCE):
        handle = stream if isinstance(stream, int) else stream.handle
        must(lab.lab_latch_hold(self.number, 0, handle, seconds), "lab_latch_hold")

    def open(self):
        lab.lab_latch_open(self.number)

    @property
    def timed_out(self):
        return lab.lab_latch_timed_out(self.number) != 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.open()
        if error[0] is None:
            assert not self.timed_out, "something waited for a stream that was held up"


class Stream:
    """A stream of device 0, by kind. Objects of this class can be given as `stream=`.

    Handles are used again and never destroyed: an array that was told a number may be dropped later
    than the object.
    """

    _unused = {"blocking": [], "non-blocking": []}  # noqa: RUF012

    def __init__(self, kind="non-blocking"):
        self.kind = kind
        if kind not in self._unused:
            self.handle = 1 if kind == "legacy" else 2
        elif self._unused[kind]:
            self.handle = self._unused[kind].pop(0)
        else:
            handle = _pointer()
            must(lab.lab_stream_make(0, int(kind == "blocking"), ctypes.byref(handle)), kind)
            self.handle = handle.value

    def __del__(self):
        if self.kind in self._unused and hasattr(self, "handle"):
            self._unused[self.kind].append(self.handle)

    def __cuda_stream__(self):
        return (0, self.handle)

    def wait(self):
        must(lab.lab_wait(0, self.handle, PATIENCE), f"waiting for a {self.kind} stream")

    @property
    def busy(self):
        return lab.lab_is_done(0, self.handle) == NOT_READY

    def is_ordered_with(self, other):
        """The driver orders the two by its rule for the legacy stream, or they are one."""
        kinds = {self.kind, other.kind}
        return self.handle == other.handle or ("legacy" in kinds and "non-blocking" not in kinds)

    def begin_capture(self, mode="global"):
        must(lab.lab_capture_begin(0, self.handle, CAPTURE_MODES[mode]), "lab_capture_begin")

    def end_capture(self):
        """The driver's answer: 0 when the capture was valid."""
        return lab.lab_capture_end(0, self.handle, None)

    @property
    def capturing(self):
        return lab.lab_capture_status(0, self.handle) == 1


class Memory:
    """Memory of the lab that speaks `__cuda_array_interface__` as float32, ordered on a stream.

    Pinned memory to read it into comes along: allocations may wait for the device, so none is made
    while a latch is closed.
    """

    def __init__(self, count, kind="device", stream=None):
        self.count, self.kind, self.stream = count, kind, stream
        self.staging = None if kind == "pinned" else Memory(count, "pinned")
        address = _pointer()
        where = None if stream is None else stream.handle
        must(lab.lab_alloc(0, MEMORY[kind], 4 * count, where, ctypes.byref(address)), kind)
        self.address = address.value

    def __del__(self):
        if hasattr(self, "address"):
            where = None if self.stream is None else self.stream.handle
            lab.lab_free(0, MEMORY[self.kind], self.address, where)

    @property
    def __cuda_array_interface__(self):
        return {
            "shape": (self.count,),
            "typestr": "<f4",
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": None if self.stream is None else self.stream.handle,
        }

    def fill(self, value, stream):
        bits = ctypes.c_uint32.from_buffer_copy(ctypes.c_float(value)).value
        must(lab.lab_fill(0, stream.handle, self.address, self.count, bits), "lab_fill")

    def read(self, stream):
        """The values on the host after the work of `stream`."""
        import numpy

        pinned = self.staging.address
        must(lab.lab_move(0, stream.handle, pinned, self.address, 4 * self.count), "lab_move")
        stream.wait()
        values = (ctypes.c_float * self.count).from_address(pinned)
        return numpy.array(values, dtype=numpy.float32)


def copy(to, source_address, stream):
    """A kernel that copies float32 elements into a Memory."""
    must(lab.lab_copy(0, stream.handle, to.address, source_address, to.count), "lab_copy")


@contextlib.contextmanager
def quick(seconds=1.0):
    """The host does not wait inside."""
    start = time.perf_counter()
    yield
    took = time.perf_counter() - start
    assert took < seconds, f"the host was blocked for {took:.2f} s"


def versions():
    """Chip, driver and libraries, for reports."""
    found = {"driver": lab.lab_driver_version()}
    with contextlib.suppress(Exception):
        import torch

        found["chip"] = torch.cuda.get_device_name(0)
    import importlib.metadata

    for package in ("torch", "cupy-cuda13x", "jax", "jaxlib", "numpy", "cuda-core"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    with contextlib.suppress(Exception):
        import dlpack_bridge

        found["dlpack_bridge"] = dlpack_bridge.__version__
    with contextlib.suppress(OSError):
        first = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
        found["kernel driver"] = first.partition("Kernel Module")[2].split()[0]
    return found


if __name__ == "__main__":
    print(json.dumps(versions() if why_no_gpu() is None else {"skipped": why_no_gpu()}))
