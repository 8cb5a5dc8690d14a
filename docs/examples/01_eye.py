"""The identity matrix from NumPy to torch and back: what is shared, what is copied, and why."""

import textwrap

import numpy as np
import torch

import dlpack_bridge as db


def address(x):
    """Where the first element lies."""
    return x.data_ptr() if isinstance(x, torch.Tensor) else x.ctypes.data


def show(title, source, result, **keywords):
    """Prints what the plan says and what came out."""
    plan = db.plan(source, type(result), **keywords)
    same = address(source) == address(result)
    print(f"\n{title}")
    print(f"  {plan.action}: " + ("nothing is copied" if same else f"{plan.nbytes} bytes, because"))
    for reason in plan.reasons:
        print(f"    {reason.message}")
    for role, x in (("from", source), ("to  ", result)):
        print(f"  {role} {type(x).__module__}.{type(x).__name__:8} {x.dtype} at {address(x):#x}")
    print("  the same address on both sides" if same else "  two addresses: two arrays")
    assert plan.action == ("share" if same else "copy")


def show_refusal(title, call):
    """Runs `call`, which must be refused, and prints the refusal."""
    try:
        call()
    except (db.ExchangeError, db.CudaError) as refusal:
        print(f"\n{title}\n  refused: {type(refusal).__name__}")
        print(textwrap.indent(str(refusal), "    "))
    else:
        raise AssertionError("this call must be refused")


def numpy_to_torch():
    a = np.eye(3)

    t = db.to_torch(a)
    show("np.eye(3) to torch", a, t)
    assert t.dtype == torch.float64
    a[0, 1] = 7.0  # one memory: a write on one side is seen on the other
    assert t[0, 1] == 7.0
    print("  a[0, 1] = 7.0 in NumPy is t[0, 1] = 7.0 in torch")

    t32 = db.to_torch(a, dtype="float32")
    show("np.eye(3) to torch as float32", a, t32, dtype="float32")
    assert t32.dtype == torch.float32
    a[0, 1] = 0.0
    assert t32[0, 1] == 7.0 and t[0, 1] == 0.0


def numpy_to_the_gpu():
    a = np.eye(3)
    title = 'np.eye(3) to torch on "cuda"'
    if db.plan(a, "torch", device="cuda").action == "refuse":
        show_refusal(title, lambda: db.to_torch(a, device="cuda"))
        return
    assert torch.cuda.is_available()
    t = db.to_torch(a, device="cuda")
    show(title, a, t, device="cuda")
    assert t.is_cuda and torch.equal(t.cpu(), torch.eye(3, dtype=torch.float64))


def torch_to_numpy():
    t = torch.eye(3)
    a = db.to_numpy(t)
    show("torch.eye(3) to NumPy", t, a)
    assert a.dtype == np.float32 and np.array_equal(a, np.eye(3))


def torch_with_grad_to_numpy():
    w = torch.eye(3, requires_grad=True)
    title = "torch.eye(3, requires_grad=True) to NumPy"
    show_refusal(title, lambda: db.to_numpy(w))

    a = db.to_numpy(w, detach=True)
    show(f"{title} with detach=True", w, a, detach=True)
    assert w.requires_grad
    print("  the tensor itself still requires grad")


def the_gpu_to_numpy():
    title = "torch.eye(3) on the GPU to NumPy"
    if not torch.cuda.is_available():
        print(f"\n{title}\n  left out: torch finds no CUDA device here")
        return
    t = torch.eye(3, device="cuda")
    if db.plan(t, "numpy").action == "refuse":
        show_refusal(title, lambda: db.to_numpy(t))
        return
    a = db.to_numpy(t)
    show(title, t, a)
    assert np.array_equal(a, np.eye(3))


def always_the_same_keywords():
    """`detach=True` and `device="cpu"` change nothing where there is nothing to change."""
    for t in (torch.eye(3), torch.eye(3, requires_grad=True)):
        plain = db.to_torch(t, detach=True, device="cpu")
        assert plain.data_ptr() == t.data_ptr() and not plain.requires_grad
        assert db.to_torch(plain, detach=True, device="cpu") is plain

        a = db.convert(t, "numpy", detach=True, device="cpu")
        assert a.ctypes.data == t.data_ptr()
        assert db.convert(a, "numpy", detach=True, device="cpu") is a
    title = 'detach=True and device="cpu" for an array that needs neither'
    same = db.convert(a, "numpy", detach=True, device="cpu")
    show(title, a, same, detach=True, device="cpu")
    print("  the result is the array itself")


def main():
    numpy_to_torch()
    numpy_to_the_gpu()
    torch_to_numpy()
    torch_with_grad_to_numpy()
    the_gpu_to_numpy()
    always_the_same_keywords()


if __name__ == "__main__":
    main()
