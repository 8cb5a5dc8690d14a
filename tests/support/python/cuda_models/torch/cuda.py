"""torch.cuda: streams, events, captures (torch/cuda/streams.py, torch/cuda/graphs.py)."""

import contextlib
import threading

import fake_driver as driver

from . import device as device_type

_POOL_SIZE = 32  # kStreamsPerPool; never destroyed
_pools = {}
_current = threading.local()  # c10/cuda/CUDAStream.cpp: current_streams is thread_local

captures_underway = 0


def is_available():
    return driver.device_count() > 0


def is_initialized():
    return True


def device_count():
    return driver.device_count()


def current_device():
    return driver.current_device()


def set_device(index):
    driver.set_device(_index_of(index))


def _index_of(where):
    if where is None:
        return current_device()
    if isinstance(where, int):
        return where
    where = device_type(where)
    return current_device() if where.index is None else where.index


@contextlib.contextmanager
def device(index):
    with driver.on_device(_index_of(index)):
        yield


class _StreamBase:
    def __init__(self, handle, index):
        self.cuda_stream, self.device_index = handle, index

    @property
    def device(self):
        return device_type("cuda", self.device_index)

    def __cuda_stream__(self):
        """pytorch#163614; the default stream is a NULL handle."""
        return (0, self.cuda_stream)

    def __eq__(self, other):
        if not isinstance(other, _StreamBase):
            return NotImplemented
        return (self.device_index, self.cuda_stream) == (other.device_index, other.cuda_stream)

    def __hash__(self):
        return hash((self.device_index, self.cuda_stream))

    def wait_event(self, event):
        event.event.make_wait(self.device_index, self.cuda_stream)

    def wait_stream(self, stream):
        self.wait_event(stream.record_event())

    def record_event(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self):
        driver.synchronize_stream(self.device_index, self.cuda_stream)


class Stream(_StreamBase):
    """One of a pool of non-blocking streams, handed out in turn."""

    def __init__(self, device=None, priority=0):
        index = _index_of(device)
        handles, count = _pools.setdefault(index, ([], [0]))
        if len(handles) < _POOL_SIZE:
            handles.append(driver.create_stream(index, non_blocking=True))
        handle = handles[count[0] % _POOL_SIZE]
        count[0] += 1
        super().__init__(handle, index)


class ExternalStream(_StreamBase):
    """Somebody else's handle; its owner keeps it alive."""

    def __init__(self, stream_ptr, device=None):
        super().__init__(stream_ptr, _index_of(device))


class Event:
    """Belongs to the device of the stream that it is first recorded on; without timing."""

    event = None

    def record(self, stream=None):
        stream = stream or current_stream()
        self.event = self.event or driver.Event(stream.device_index)
        self.event.record(stream.cuda_stream)

    def wait(self, stream=None):
        (stream or current_stream()).wait_event(self)


def default_stream(device=None):
    return ExternalStream(0, _index_of(device))


def current_stream(device=None):
    index = _index_of(device)
    return vars(_current).get(str(index)) or default_stream(index)


def set_stream(stream):
    driver.set_device(stream.device_index)
    vars(_current)[str(stream.device_index)] = stream


@contextlib.contextmanager
def stream(chosen):
    """StreamContext: device and stream, both put back."""
    before = driver.current_context()
    previous = current_stream(chosen.device_index)
    set_stream(chosen)
    try:
        yield chosen
    finally:
        vars(_current)[str(chosen.device_index)] = previous
        driver.call("cuCtxSetCurrent", 4000, driver._pointer(before))


def synchronize(device=None):
    with driver.on_device(_index_of(device)):
        driver.call("cuCtxSynchronize", 2000)


def is_current_stream_capturing():
    chosen = current_stream()
    return driver.is_capturing(chosen.device_index, chosen.cuda_stream)


@contextlib.contextmanager
def graph(chosen=None, capture_error_mode=driver.GLOBAL):
    """Captures on a side stream that is current inside."""
    global captures_underway
    chosen = chosen or Stream()
    with stream(chosen):
        captures_underway += 1
        driver.begin_capture(chosen.device_index, chosen.cuda_stream, capture_error_mode)
        try:
            yield chosen
        finally:
            captures_underway -= 1
            driver.end_capture(chosen.device_index, chosen.cuda_stream)
