"""DLPack capsules by hand: each is used once, and one that nobody uses releases what it holds."""

import textwrap
import weakref

import numpy as np
import torch
from torch.utils import dlpack as torch_dlpack

import dlpack_bridge as db


def name(capsule):
    """The name that a capsule carries, as its repr shows it: <capsule object "dltensor" at ...>."""
    return repr(capsule).split('"')[1]


def show_refusal(who, consume, capsule):
    try:
        consume(capsule)
    except (RuntimeError, db.ExchangeError) as refusal:
        print(f"  refused   by {who}: {type(refusal).__name__}")
        print(textwrap.indent(str(refusal), " " * 12))
        return refusal
    raise AssertionError("a capsule must not be consumed twice")


def numpy_to_torch(kind, **keywords):
    a = np.arange(6.0).reshape(2, 3)
    array = db.asarray(a)

    capsule = array.__dlpack__(**keywords)
    print(f"\nNumPy to torch with a {kind} capsule")
    print(f"  made      {capsule!r}")
    unused = name(capsule)

    t = torch_dlpack.from_dlpack(capsule)
    print(f"  consumed  {capsule!r}")
    print(f"  address   NumPy {a.ctypes.data:#x}, torch {t.data_ptr():#x}")
    assert name(capsule) == f"used_{unused}"
    assert t.data_ptr() == a.ctypes.data

    # A second use is refused, by torch and by the hub, and the name is never put back.
    show_refusal("torch", torch_dlpack.from_dlpack, capsule)
    refusal = show_refusal("the hub", db.from_dlpack, capsule)
    assert isinstance(refusal, db.ExchangeError)
    assert [blocker.code for blocker in refusal.blockers] == ["capsule"]
    assert name(capsule) == f"used_{unused}"
    return unused


def torch_to_numpy(kind, **keywords):
    t = torch.arange(6.0).reshape(2, 3)
    capsule = t.__dlpack__(**keywords)
    print(f"\ntorch to NumPy with a {kind} capsule")
    print(f"  made      {capsule!r}")

    array = db.from_dlpack(capsule)
    print(f"  consumed  {capsule!r}")
    a = db.to_numpy(array)
    print(f"  address   torch {t.data_ptr():#x}, NumPy {a.ctypes.data:#x}")
    assert name(capsule).startswith("used_dltensor")
    assert a.ctypes.data == t.data_ptr() and np.array_equal(a, [[0, 1, 2], [3, 4, 5]])


def unconsumed():
    class Owner(np.ndarray):
        """An array that can tell when it is gone."""

    a = np.arange(6.0).view(Owner)
    alive = weakref.ref(a)
    before = db.stats().live_arrays
    capsule = db.asarray(a).__dlpack__(max_version=(1, 3))
    del a

    print(f"\nA capsule that nobody consumes\n  made      {capsule!r}")
    print(f"  held      {db.stats().live_arrays - before} live, its source is alive")
    assert db.stats().live_arrays > before and alive() is not None

    del capsule
    print(f"  dropped   {db.stats().live_arrays - before} live, its source is gone")
    assert db.stats().live_arrays == before and alive() is None


def main():
    assert numpy_to_torch("legacy") == "dltensor"
    assert numpy_to_torch("versioned", max_version=(1, 3)) == "dltensor_versioned"
    torch_to_numpy("legacy")
    torch_to_numpy("versioned", max_version=(1, 3))
    unconsumed()


if __name__ == "__main__":
    main()
