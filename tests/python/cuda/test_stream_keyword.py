"""`stream=` in all its forms on every entry point."""

import cupy
import fake_driver as driver
import numpy as np
import pytest
import raw_cuda as raw
import torch
from cuda_checks import KINDS, codes, makes, on_torch, torch_array, torch_stream, use_on

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]

ENTRIES = {
    "to_torch": lambda x, s: db.to_torch(x, stream=s),
    "convert": lambda x, s: db.convert(x, "torch", stream=s),
    "asarray": lambda x, s: db.asarray(x, stream=s),
    "to_numpy": lambda x, s: db.to_numpy(x, stream=s),
    "plan": lambda x, s: db.plan(x, "torch", stream=s),
}

FORMS = {
    "number": lambda s: s.handle,
    "__cuda_stream__": lambda s: s,
    "torch": torch_stream,
    "cupy": lambda s: cupy.cuda.ExternalStream(0 if s.kind == "legacy" else s.handle, s.device),
    "torch before 2.10": lambda s: OldTorch(s),
    "cupy before 14": lambda s: OldCuPy(s),
}


class OldTorch:
    def __init__(self, stream):
        self.cuda_stream = 0 if stream.kind == "legacy" else stream.handle


class OldCuPy:
    def __init__(self, stream):
        self.ptr = 0 if stream.kind == "legacy" else stream.handle


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_stream_in_every_form(form, kind):
    p, c = raw.Stream(), raw.Stream(kind)
    x = raw.array(VALUES, p, kind=raw.WithInterface)
    assert db.plan(x, "torch", stream=FORMS[form](c)).waits == ((c.handle, p.handle),)
    with makes(1, 1):
        y = db.to_torch(x, stream=FORMS[form](c))
    assert use_on(y, c) == VALUES


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("stream", [True, False, "1", 1.5, [], object()])
def test_what_is_no_stream_is_a_type_error(entry, stream):
    with pytest.raises(TypeError):
        ENTRIES[entry](torch_array(VALUES, raw.Stream()), stream)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("number", [0, -2, -(2**70), 2**70])
def test_a_number_that_cuda_does_not_allow_is_a_blocker(entry, number):
    p = raw.Stream()
    x = torch_array(VALUES, p)
    driver.reset_calls()
    if entry == "plan":
        plan = ENTRIES[entry](x, number)
        assert (plan.action, codes(plan.blockers), plan.waits) == ("refuse", {"stream"}, ())
    else:
        with pytest.raises(db.ExchangeError) as caught:
            ENTRIES[entry](x, number)
        assert codes(caught.value.blockers) == {"stream"}
    assert driver.calls("cuEventRecord") == driver.calls("cuMemAllocFromPoolAsync") == 0


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_stream_of_another_device_is_refused(entry):
    x = torch_array(VALUES, raw.Stream())
    other = raw.Stream(device=1)
    driver.reset_calls()
    if entry == "plan":
        assert codes(ENTRIES[entry](x, other).blockers) == {"stream"}
    else:
        with pytest.raises(db.ExchangeError, match="cuda:1") as caught:
            ENTRIES[entry](x, other)
        assert codes(caught.value.blockers) == {"stream"}
    assert driver.calls("cuEventRecord") == driver.calls("cuStreamWaitEvent") == 0


def test_a_stream_of_another_device_is_refused_by_an_export():
    a = db.asarray(torch_array(VALUES, raw.Stream()))
    with pytest.raises(db.ExchangeError) as caught:
        a.__dlpack__(stream=raw.Stream(device=1).handle)
    assert codes(caught.value.blockers) == {"stream"}


def test_a_stream_whose_protocol_method_fails():
    class Broken:
        def __cuda_stream__(self):
            raise RuntimeError("no stream today")

    with pytest.raises(RuntimeError, match="no stream today"):
        db.asarray(torch_array(VALUES, raw.Stream()), stream=Broken())


def test_between_host_arrays_a_stream_is_idle():
    a = np.arange(4.0)
    driver.reset_calls()
    assert db.to_torch(a, stream=raw.Stream()).data_ptr() == a.ctypes.data
    assert db.to_numpy(a, stream=-1) is a
    assert driver.calls("cuEventRecord") == driver.calls("cuStreamWaitEvent") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_result_is_copied_on_the_stream_and_waited_for(kind):
    p, c = raw.Stream(), raw.Stream(kind)
    x = torch_array(VALUES, p)
    with on_torch(p):
        n = db.to_numpy(x, stream=c)
    driver.host_access(n.ctypes.data, n.nbytes, 0)
    assert n.tolist() == VALUES


def test_without_a_stream_torch_gets_it_for_its_current_stream():
    p, c = raw.Stream(), raw.Stream()
    x = raw.array(VALUES, p)
    with on_torch(c):
        y = db.to_torch(x)
        assert x.asked[-1]["stream"] == c.handle
        assert y.use().tolist() == VALUES
    y = db.to_torch(x)
    assert x.asked[-1]["stream"] == 1
    assert y.use().tolist() == VALUES


def test_the_current_stream_is_that_of_the_arrays_device():
    p, c = raw.Stream(device=1), raw.Stream(device=1)
    x = raw.array(VALUES, p)
    with on_torch(c), torch.cuda.device(0):
        y = db.to_torch(x)
    assert use_on(y, c) == VALUES
