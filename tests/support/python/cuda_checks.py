"""What many tests on the fake CUDA driver share."""

import contextlib
import gc

import fake_driver as driver
import torch

KINDS = ["legacy", "per-thread", "blocking", "non-blocking"]
PAIRS = [(p, c) for p in KINDS for c in KINDS]
DIFFERENT = [(p, c) for p, c in PAIRS if p != c or p.endswith("blocking")]


@contextlib.contextmanager
def makes(records, waits, host_waits=0):
    """The block records and waits for exactly so many events, and blocks the host so often."""
    driver.reset_calls()
    yield
    made = driver.calls("cuEventRecord"), driver.calls("cuStreamWaitEvent")
    assert made == (records, waits), driver.call_log()
    assert driver.host_waits() == host_waits, driver.call_log()


@contextlib.contextmanager
def races():
    """The block must race: what is tested is seen to matter."""
    assert driver.races() == []
    yield
    gc.collect()
    assert driver.races(), "no race was found"
    driver.clear_races()


def torch_stream(stream):
    """torch's object for a raw stream: a NULL handle for the legacy one."""
    if stream.kind == "legacy":
        return torch.cuda.default_stream(stream.device)
    return torch.cuda.ExternalStream(stream.handle, stream.device)


def on_torch(stream):
    """torch works on this stream inside."""
    return torch.cuda.stream(torch_stream(stream))


def torch_array(values, stream):
    """A tensor that torch has allocated and written on a stream."""
    with on_torch(stream):
        return torch.tensor(values, device=f"cuda:{stream.device}")


def use_on(tensor, stream):
    """A kernel of torch on a stream; what it read."""
    with on_torch(stream):
        return tensor.use().tolist()


def codes(reasons):
    return {reason.code for reason in reasons}
