"""The CUDA driver as the models see it, and what only the fake one answers.

`libcuda.so.1` is found by the dynamic linker, as by everybody else. The first part is the little of
cudart that the libraries stand on: primary contexts, a current device per thread, streams, events
and memory. The second part asks the fake (tests/support/fake_cuda/fake_cuda.h).
"""

import contextlib
import ctypes
import functools

LEGACY, PER_THREAD = 1, 2
NON_BLOCKING, DISABLE_TIMING = 1, 2
NOT_READY = 600

_library = ctypes.CDLL("libcuda.so.1")
if not hasattr(_library, "fake_cuda_races"):
    raise ImportError("libcuda.so.1 is a real driver: the models run on the fake one only")


class DriverError(RuntimeError):
    def __init__(self, function, code):
        super().__init__(f"{function} answered {code}")
        self.code = code


@functools.cache
def _entry(name, version):
    """A driver function as cudart gets it: by name and version."""
    pointer, status = ctypes.c_void_p(), ctypes.c_int()
    code = _library.cuGetProcAddress_v2(
        name.encode(), ctypes.byref(pointer), version, ctypes.c_uint64(1), ctypes.byref(status)
    )
    if code or not pointer.value:
        raise DriverError(f"cuGetProcAddress({name}, {version})", code)
    return ctypes.CFUNCTYPE(ctypes.c_int)(pointer.value)


def call(name, version, *arguments, allowed=()):
    """Calls a driver function; its answer, which is an error unless 0 or allowed."""
    code = _entry(name, version)(*arguments)
    if code and code not in allowed:
        raise DriverError(name, code)
    return code


def _pointer(value):
    return ctypes.c_void_p(value)


def _stream(handle):
    """The libraries pass NULL for the legacy stream; the fake reports NULL, which is ambiguous, to
    catch it in the hub."""
    return ctypes.c_void_p(handle or LEGACY)


# ---- contexts and devices ------------------------------------------------------------------------


@functools.cache
def primary_context(device):
    """The context that cudart, torch, CuPy and JAX share; retained once, never released."""
    call("cuInit", 2000, 0)
    context = ctypes.c_void_p()
    call("cuDevicePrimaryCtxRetain", 7000, ctypes.byref(context), device)
    return context.value


def current_context():
    call("cuInit", 2000, 0)
    context = ctypes.c_void_p()
    call("cuCtxGetCurrent", 4000, ctypes.byref(context))
    return context.value


@functools.cache
def device_count():
    call("cuInit", 2000, 0)
    count = ctypes.c_int()
    call("cuDeviceGetCount", 2000, ctypes.byref(count))
    return count.value


def current_device():
    """cudaGetDevice: the device of the thread's current context, 0 without one (CUDA Runtime API,
    "Interactions with the CUDA Driver API": the runtime uses the context that is current)."""
    if current_context() is None:
        return 0
    ordinal = ctypes.c_int()
    call("cuCtxGetDevice", 2000, ctypes.byref(ordinal))
    return ordinal.value


def set_device(device):
    """cudaSetDevice."""
    call("cuCtxSetCurrent", 4000, _pointer(primary_context(device)))


@contextlib.contextmanager
def on_device(device):
    before = current_context()
    set_device(device)
    try:
        yield
    finally:
        call("cuCtxSetCurrent", 4000, _pointer(before))


# ---- streams and events --------------------------------------------------------------------------


def create_stream(device, non_blocking):
    stream = ctypes.c_void_p()
    with on_device(device):
        call("cuStreamCreate", 2000, ctypes.byref(stream), NON_BLOCKING if non_blocking else 0)
    return stream.value


def destroy_stream(device, handle):
    with on_device(device):
        call("cuStreamDestroy", 4000, _stream(handle))


def synchronize_stream(device, handle):
    with on_device(device):
        call("cuStreamSynchronize", 2000, _stream(handle))


class Event:
    """Recorded where and when it is told; destroyed with the object, which is legal at any time."""

    def __init__(self, device, timing=False):
        self.device, self._handle = device, ctypes.c_void_p()
        with on_device(device):
            flags = 0 if timing else DISABLE_TIMING
            call("cuEventCreate", 2000, ctypes.byref(self._handle), flags)

    def record(self, stream):
        with on_device(self.device):
            call("cuEventRecord", 2000, self._handle, _stream(stream))

    def make_wait(self, device, stream):
        with on_device(device):
            call("cuStreamWaitEvent", 3020, _stream(stream), self._handle, 0)

    def is_complete(self):
        with on_device(self.device):
            return call("cuEventQuery", 2000, self._handle, allowed=(NOT_READY,)) == 0

    def synchronize(self):
        with on_device(self.device):
            call("cuEventSynchronize", 2000, self._handle)

    def __del__(self):
        if self._handle:
            with on_device(self.device):
                call("cuEventDestroy", 4000, self._handle)


# ---- captures ------------------------------------------------------------------------------------

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2


def begin_capture(device, stream, mode=GLOBAL):
    with on_device(device):
        call("cuStreamBeginCapture", 10010, _stream(stream), mode)


def end_capture(device, stream):
    """Raises DriverError(901) when something has invalidated the capture."""
    graph = ctypes.c_void_p()
    with on_device(device):
        call("cuStreamEndCapture", 10000, _stream(stream), ctypes.byref(graph))
        if graph:
            call("cuGraphDestroy", 10000, graph)


def is_capturing(device, stream):
    status = ctypes.c_int()
    with on_device(device):
        call("cuStreamIsCapturing", 10000, _stream(stream), ctypes.byref(status))
    return status.value != 0


# ---- memory --------------------------------------------------------------------------------------


def allocate(kind, device, nbytes):
    """Fresh memory of a kind: "device", "host" (pinned) or "managed"."""
    address = ctypes.c_uint64() if kind != "host" else ctypes.c_void_p()
    size = ctypes.c_size_t(nbytes)
    with on_device(device):
        if kind == "device":
            call("cuMemAlloc", 3020, ctypes.byref(address), size)
        elif kind == "managed":
            call("cuMemAllocManaged", 6000, ctypes.byref(address), size, 1)
        else:
            call("cuMemHostAlloc", 2020, ctypes.byref(address), size, 1)
    return address.value


def free(kind, device, address):
    with on_device(device):
        if kind == "host":
            call("cuMemFreeHost", 2000, _pointer(address))
        else:
            call("cuMemFree", 3020, ctypes.c_uint64(address))


# ---- the fake ------------------------------------------------------------------------------------


class _Access(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("writes", ctypes.c_int)]


def _control(name, result=None, *arguments):
    function = getattr(_library, "fake_cuda_" + name)
    function.restype, function.argtypes = result, arguments
    return function


_int, _size, _text, _address = ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
_work = _control("work", _int, _int, _address, ctypes.POINTER(_Access), _int)
_reuse = _control("reuse", _int, _int, _address, _address, _size)
_race = _control("race", _text, _int)
_calls = _control("calls", ctypes.c_long, _text)
_call_log = _control("call_log", _text)
_live = _control("live", ctypes.c_long, _text)
_fail = _control("fail", None, _text, _int, _int, _int)
_ignore = _control("ignore", None, _text, _int)
_host_access = _control("host_access", None, _address, _size, _int)
run = _control("run", None, _int)
set_idle = _control("set_idle", None, _int)
clear_races = _control("clear_races")
host_waits = _control("host_waits", ctypes.c_long)
hold = _control("hold", None, ctypes.c_int)
held = _control("held", ctypes.c_int)
heal = _control("heal")
reset_calls = _control("reset_calls")
race_count = _control("races", _int)


def work(device, stream, accesses):
    """A kernel: `accesses` are (address, bytes, writes)."""
    listed = (_Access * len(accesses))(*accesses)
    with on_device(device):
        code = _work(device, _stream(stream), listed, len(accesses))
    if code:
        raise DriverError("a kernel launch", code)


def reuse(device, stream, address, nbytes):
    """A freed block is handed out again on a stream: whoever still reads it reads rubbish."""
    with on_device(device):
        code = _reuse(device, _stream(stream), address, nbytes)
    if code:
        raise DriverError("the reuse of a block", code)


def host_access(address, nbytes, writes):
    _host_access(address, nbytes, writes)


def races():
    """Every race in words."""
    return [_race(i).decode() for i in range(race_count())]


def calls(name=None):
    return _calls(None if name is None else name.encode())


def call_log():
    return _call_log().decode().split()


def live(what):
    return _live(what.encode())


def fail(function, nth=1, code=999, sticky=False):
    _fail(function.encode(), nth, code, sticky)


def ignore(function, nth=0):
    _ignore(function.encode(), nth)
