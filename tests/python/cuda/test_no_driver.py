"""cuInit fails: no driver, or one that is not usable. Nothing else is changed by that."""

import os

import dlpack_lab as lab
import numpy as np
import pytest
from cuda_checks import codes

import dlpack_bridge as db

CODES = {100: "CUDA_ERROR_NO_DEVICE", 804: "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"}

pytestmark = pytest.mark.without_driver


class OnCuda:
    """A producer that says that its memory is on a GPU."""

    def __init__(self):
        self.export = lab.Export(0x1000, (3,), (1,), device=(2, 0))

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return self.export.capsule()

    def __dlpack_device__(self):
        return (2, 0)


@pytest.fixture(params=CODES)
def code(request):
    os.environ["FAKE_CUDA_INIT"] = str(request.param)
    return request.param


@pytest.mark.parametrize(
    "exchange",
    [
        lambda: db.to_numpy(OnCuda()),
        lambda: db.to_torch(OnCuda()),
        lambda: db.asarray(np.zeros(3), device="cuda"),
        lambda: db.to_torch(np.zeros(3), device="cuda"),
        lambda: db.asarray(np.zeros(3), device="cuda_host"),
        lambda: db.asarray(np.zeros(3), device="cuda_managed"),
    ],
)
def test_what_needs_a_driver_says_so(exchange, code):
    with pytest.raises(db.CudaError) as caught:
        exchange()
    assert (caught.value.code, caught.value.name) == (code, CODES[code])
    assert db.stats().live_arrays == 0


def test_a_plan_is_refused(code):
    for source, target, keywords in [
        (OnCuda(), "numpy", {}),
        (OnCuda(), "torch", {}),
        (np.zeros(3), "array", {"device": "cuda"}),
    ]:
        plan = db.plan(source, target, **keywords)
        assert (plan.action, codes(plan.blockers)) == ("refuse", {"driver"})
        assert "driver" in str(plan)


def test_host_arrays_are_exchanged_as_ever(code):
    a = np.arange(3.0)
    assert db.to_torch(a).data_ptr() == a.ctypes.data


def test_an_array_can_be_described(code):
    assert db.info(OnCuda()).device == "cuda:0"


def test_a_recorded_stream_needs_a_driver(code):
    a = lab.Export(0x1000, (3,), (1,), device=(2, 0)).capsule()
    with pytest.raises((db.CudaError, db.ExchangeError, ValueError, TypeError)):
        db.record_stream(db.asarray(a, stream=-1), 1)


def test_collecting_is_harmless(code):
    assert db.collect(wait=True) == 0
