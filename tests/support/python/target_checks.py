"""What holds for every framework that takes arrays by a function of its own. Run as a script with the name
of one, in a process of its own (JAX and TensorFlow start threads when they are imported): it runs each
function below that `CHECKS` lists and prints what became of them as JSON."""

import dataclasses
import gc
import importlib
import json
import sys
import threading
import traceback

import ml_dtypes
import numpy as np
import torch

import dlpack_bridge as db

NAME = sys.argv[1]
FRAMEWORK = importlib.import_module(NAME)
IMMUTABLE = NAME in ("jax", "tensorflow")
DENSE = IMMUTABLE  # row-major at multiples of 64 bytes
CHECKS = {}
# What the framework itself allocates.
FRAMEWORK_MAKES = {
    "jax": lambda: FRAMEWORK.numpy.ones(3),
    "tensorflow": lambda: FRAMEWORK.ones(3),
    "tvm_ffi": lambda: FRAMEWORK.from_dlpack(np.ones(3, np.float32)),
}


def check(function):
    CHECKS[function.__name__] = function
    return function


def only_for(name):
    return check if NAME == name else lambda function: function


def types():
    """The public array type, and that of the objects where it is another."""
    public = {"jax": "Array", "tensorflow": "Tensor", "tvm_ffi": "Tensor"}[NAME]
    return getattr(FRAMEWORK, public), type(db.convert(aligned(4), NAME))


def is_one(x):
    return isinstance(x, types()[0])


def aligned(*shape, dtype=np.float32, value=None, at=64):
    """A NumPy array at a multiple of `at` bytes that is no multiple of 128."""
    dtype, count = np.dtype(dtype), int(np.prod(shape))
    room = np.zeros(count * dtype.itemsize + 256, np.uint8)
    start = -room.ctypes.data % 128 + at
    made = room[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
    made[...] = np.arange(count).reshape(shape) % 2 if value is None else value
    return made


def seen(x):
    """What is in it, and where, by what the hub sees: tests of sources prove that it sees right."""
    array = db.asarray(x)
    bits = np.asarray(db.to_numpy(array, dtype="bits" if array.itemsize < 16 else None))
    return array.data_ptr, array.dtype.name, array.shape, bits.tobytes()


def settled():
    gc.collect()
    return db.stats().live_arrays


def refused(code, x, **keywords):
    try:
        db.convert(x, NAME, **keywords)
    except db.ExchangeError as error:
        assert code in {reason.code for reason in error.blockers}, error
        return str(error)
    raise AssertionError("not refused")


@check
def memory_is_shared_and_kept_alive():
    for source in (aligned(2, 3), torch.arange(6.0).reshape(2, 3), db.asarray(aligned(2, 3))):
        expected = seen(source)
        assert db.plan(source, NAME).action == "share"
        result = db.convert(source, NAME)
        assert is_one(result)
        assert seen(result) == expected
        del source
        gc.collect()
        assert seen(result) == expected


@check
def one_reference_and_one_live_array_for_one_result():
    a = aligned(2, 3)
    alive, references = settled(), sys.getrefcount(a)
    results = [db.convert(a, NAME) for _ in range(3)]
    assert settled() == alive + 3
    assert sys.getrefcount(a) == references + 3
    results.clear()
    assert settled() == alive
    assert sys.getrefcount(a) == references


@check
def results_may_be_dropped_in_another_thread():
    a = aligned(2, 3)
    alive, references = settled(), sys.getrefcount(a)
    results = [db.convert(a, NAME) for _ in range(50)]
    thread = threading.Thread(target=results.clear)
    thread.start()
    thread.join()
    db.collect()
    assert settled() == alive
    assert sys.getrefcount(a) == references


@check
def its_own_arrays_are_shared_with_the_others():
    x = FRAMEWORK_MAKES[NAME]()
    alive, references = settled(), sys.getrefcount(x)
    n = db.to_numpy(x)
    t = db.to_torch(x, readonly="share")
    assert n.ctypes.data == t.data_ptr()
    assert n.tolist() == t.tolist() == [1, 1, 1]
    assert n.flags.writeable != IMMUTABLE
    assert db.info(x).framework == NAME
    kept = [t]
    thread = threading.Thread(target=kept.clear)
    del n, t
    thread.start()
    thread.join()
    settled()
    db.collect(wait=True)
    assert (settled(), sys.getrefcount(x)) == (alive, references)


@check
def an_array_of_it_is_the_answer_itself():
    x = db.convert(aligned(4), NAME)
    names = [NAME, FRAMEWORK, *types()]
    if NAME == "jax":
        names.append(FRAMEWORK.numpy)
    for to in names:
        assert db.convert(x, to) is x
        assert db.convert(x, to, copy=False, dtype="float32", device="cpu", detach=True) is x
    assert seen(db.convert(x, NAME, copy=True))[0] != seen(x)[0]


@check
def every_element_type_that_it_has_arrives_as_it_is():
    taken = 0
    for name in (
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e8m0fnu",
    ):
        dtype = getattr(ml_dtypes, name, name)
        for shape in ((3, 4), (), (0, 3), (1,), (2, 1, 3)):
            source = aligned(*shape, dtype=dtype)
            if db.plan(source, NAME).action == "refuse":
                assert "dtype=" in refused("dtype", source)
                continue
            taken += 1
            assert seen(db.convert(source, NAME))[1:] == seen(source)[1:]
    assert taken >= 45


@check
def what_it_cannot_hold_is_copied_and_it_is_said_why():
    base = aligned(4, 16)
    for source, code in (
        (base.T, "layout"),
        (base[:, ::2], "layout"),
        (base[::-1], "negative_stride"),
        (aligned(2, 3, at=16), "alignment"),
    ):
        plan = db.plan(source, NAME)
        codes = {reason.code for reason in plan.reasons}
        assert (plan.action, codes) == (("copy", {code}) if DENSE else ("share", set())), plan
        assert seen(db.convert(source, NAME))[2:] == seen(source)[2:]
        if DENSE:
            refused(code, source, copy=False)
    other = aligned(4, 16, dtype=">f4")
    assert {reason.code for reason in db.plan(other, NAME).reasons} == {"byte_order"}
    assert seen(db.convert(other, NAME))[3] == base.tobytes()


@check
def a_copy_is_a_copy():
    a = aligned(2, 3)
    alive = settled()
    result = db.convert(a, NAME, copy=True)
    a[...] = 9
    assert seen(result)[3] == (np.arange(6) % 2).astype("f4").tobytes()
    assert settled() == alive + 1


@check
def elements_are_converted_on_request():
    for to in ("float16", "int32", "bfloat16"):
        result = db.convert(aligned(2, 3), NAME, dtype=to)
        assert seen(result)[1] == to
        assert db.to_numpy(result, dtype="float32").tolist() == [[0, 1, 0], [1, 0, 1]]


@check
def read_only_memory_goes_to_who_never_writes():
    a = aligned(4)
    a.flags.writeable = False
    plan = db.plan(a, NAME)
    assert plan.action == ("share" if IMMUTABLE else "copy")
    assert plan.readonly == IMMUTABLE
    assert (seen(db.convert(a, NAME))[0] == a.ctypes.data) == IMMUTABLE
    assert seen(db.convert(a, NAME, readonly="share"))[0] == a.ctypes.data


@check
def a_gradient_is_not_lost():
    t = torch.ones(3, requires_grad=True)
    assert "detach=True" in refused("requires_grad", t)
    assert seen(db.convert(t, NAME, detach=True))[0] == t.data_ptr()


@check
def devices_that_it_has_not_are_refused():
    assert db.plan(aligned(4), NAME, device="cpu").action == "share"
    plan = db.plan(aligned(4), NAME, device="cuda")
    assert plan.action == "refuse"
    assert {reason.code for reason in plan.blockers} & {"device", "driver"}


@check
def an_exchange_is_told_once():
    with db.trace() as t:
        db.convert(aligned(4), NAME)
        db.convert(aligned(4, 6).T, NAME, copy=None)
    assert [record.target for record in t.records] == [NAME, NAME]
    assert t.records[1].action == ("copy" if DENSE else "share")


@check
def whole_structures_are_converted():
    @dataclasses.dataclass
    class Batch:
        x: object
        label: object

    made = db.convert_tree({"a": [aligned(4), Batch(torch.ones(2), aligned(3))]}, NAME)
    assert is_one(made["a"][0])
    assert is_one(made["a"][1].x)
    assert is_one(made["a"][1].label)


@check
def results_of_a_function_go_back_where_its_first_array_came_from():
    @db.compute_in("numpy")
    def total(x, y):
        assert type(x) is type(y) is np.ndarray
        return x + y

    result = total(db.convert(aligned(4), NAME), torch.ones(4))
    assert is_one(result)
    assert db.to_numpy(result).tolist() == [1, 2, 1, 2]


def with_x64():
    if hasattr(FRAMEWORK, "enable_x64"):
        return FRAMEWORK.enable_x64(True)
    return importlib.import_module("jax.experimental").enable_x64()  # the last JAX for Python 3.10


@only_for("jax")
def jax_without_x64_is_not_given_what_it_would_narrow():
    for dtype in ("int64", "uint64", "float64", "complex128"):
        text = refused("dtype", aligned(3, dtype=dtype))
        assert "jax_enable_x64" in text
        assert "dtype=" in text
        with with_x64():
            assert str(db.convert(aligned(3, dtype=dtype), NAME).dtype) == dtype
        assert db.plan(aligned(3, dtype=dtype), NAME).action == "refuse"
    assert str(db.convert(aligned(3, dtype="float64"), NAME, dtype="float32").dtype) == "float32"


@only_for("jax")
def what_is_already_right_is_the_answer_although_it_cannot_be_exported():
    asked = ({}, {"dtype": "float32"}, {"order": "C"}, {"dtype": "float32", "copy": False})
    traced = []

    def function(x):
        traced.extend(db.convert(x, NAME, **keywords) is x for keywords in asked)
        text = refused("producer", x, dtype="int32")
        assert "dtype float32, shape (3,)" in text, text
        return x

    FRAMEWORK.jit(function)(FRAMEWORK.numpy.arange(3.0))
    assert traced == [True] * len(asked)


@only_for("jax")
def a_deleted_array_is_said_to_be_deleted():
    x = FRAMEWORK.numpy.arange(3.0)
    x.delete()
    assert db.convert(x, NAME) is x
    assert "has been deleted" in refused("producer", x, copy=True)


@only_for("jax")
def jax_computes_with_what_it_was_given():
    t = torch.arange(64.0)
    j = db.convert(t, NAME)
    assert float(FRAMEWORK.jit(lambda x: (x * 2).sum())(j)) == 64 * 63
    t += 1
    assert j.unsafe_buffer_pointer() == t.data_ptr()


@check
def its_dtypes_are_dtypes():
    for name in ("int8", "uint8", "float16"):
        x = db.convert(aligned(4, dtype=name), NAME)
        for own in (x.dtype, getattr(FRAMEWORK, name, x.dtype)):
            assert db.dtype(own).name == name, own
            assert db.dtype(name) == own
            assert db.to_numpy(np.zeros(2), dtype=own).dtype == name
    assert db.dtype("float32") != x.dtype


@only_for("tvm_ffi")
def packed_dtypes_of_tvm_are_dtypes():
    own = FRAMEWORK.dtype("float4_e2m1fnx2")
    assert db.dtype(own) == db.dtype("float4_e2m1fn_x2")


@only_for("tensorflow")
def what_is_no_element_type_of_dlpack_is_no_dtype():
    for own in (FRAMEWORK.string, FRAMEWORK.qint8):
        try:
            db.dtype(own)
        except ValueError as error:
            assert own.name in str(error)
        else:
            raise AssertionError("taken")


@only_for("tensorflow")
def tensors_of_objects_are_refused_and_not_touched():
    # To look at their memory ends the process.
    text = FRAMEWORK.constant([["a", "b"]])
    handle = FRAMEWORK.Variable([1.0]).handle
    for x, dtype, shape in ((text, "string", "(1, 2)"), (handle, "resource", "")):
        plan = db.plan(x, "numpy")
        assert [blocker.code for blocker in plan.blockers] == ["dtype"], plan
        assert dtype in plan.blockers[0].message
        assert f"device cpu, dtype {dtype}" in str(db.info(x))
        assert shape in str(plan)
        for call in (db.to_torch, db.asarray, lambda x: db.shares_memory(x, x)):
            try:
                call(x)
            except db.ExchangeError as error:
                assert dtype in str(error)
            else:
                raise AssertionError("not refused")
        assert db.convert(x, NAME) is x


if __name__ == "__main__":
    outcomes = {}
    for name, function in CHECKS.items():
        try:
            function()
            outcomes[name] = None
        except Exception:  # noqa: BLE001  told to whoever asked
            outcomes[name] = traceback.format_exc()
    print(json.dumps(outcomes))
