"""`__cuda_array_interface__` version 3 as a source: the hub orders, as its consumer."""

import weakref

import device_model
import fake_driver as driver
import pytest
import raw_cuda as raw
from cuda_checks import KINDS, codes, makes, races, use_on

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]


def array_naming(stream, writer, **changes):
    x = raw.array(VALUES, writer, kind=raw.WithInterface)
    x.named = stream
    return x


@pytest.mark.parametrize("kind", KINDS)
def test_the_named_stream_is_ordered_with_an_event(kind):
    p, c = raw.Stream(kind), raw.Stream()
    x = array_naming(p.handle, p)
    db.to_torch(x, stream=c)
    with makes(1, 1):
        y = db.to_torch(x, stream=c)
    assert use_on(y, c) == VALUES


def test_none_means_that_there_is_nothing_to_wait_for():
    p, c = raw.Stream(), raw.Stream()
    x = array_naming(None, p)
    with makes(0, 0):
        y = db.to_torch(x, stream=c)
    assert db.plan(x, "torch", stream=c).waits == ()
    with races():  # the producer was wrong; the hub believes it
        use_on(y, c)
    driver.run(0)


@pytest.mark.parametrize("number", [0, -1, -2])
def test_a_number_that_is_not_allowed_is_refused(number):
    x = array_naming(number, raw.Stream())
    driver.reset_calls()
    with pytest.raises(db.ExchangeError) as caught:
        db.asarray(x)
    assert codes(caught.value.blockers) <= {"stream", "malformed"}
    assert driver.calls("cuEventRecord") == driver.calls("cuStreamWaitEvent") == 0
    assert db.plan(x, "torch").action == "refuse"


@pytest.mark.parametrize("value", ["1", 1.5, True, (1,)])
def test_a_stream_that_is_no_int_is_malformed(value):
    with pytest.raises(db.ExchangeError) as caught:
        db.asarray(array_naming(value, raw.Stream()))
    assert codes(caught.value.blockers) <= {"stream", "malformed"}


def test_the_owner_is_kept_as_long_as_the_result():
    p = raw.Stream()
    x = array_naming(p.handle, p)
    owner = weakref.ref(x)
    y = db.to_torch(x, stream=p)
    del x
    assert owner() is not None
    assert use_on(y, p) == VALUES
    del y
    driver.run(0)
    db.collect()
    assert owner() is None


def test_the_device_is_that_of_the_pointer():
    p = raw.Stream(device=1)
    x = array_naming(p.handle, p)
    a = db.asarray(x)
    assert a.device == "cuda:1"
    c = raw.Stream(device=1)
    assert raw.consume(a, c).use() == VALUES


def test_managed_memory_is_known_by_its_pointer():
    x = raw.array(VALUES, raw.Stream(), kind=raw.WithInterface, memory=raw.CUDA_MANAGED)
    assert db.asarray(x).device in ("cuda_managed", "cuda:0")


@pytest.mark.parametrize("kind", KINDS)
def test_a_held_interface_is_asked_again_for_each_export(kind):
    p, c, d = raw.Stream(), raw.Stream(kind), raw.Stream()
    x = array_naming(p.handle, p)
    a = db.asarray(x)
    assert raw.consume(a, c).use() == VALUES
    device_model.wait_for(0, p.handle, 0, c.handle)
    x.add(1)
    assert raw.consume(a, d).use() == [2, 3, 4, 5]
