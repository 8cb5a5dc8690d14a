"""Capsules by hand: names before and after, one use only, both kinds in both directions."""

import dlpack_lab as lab
import numpy as np
import pytest
import torch
from checks import address, live, refuses
from producers import export

import dlpack_bridge as db

NAMES = {True: "dltensor_versioned", False: "dltensor"}
VERSIONS = pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "legacy"])


@VERSIONS
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_a_consumed_capsule_is_renamed(to, versioned):
    source = export(versioned=versioned)
    capsule = source.capsule()
    assert lab.name(capsule) == NAMES[versioned]
    result = db.convert(capsule, to)
    assert lab.name(capsule) == "used_" + NAMES[versioned]
    assert address(result) == source.address


@VERSIONS
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
@pytest.mark.parametrize("keywords", [{"copy": True}, {"dtype": "float64"}])
def test_a_copied_capsule_is_used_up_as_well(keywords, to, versioned):
    source = export(versioned=versioned)
    capsule = source.capsule()
    db.convert(capsule, to, **keywords)
    assert lab.name(capsule) == "used_" + NAMES[versioned]
    assert source.deleter_calls == 1


@VERSIONS
def test_the_second_use_is_refused_and_the_name_is_never_put_back(versioned):
    source = export(versioned=versioned)
    capsule = source.capsule()
    result = db.asarray(capsule)
    for call in (db.asarray, db.to_numpy, db.to_torch, db.from_dlpack):
        with refuses("capsule", says=["consumed"]):
            call(capsule)
        assert lab.name(capsule) == "used_" + NAMES[versioned]
    assert source.deleter_calls == 0
    del result
    assert source.deleter_calls == 1


@VERSIONS
def test_dropping_the_capsule_after_use_does_nothing(versioned):
    source = export(versioned=versioned)
    capsule = source.capsule()
    result = db.to_numpy(capsule)
    del capsule
    assert source.destructor_calls == 1 and source.deleter_calls == 0
    assert result.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_capsule_of_torch_goes_through_the_hub():
    t = torch.arange(6.0)
    capsule = torch.utils.dlpack.to_dlpack(t)
    a = db.to_numpy(capsule)
    assert address(a) == t.data_ptr()
    with pytest.raises(RuntimeError):
        torch.utils.dlpack.from_dlpack(capsule)


def test_a_capsule_of_numpy_goes_through_the_hub():
    a = np.arange(6.0)
    for capsule in (a.__dlpack__(), a.__dlpack__(max_version=(1, 0))):
        assert address(db.to_torch(capsule)) == address(a)


@pytest.mark.parametrize("max_version", [None, (1, 3)])
def test_a_capsule_of_the_hub_goes_into_torch_numpy_and_the_hub(max_version):
    array = db.asarray(np.arange(6.0))
    assert torch.from_dlpack(array.__dlpack__(max_version=max_version)).data_ptr() == array.data_ptr
    assert db.from_dlpack(array.__dlpack__(max_version=max_version)).data_ptr == array.data_ptr
    assert db.to_numpy(array.__dlpack__(max_version=max_version)).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["something", "dltensor_", "DLTENSOR", "", "dltensor_versioned2"])
def test_a_capsule_with_another_name_is_no_array(name):
    source = export()
    capsule = source.capsule(name=name)
    with pytest.raises((db.ExchangeError, db.NotAnArrayError)):
        db.to_numpy(capsule)
    assert lab.name(capsule) == name
    del capsule
    assert source.deleter_calls == 1


@VERSIONS
def test_a_foreign_used_name_is_refused(versioned):
    source = export(versioned=versioned)
    capsule = source.capsule()
    lab.take(capsule).release()
    with refuses("capsule"):
        db.to_numpy(capsule)
    del capsule
    assert source.deleter_calls == 1


def test_capsules_of_the_hub_are_consumed_by_c_code_with_and_without_python():
    before = live()
    array = db.asarray(np.arange(6.0))
    for max_version in (None, (1, 3)):
        owned = lab.take(array.__dlpack__(max_version=max_version))
        assert owned.fields()["data"] == array.data_ptr
        owned.release()
        owned = lab.take(array.__dlpack__(max_version=max_version))
        assert owned.release_on_thread()
    del array
    assert live() == before


def test_a_consumer_may_pass_the_managed_tensor_on_in_a_new_capsule():
    array = db.asarray(np.arange(6.0))
    relay = lab.take(array.__dlpack__(max_version=(1, 3))).capsule()
    assert db.to_numpy(relay).tolist() == [0, 1, 2, 3, 4, 5]


def test_the_structs_of_the_producer_are_never_written():
    source = export(np.arange(6.0), "float64", shape=(2, 3))
    capsule = source.capsule()
    before = lab.read(capsule)
    db.plan(capsule, "torch", copy=True)
    db.info(capsule)
    assert lab.read(capsule) == before
    result = db.asarray(capsule)
    assert lab.read(capsule) == {**before, "name": "used_dltensor_versioned"}
    assert result.strides == (3, 1)


@pytest.mark.parametrize("minor", [0, 1, 3, 200])
def test_any_minor_version_is_read(minor):
    assert db.to_numpy(export(version=(1, minor)).capsule()).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("major", [0, 2, 255, 2**32 - 1])
@pytest.mark.parametrize("to", ["numpy", "torch", "array"])
def test_another_major_version_is_refused_and_its_deleter_runs_once(major, to):
    source = export(version=(major, 3))
    capsule = source.capsule()
    with refuses("version", says=[str(major)]):
        db.convert(capsule, to)
    assert lab.name(capsule) == "used_dltensor_versioned"
    assert source.deleter_calls == 1
    del capsule
    assert source.deleter_calls == 1


def test_another_major_version_can_be_planned_without_harm():
    source = export(version=(2, 0))
    capsule = source.capsule()
    assert [b.code for b in db.plan(capsule, "numpy").blockers] == ["version"]
    del capsule
    assert source.deleter_calls == 1
