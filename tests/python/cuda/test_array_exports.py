"""What a hub array on a GPU gives to others: `__dlpack__`, the interface dict, the exchange table."""

import cuda_lab
import device_model
import dlpack_lab as lab
import fake_driver as driver
import numpy as np
import pytest
import raw_cuda as raw
from cuda_checks import KINDS, codes, makes, on_torch, races, torch_array, use_on

import dlpack_bridge as db

VALUES = [1, 2, 3, 4]
READ_ONLY, IS_COPIED = 1, 2


def array_on(stream, **keywords):
    with on_torch(stream):
        return db.asarray(torch_array(VALUES, stream), **keywords)


def result_of(capsule, stream):
    return raw.Result(cuda_lab.take(capsule), stream)


# ---- the numbers of __dlpack__ -----------------------------------------------------------------------


@pytest.mark.parametrize(("number", "kind"), [(None, "legacy"), (1, "legacy"), (2, "per-thread")])
def test_the_fixed_numbers(number, kind):
    p = raw.Stream()
    a = array_on(p)
    with on_torch(p), makes(1, 1):
        capsule = a.__dlpack__(stream=number, max_version=(1, 3))
    assert result_of(capsule, raw.Stream(kind)).use() == VALUES


def test_no_stream_argument_means_the_legacy_default_stream():
    a = array_on(raw.Stream())
    assert result_of(a.__dlpack__(max_version=(1, 3)), raw.Stream("legacy")).use() == VALUES


@pytest.mark.parametrize("kind", ["blocking", "non-blocking"])
def test_handles(kind):
    a, c = array_on(raw.Stream()), raw.Stream(kind)
    assert result_of(a.__dlpack__(stream=c.handle), c).use() == VALUES


def test_minus_one_leaves_the_order_to_the_caller():
    p, c = raw.Stream(), raw.Stream()
    a = array_on(p)
    with makes(0, 0):
        result = result_of(a.__dlpack__(stream=-1), c)
    with races():
        result.use()
    driver.run(0)


@pytest.mark.parametrize("number", [0, -2, -(2**40), 2**70, -(2**70)])
def test_numbers_that_cuda_does_not_allow(number):
    a = array_on(raw.Stream())
    for export in (
        lambda: a.__dlpack__(stream=number),
        lambda: a.__dlpack__(stream=number, max_version=(1, 3)),
    ):
        driver.reset_calls()
        with pytest.raises(db.ExchangeError) as caught:
            export()
        assert codes(caught.value.blockers) == {"stream"}
        assert str(number) in str(caught.value) or abs(number) > 2**63
        assert driver.calls("cuEventRecord") == 0
    if number == 0:
        assert "1" in str(caught.value), "the remedy names the legacy stream"


@pytest.mark.parametrize("stream", [True, False, "1", 1.0, b"1", (1,)])
def test_what_is_no_int_is_a_type_error(stream):
    a = array_on(raw.Stream())
    with pytest.raises(TypeError):
        a.__dlpack__(stream=stream)


def test_pinned_memory_has_no_stream():
    a = db.asarray(np.arange(4.0), device="cuda_host")
    for number in (-1, 0, 1, 2, 99):
        with pytest.raises(db.ExchangeError):
            a.__dlpack__(stream=number)
    assert lab.read(a.__dlpack__(max_version=(1, 3)))["device"] == (3, 0)


# ---- dl_device, copy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", KINDS)
def test_the_host_copy_is_complete_on_return(p):
    a = array_on(raw.Stream(p))
    capsule = a.__dlpack__(dl_device=(1, 0), max_version=(1, 3))
    fields = lab.read(capsule)
    assert (fields["device"], fields["flags"]) == ((1, 0), IS_COPIED)
    taken = cuda_lab.take(capsule)
    copied = device_model.DeviceArray.over(taken, taken.fields, None)
    assert device_model.read_on_host(copied).tolist() == VALUES


def test_a_host_export_may_not_be_forbidden_to_copy():
    a = array_on(raw.Stream())
    with pytest.raises(BufferError):
        a.__dlpack__(dl_device=(1, 0), copy=False)
    with pytest.raises(db.CopyRequiredError):
        a.__dlpack__(dl_device=(1, 0), copy=False, max_version=(1, 3))


@pytest.mark.parametrize("number", [1, 2, -1])
def test_a_stream_for_a_host_export_is_refused(number):
    a = array_on(raw.Stream())
    with pytest.raises(db.ExchangeError):
        a.__dlpack__(dl_device=(1, 0), stream=number)


def test_the_own_device_may_be_named():
    a, c = array_on(raw.Stream()), raw.Stream()
    result = result_of(a.__dlpack__(dl_device=(2, 0), stream=c.handle), c)
    assert result.array.address == a.data_ptr
    assert result.use() == VALUES


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_ordered_for_its_consumer(kind):
    p, c = raw.Stream(), raw.Stream(kind)
    a = array_on(p)
    capsule = a.__dlpack__(copy=True, stream=c.handle, max_version=(1, 3))
    fields = lab.read(capsule)
    assert fields["flags"] == IS_COPIED and fields["data"] != a.data_ptr
    assert driver.host_waits() == 0
    assert result_of(capsule, c).use() == VALUES


def test_many_exports_of_one_array():
    a = array_on(raw.Stream())
    streams = [raw.Stream(kind) for kind in KINDS]
    results = [raw.consume(a, c) for c in streams]
    del a
    assert [result.use() for result in results] == [VALUES] * 4


# ---- managed memory ------------------------------------------------------------------------------------


def managed(stream):
    return raw.array(VALUES, stream, memory=raw.CUDA_MANAGED)


def test_managed_memory_asked_with_none_is_complete_on_return():
    a = db.asarray(managed(raw.Stream()))
    assert a.device == "cuda_managed"
    taken = cuda_lab.take(a.__dlpack__(max_version=(1, 3)))
    array = device_model.DeviceArray.over(taken, taken.fields, None)
    assert device_model.read_on_host(array).tolist() == VALUES


@pytest.mark.parametrize("kind", KINDS)
def test_managed_memory_asked_with_a_stream_is_ordered(kind):
    a, c = db.asarray(managed(raw.Stream())), raw.Stream(kind)
    assert raw.consume(a, c).use() == VALUES


def test_numpy_shares_managed_memory_after_its_writers():
    x = managed(raw.Stream())
    n = db.to_numpy(x)
    driver.host_access(n.ctypes.data, n.nbytes, 0)
    assert n.tolist() == VALUES and n.ctypes.data == x.address
    assert np.from_dlpack(db.asarray(x)).tolist() == VALUES


@pytest.mark.parametrize("kind", KINDS)
def test_torch_gets_managed_memory_as_a_cuda_tensor(kind):
    c = raw.Stream(kind)
    x = managed(raw.Stream())
    y = db.to_torch(x, stream=c)
    assert (str(y.device), y.data_ptr()) == ("cuda:0", x.address)
    assert use_on(y, c) == VALUES


# ---- the interface dict ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "per-thread"])
def test_the_interface_names_the_stream_that_the_array_is_ordered_on(kind):
    c = raw.Stream(kind)
    a = db.asarray(raw.array(VALUES, raw.Stream()), stream=c)
    interface = a.__cuda_array_interface__
    assert (interface["version"], interface["stream"]) == (3, c.handle)
    assert interface["data"] == (a.data_ptr, False)
    assert (
        raw.model.DeviceArray.over(a, device_model.fields_of_interface(interface, 0), None)
        .read(c.handle)
        .tolist()
        == VALUES
    )
    db.record_stream(a, c)


def test_the_interface_of_an_array_without_a_chosen_stream_can_be_waited_for():
    a = db.asarray(raw.array(VALUES, raw.Stream()))
    named = a.__cuda_array_interface__["stream"]
    assert isinstance(named, int) and named not in (0, -1)
    array = device_model.DeviceArray.over(
        a, device_model.fields_of_interface(a.__cuda_array_interface__, 0), None
    )
    assert array.read(named).tolist() == VALUES
    db.record_stream(a, named)


def test_the_interface_is_there_on_cuda_memory_only():
    assert not hasattr(db.asarray(np.zeros(3)), "__cuda_array_interface__")
    a = array_on(raw.Stream())
    assert not hasattr(a, "__array_interface__")
    with pytest.raises(db.ExchangeError):
        np.asarray(a)
    with pytest.raises(db.ExchangeError):
        a.memoryview()


# ---- the exchange table ---------------------------------------------------------------------------------

TABLE = db.Array.__dlpack_c_exchange_api__


def test_the_table_answers_a_stream_for_each_device():
    for device in (0, 1):
        with on_torch(raw.Stream(device=device)) as chosen:
            db.asarray(torch_array(VALUES, raw.Stream("legacy", device)))
            handle = lab.api_stream(TABLE, 2, device)
            assert handle == lab.api_stream(TABLE, 2, device), chosen
    assert lab.api_stream(TABLE, 1, 0) == 0


def test_the_table_exports_in_the_order_of_its_stream():
    p = raw.Stream()
    a = array_on(p)
    handle = lab.api_stream(TABLE, 2, 0)
    owned = lab.api_export(TABLE, a)
    fields = owned.fields()
    assert fields["device"] == (2, 0) and fields["data"] == a.data_ptr
    array = device_model.DeviceArray.over(
        owned,
        {
            "address": fields["data"],
            "shape": fields["shape"],
            "strides": fields["strides"],
            "dlpack_dtype": fields["dtype"],
            "dlpack_device": (2, 0),
        },
        None,
    )
    assert array.read(handle).tolist() == VALUES
    owned.release()
    del a, array
    torch_array([9, 9, 9, 9], p)


def test_the_table_imports_device_memory():
    p, c = raw.Stream(), raw.Stream()
    x = raw.array(VALUES, p)
    owned = lab.take(x.__dlpack__(stream=c.handle, max_version=(1, 3)))
    a = lab.api_import(TABLE, owned)
    assert (a.device, a.data_ptr) == ("cuda:0", x.address)
    assert driver.host_waits() == 0
