"""Into frameworks that take arrays by a function of their own. JAX and CuPy are models, whose streams the
hub orders (test_handoffs.py); here are those that cannot be told a stream, and where arrays may live."""

import sys
import types

import cuda_lab
import cupy
import fake_driver as driver
import numpy as np
import pytest
import raw_cuda as raw
from cuda_checks import KINDS, codes, makes, on_torch, races, torch_array

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]


class Result(raw.Result):
    """Drops nothing that it still uses: who does that declares it, with db.record_stream."""

    def use(self):
        values = super().use()
        driver.synchronize_stream(0, self.stream.handle)
        return values


class WithoutStream:
    """A framework that takes a capsule and computes on a stream that nobody knows."""

    def __init__(self, **fields):
        self.stream = raw.Stream()
        self.module = types.SimpleNamespace(from_dlpack=self.from_dlpack, **fields)

    def from_dlpack(self, capsule):
        return Result(cuda_lab.take(capsule), self.stream)


def module_of(name, **attributes):
    made = types.ModuleType(name)
    vars(made).update(attributes)
    sys.modules[name] = made


@pytest.fixture
def framework(request):
    """The framework of that name, with a GPU of its own."""
    model = WithoutStream()
    if request.param == "tvm_ffi":
        module_of("tvm_ffi", from_dlpack=model.from_dlpack)
    else:
        use_tensorflow(model, gpus=["GPU:0"])
    return request.param


def use_tensorflow(model, gpus):
    config = types.SimpleNamespace(list_physical_devices={"GPU": gpus}.get)
    experimental = types.SimpleNamespace(dlpack=model.module)
    module_of("tensorflow", config=config, experimental=experimental)


both = pytest.mark.parametrize("framework", ["tvm_ffi", "tensorflow"], indirect=True)


@both
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [torch_array, raw.array])
def test_memory_is_complete_for_who_knows_no_stream(framework, make, kind):
    p = raw.Stream(kind)
    with on_torch(p):
        x = make(VALUES, p)
        y = db.convert(x, framework)
    assert y.use() == VALUES
    assert db.plan(x, framework).action == "share"


@both
def test_the_host_waits_once_and_not_where_the_caller_orders(framework):
    p = raw.Stream()
    with on_torch(p):
        db.convert(torch_array(VALUES, p), framework)  # makes the event that is waited for
        x = torch_array(VALUES, p)
        with makes(1, 0, host_waits=1):
            y = db.convert(x, framework)
        assert y.use() == VALUES
        x = torch_array(VALUES, p)
        with makes(0, 0):
            y = db.convert(x, framework, stream=-1)
        with races():
            y.use()


@both
def test_nothing_is_completed_inside_a_capture(framework):
    p = raw.Stream()
    with on_torch(p):
        x = torch_array(VALUES, p)
        driver.begin_capture(0, p.handle)
        plan = db.plan(x, framework)
        with pytest.raises(db.ExchangeError):
            db.convert(x, framework)
        driver.end_capture(0, p.handle)
    assert plan.action == "refuse" and codes(plan.blockers) == {"capture"}


@both
def test_a_copy_for_who_knows_no_stream_is_complete_as_well(framework):
    p = raw.Stream()
    with on_torch(p):
        copies = [db.convert(torch_array(VALUES, p), framework, copy=True)]
    copies.append(db.convert(np.asarray(VALUES, "f4"), framework, device="cuda"))
    assert [y.use() for y in copies] == [VALUES, VALUES]


def test_tensorflow_without_a_gpu_gets_host_memory():
    model = WithoutStream()
    use_tensorflow(model, gpus=[])
    p = raw.Stream()
    plan = db.plan(raw.array(VALUES, p), "tensorflow")
    assert plan.action == "copy" and "device" in codes(plan.reasons)
    plan = db.plan(raw.array(VALUES, p), "tensorflow", device="cuda:0")
    assert plan.action == "refuse" and "cannot hold arrays on cuda:0 here" in str(plan)


def test_jax_without_cuda_gets_host_memory(monkeypatch):
    import jax

    def refuse(platform):
        raise RuntimeError(f"Unknown backend {platform}")

    monkeypatch.setattr(jax, "devices", refuse)
    plan = db.plan(raw.array(VALUES, raw.Stream()), "jax")
    assert plan.action == "copy" and codes(plan.reasons) == {"device"}


def test_cupy_holds_no_host_memory():
    x = np.ones(4, "f4")
    plan = db.plan(x, "cupy")
    assert plan.action == "refuse" and codes(plan.blockers) == {"device"}
    assert "pass device=" in str(plan)
    with cupy.cuda.Device(1):
        y = db.convert(x, "cupy", device="cuda:1")
        assert y.use().tolist() == [1, 1, 1, 1] and y.__dlpack_device__() == (2, 1)


def test_memory_of_cupy_goes_back_to_it():
    x = cupy.full(4, VALUES)
    array = db.asarray(x)
    y = db.convert(array, "cupy")
    assert y.tolist() == VALUES
    assert db.plan(array, cupy.ndarray).action == "share"


@pytest.mark.parametrize("to", ["jax", "cupy"])
def test_an_exchange_is_told_once(to):
    x = raw.array(VALUES, raw.Stream())
    with db.trace() as t:
        db.convert(x, to)
    assert [(record.target, record.action) for record in t.records] == [(to, "share")]


@pytest.mark.parametrize("to", ["jax", "cupy"])
def test_a_result_is_one_live_array(to):
    x = raw.array(VALUES, raw.Stream())
    before = db.stats().live_arrays
    y = db.convert(x, to)
    assert db.stats().live_arrays == before + 1
    del y


def test_device_memory_is_read_only_for_jax_alone():
    x = raw.array(VALUES, raw.Stream())
    assert db.plan(x, "jax").readonly and not db.plan(x, "cupy").readonly
