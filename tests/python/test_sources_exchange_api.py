"""Producers with the C exchange API: found on the type, asked once, trusted only where it is 1.x."""

import dlpack_lab as lab
import numpy as np
import pytest
from checks import address, codes, plan_of, refuses
from producers import Table12, Table13, TableAndMethod, export, held_with_table

import dlpack_bridge as db


class Calls:
    """How often the tables' functions are called inside the block."""

    def __enter__(self):
        self.before = lab.table_calls()
        return self

    def __exit__(self, *exception):
        after = lab.table_calls()
        self.made = {key: after[key] - self.before[key] for key in after}


@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
@pytest.mark.parametrize("kind", [Table13, Table12], ids=["capsule of 1.3", "int of 1.2"])
def test_one_export_and_never_borrowed_beside_owned(kind, to):
    source = export()
    with Calls() as calls:
        result = db.convert(kind(source), to)
    assert calls.made == {"allocate": 0, "from_object": 1, "to_object": 0, "borrow": 0, "stream": 0}
    assert source.exports == 1 and source.deleter_calls == 0
    assert address(result) == source.address
    del result
    assert source.deleter_calls == 1


@pytest.mark.parametrize("keywords", [{"copy": True}, {"dtype": "float64"}])
def test_a_copy_needs_one_description_only(keywords):
    source = export()
    with Calls() as calls:
        result = db.to_numpy(Table13(source), **keywords)
    assert result.tolist() == [0, 1, 2, 3, 4, 5]
    assert calls.made["from_object"] + calls.made["borrow"] == 1
    assert source.deleter_calls == source.exports


@pytest.mark.parametrize(
    "keywords", [{"dtype": "float64", "copy": False}, {"alignment": 2**20, "copy": False}]
)
def test_a_refusal_releases_what_was_exported(keywords):
    source = export()
    with Calls() as calls, pytest.raises(db.CopyRequiredError):
        db.to_numpy(Table13(source), **keywords)
    assert calls.made["from_object"] + calls.made["borrow"] == 1
    assert source.deleter_calls == source.exports


def test_the_table_is_preferred_to_the_method():
    held = TableAndMethod(export())
    with Calls() as calls:
        db.to_numpy(held)
    assert calls.made["from_object"] == 1
    assert TableAndMethod.dlpack_calls == 0


def test_subclasses_inherit_the_table():
    class Child(Table13):
        pass

    source = export()
    with Calls() as calls:
        assert address(db.to_numpy(Child(source))) == source.address
    assert calls.made["from_object"] == 1


def test_a_table_on_the_instance_is_no_table():
    class Bare:
        pass

    bare = Bare()
    bare.__dlpack_c_exchange_api__ = Table13.__dlpack_c_exchange_api__
    with pytest.raises(db.NotAnArrayError):
        db.to_numpy(bare)


def test_a_table_without_borrow_is_complete_enough():
    source = export()
    held = held_with_table(can_borrow=False)(source)
    assert plan_of(held, "numpy").action == "share"
    assert address(db.to_numpy(held)) == source.address


@pytest.mark.parametrize("minor", [0, 2, 3, 99])
def test_any_minor_version_is_usable(minor):
    source = export()
    assert address(db.to_numpy(held_with_table(minor=minor)(source))) == source.address


@pytest.mark.parametrize("major", [0, 2, 255])
def test_a_table_of_another_major_version_is_not_called(major):
    source = export()
    with Calls() as calls, pytest.raises((db.ExchangeError, db.NotAnArrayError)):
        db.to_numpy(held_with_table(major=major)(source))
    assert set(calls.made.values()) == {0}
    assert source.exports == 0


def test_an_older_table_in_the_chain_is_found():
    older = lab.make_table(major=1, minor=3)
    newest = lab.make_table(major=3, previous=lab.make_table(major=2, previous=older))
    kind = type("Chained", (lab.Held,), {"__dlpack_c_exchange_api__": lab.table_capsule(newest)})
    source = export()
    assert address(db.to_numpy(kind(source))) == source.address


class MethodToo(lab.Held):
    def __dlpack__(self, **keywords):
        return export(np.ones(3), "float32").capsule()

    def __dlpack_device__(self):
        return (1, 0)


@pytest.mark.parametrize(
    "attribute",
    [
        lab.table_capsule(lab.make_table(major=2)),
        lab.table_capsule(lab.make_table(), "another name"),
        None,
        "rubbish",
        3.5,
        3,
        True,
        -8,
        id(lab),
    ],
    ids=["major 2", "wrong capsule name", "None", "str", "float", "3", "True", "-8", "an address"],
)
def test_with_an_unusable_table_the_method_serves_or_there_is_one_clear_error(attribute):
    kind = type("Unusable", (MethodToo,), {"__dlpack_c_exchange_api__": attribute})
    try:
        assert db.to_numpy(kind(export())).tolist() == [1, 1, 1]
    except db.ExchangeError as error:
        assert codes(error.blockers)


@pytest.mark.parametrize("attribute", [0, 3, 4095, 4097, True, -1, 1 << 70, "rubbish"])
def test_a_number_that_is_no_address_is_not_taken_for_a_table(attribute):
    kind = type("Unusable", (MethodToo,), {"__c_dlpack_exchange_api__": attribute})
    assert db.to_numpy(kind(export())).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "error", [RuntimeError("r"), BufferError("b"), TypeError("t"), ValueError("v")]
)
def test_what_a_table_raises_becomes_an_exchange_error_with_its_cause(error):
    with refuses("producer") as caught:
        db.to_numpy(Table13(export(), error))
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), SystemExit()])
def test_what_is_no_answer_passes_through_a_table(error):
    with pytest.raises(type(error)):
        db.to_numpy(Table13(export(), error))


def test_flags_and_device_of_a_table_are_respected():
    assert not db.to_numpy(Table13(export(flags=1))).flags.writeable
    assert db.asarray(Table13(export(device=(3, 0)))).device == (3, 0)
    with refuses("device"):
        db.to_numpy(Table13(lab.Export(0x10, (3,), device=(8, 0))))


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"version": (2, 0)}, "version"),
        ({"shape": None, "ndim": 2}, "malformed"),
        ({"dtype": (2, 32, 4), "shape": (1,)}, "lanes"),
    ],
)
def test_what_a_table_exports_is_checked_like_any_capsule(fields, code):
    source = export(**fields)
    with refuses(code):
        db.to_numpy(Table13(source))
    assert source.exports == source.deleter_calls


def test_torch_is_read_through_its_table_without_calling_its_method(monkeypatch):
    import torch

    def never(*arguments, **keywords):
        raise AssertionError("the slow road")

    monkeypatch.setattr(torch.Tensor, "__dlpack__", never)
    monkeypatch.setattr(torch.Tensor, "__dlpack_device__", never)
    t = torch.arange(3.0)
    assert address(db.to_numpy(t)) == t.data_ptr()
    assert db.asarray(t).data_ptr == t.data_ptr()
