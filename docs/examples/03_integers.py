"""Integers keep their type and their memory; another type is given when it is asked for."""

import numpy as np
import torch

import dlpack_bridge as db


def keeps_its_dtype(dtype):
    a = np.arange(6, dtype=dtype).reshape(2, 3)
    t = db.to_torch(a)
    back = db.to_numpy(t)
    print(f"{a.dtype} -> {t.dtype} -> {back.dtype}, all at {a.ctypes.data:#x}")
    assert t.dtype == getattr(torch, dtype) and back.dtype == a.dtype
    assert a.ctypes.data == t.data_ptr() == back.ctypes.data
    assert np.array_equal(a, back)


def on_request():
    a = np.array([-1, 0, 30_000], dtype=np.int32)
    for dtype in ("int64", "float32", "int16", "bool"):
        t = db.to_torch(a, dtype=dtype)
        plan = db.plan(a, "torch", dtype=dtype)
        print(f"{a.tolist()} as {dtype}: {t.tolist()} ({plan.action}, {plan.nbytes} bytes)")
        assert plan.action == "copy" and [reason.code for reason in plan.reasons] == ["dtype"]
        assert t.tolist() == a.astype(dtype).tolist()

    bits = db.to_torch(a, dtype="bits")
    print(f'{a.tolist()} as "bits": {bits.tolist()} (shared, the same bytes read as unsigned)')
    assert bits.dtype == torch.uint32 and bits.data_ptr() == a.ctypes.data


def main():
    for dtype in ("int32", "int16"):
        keeps_its_dtype(dtype)
    on_request()


if __name__ == "__main__":
    main()
