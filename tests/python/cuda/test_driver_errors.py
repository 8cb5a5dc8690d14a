"""Every failure of the driver is one clear CudaError that leaves nothing behind."""

import cuda_lab
import fake_driver as driver
import numpy as np
import pytest
import raw_cuda as raw
from cuda_checks import on_torch, torch_array

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]
OUT_OF_MEMORY, ILLEGAL_ADDRESS, INVALID_HANDLE = 2, 700, 400


class Case:
    """An exchange whose driver calls are all the hub's."""

    def __init__(self):
        self.p, self.c, self.far = raw.Stream(), raw.Stream(), raw.Stream(device=1)
        self.x = raw.array(VALUES, self.p, kind=raw.WithInterface)
        self.host = np.arange(4.0)

    def share(self):
        return db.asarray(self.x, stream=self.c)

    def copy(self):
        return db.asarray(self.x, stream=self.c, copy=True)

    def convert(self):
        return db.asarray(self.x, stream=self.c, dtype="float64")

    def to_the_host(self):
        return db.to_numpy(self.x, stream=self.c)

    def to_the_device(self):
        return db.asarray(self.host, device="cuda", stream=self.c)

    def to_the_other_device(self):
        return db.asarray(self.x, device="cuda:1", stream=self.far)

    def to_pinned_memory(self):
        return db.asarray(self.x, device="cuda_host")

    def to_managed_memory(self):
        return db.asarray(self.host, device="cuda_managed")

    def record(self):
        a = db.asarray(self.x, stream=self.c)
        db.record_stream(a, self.c)
        return a

    def _use(self, result):
        """What does not fail is ordered as ever."""
        if isinstance(result, db.Array) and result.device.type == raw.CUDA:
            c = self.far if result.device.id == 1 else self.c
            capsule = result.__dlpack__(stream=-1, max_version=(1, 3))
            raw.Result(cuda_lab.take(capsule), c).use()


CASES = [name for name in vars(Case) if not name.startswith("_")]
# A context that cannot be taken off stays; what a look-up of functions does is the driver's test.
BEYOND_REPAIR = {"cuGetProcAddress", "cuCtxPopCurrent"}


def calls_of(case, name):
    """The driver functions that the exchange calls, without those of the release."""
    driver.reset_calls()
    result = getattr(case, name)()
    log = driver.call_log()
    del result
    return log


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_any_call_may_fail(name, warm):
    if warm:
        calls_of(Case(), name)
        driver.run(0)
        db.collect(wait=True)
    case = Case()
    context = driver.current_context()
    log = calls_of(Case(), name) if warm else ["cuInit", "cuDevicePrimaryCtxRetain"]
    assert log
    failures = 0
    for function in sorted(set(log) - BEYOND_REPAIR):
        for nth in range(1, log.count(function) + 1):
            before = db.stats()
            driver.fail(function, nth, OUT_OF_MEMORY)
            try:
                result = getattr(case, name)()
            except db.CudaError as error:
                assert (error.name, error.code) == ("CUDA_ERROR_OUT_OF_MEMORY", OUT_OF_MEMORY)
                assert "CUDA_ERROR_OUT_OF_MEMORY" in str(error)
                failures += 1
            except MemoryError:
                assert "Alloc" in function or "Retain" in function
                failures += 1
            else:
                driver.heal()
                case._use(result)
                del result
            driver.heal()
            assert driver.races() == [], f"{function} failed, and so did the order"
            assert driver.current_context() == context, function
            driver.run(0)
            db.collect(wait=True)
            assert db.stats().live_arrays == before.live_arrays, function
            assert db.stats().leaked == before.leaked, function
            assert driver.races() == [], f"{function} failed, and so did the release"
    assert failures > 0
    result = getattr(case, name)()
    assert result is not None


@pytest.mark.breaks_driver
@pytest.mark.parametrize("name", ["share", "copy", "to_the_host", "to_the_device"])
def test_a_sticky_error_is_told_every_time(name):
    case = Case()
    kept = case.share()
    driver.fail(
        "cuEventRecord" if name != "to_the_device" else "cuStreamIsCapturing",
        1,
        ILLEGAL_ADDRESS,
        True,
    )
    for _ in range(2):
        with pytest.raises(db.CudaError) as caught:
            case.share()
            getattr(case, name)()
        assert caught.value.code == ILLEGAL_ADDRESS
        assert caught.value.name == "CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(db.CudaError):
        kept.__dlpack__(stream=1)
    del kept
    db.collect()
    db.collect(wait=True)
    assert db.stats().live_arrays == 0


def test_host_arrays_do_not_care_about_the_driver():
    driver.fail("cuInit", 0, 999)
    a = np.arange(4.0)
    assert db.to_torch(a).tolist() == [0, 1, 2, 3]
    assert db.asarray(a).data_ptr == a.ctypes.data
    driver.heal()


def test_a_failure_during_an_export_leaves_no_capsule():
    p = raw.Stream()
    with on_torch(p):
        a = db.asarray(torch_array(VALUES, p))
    raw.consume(a, raw.Stream())
    live = db.stats().live_arrays
    driver.fail("cuStreamWaitEvent", 1, INVALID_HANDLE)
    with pytest.raises(db.CudaError) as caught:
        a.__dlpack__(stream=raw.Stream().handle)
    assert (caught.value.name, caught.value.code) == ("CUDA_ERROR_INVALID_HANDLE", 400)
    driver.heal()
    assert db.stats().live_arrays == live


def test_a_failure_on_release_never_raises():
    p, c = raw.Stream(), raw.Stream()
    y = db.to_torch(raw.array(VALUES, p), stream=c)
    driver.fail("cuEventRecord", 1, OUT_OF_MEMORY)
    del y
    driver.heal()
    db.collect(wait=True)
    assert db.stats().live_arrays == 0


def test_a_producers_failure_is_the_producers():
    class Failing(raw.Array):
        def order(self, stream):
            raise RuntimeError("the producer has lost its stream")

    x = raw.array(VALUES, raw.Stream(), kind=Failing)
    with pytest.raises(db.ExchangeError, match="lost its stream") as caught:
        db.asarray(x)
    assert isinstance(caught.value.__cause__, RuntimeError)
