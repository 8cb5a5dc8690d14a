"""Section "calls": one exchange of a small array, by every road that leads there."""

from __future__ import annotations

from typing import Any

from .measuring import measure
from .options import Options
from .results import Peer, Row

SAMPLES = {
    "a": "np.ones((3, 4), np.float32)",
    "z": "np.ones((3, 4), np.complex64)",
    "t": "torch.ones(3, 4)",
    "image": "torch.ones(3, 4, dtype=torch.uint8)",
    "tz": "torch.ones(3, 4, dtype=torch.complex64)",
    "buffer": "bytearray(48)",
    "x": "db.asarray(a)",
    "v": "tvm_ffi.from_dlpack(a)",
    "j": "jnp.ones((64,), np.float32).block_until_ready()",
    "t64": "torch.ones(64)",
    "f": "tf.ones((3, 4))",
    "dlpack": "tf.experimental.dlpack",
    "StridedMemoryView": "cuda_core.StridedMemoryView",
}

# Steps inside torch, timed without a Python call: label -> a call that takes n and gives seconds.
STEPS = {
    "in torch: export and deleter": "floor.export_and_delete(t, n)",
    "in torch: borrowed view": "floor.borrow(t, n)",
    "in torch: requires_grad": "floor.requires_grad(t, n)",
    "in torch: is_neg": "floor.is_neg(t, n)",
    "in torch: is_conj": "floor.is_conj(t, n)",
}
STATE = ("in torch: requires_grad", "in torch: is_neg")

SHARES = "All give an object over the same memory that keeps its owner alive."
IMMUTABLE = (
    f"{SHARES} The source is immutable by contract, which the hub would answer with a copy; the peers "
    'share it, so `readonly="share"` makes the hub do the same.'
)

ROWS = (
    Row(
        "NumPy -> torch",
        "db.to_torch(a)",
        (
            Peer("torch.from_numpy(a)", 0.75),
            Peer("torch.from_dlpack(a)"),
            Peer("torch.as_tensor(a)"),
        ),
        floors=("a.view()", "t.detach()", "floor.adopt(a)"),
        why=SHARES,
    ),
    Row(
        "torch -> NumPy",
        "db.to_numpy(t)",
        (Peer("t.numpy()", 0.5), Peer("np.asarray(t)"), Peer("np.from_dlpack(t)")),
        floors=("a.view()", "in torch: export and deleter", *STATE),
        why=f"{SHARES} All refuse a gradient and a neg bit, save `np.from_dlpack`, which passes the "
        "neg bit over.",
    ),
    Row(
        "torch -> NumPy, complex64",
        "db.to_numpy(tz)",
        (Peer("tz.numpy()", 0.5), Peer("np.from_dlpack(tz)")),
        floors=("in torch: export and deleter", *STATE, "in torch: is_conj"),
        why=f"{SHARES} The conj bit is looked at as well.",
    ),
    Row(
        "torch -> NumPy, uint8",
        "db.to_numpy(image)",
        (Peer("image.numpy()", 0.5), Peer("np.from_dlpack(image)")),
        floors=("in torch: export and deleter", *STATE),
        why=f"{SHARES} The hub also looks whether it is torch's uint1 to uint7, exported as uint8.",
    ),
    Row(
        "torch -> Array",
        "db.asarray(t)",
        (
            Peer("tvm_ffi.from_dlpack(t)", 0.95),
            Peer("StridedMemoryView.from_dlpack(t, stream_ptr=-1)"),
        ),
        floors=("in torch: export and deleter", *STATE),
        why=f"{SHARES} tvm-ffi looks at no state of the tensor; the hub does.",
    ),
    Row(
        "torch -> Array, complex64",
        "db.asarray(tz)",
        (Peer("tvm_ffi.from_dlpack(tz)", 1.15),),
        floors=("in torch: export and deleter", *STATE, "in torch: is_conj"),
        why=f"{SHARES} tvm-ffi looks at no state of the tensor; the hub does, the conj bit included.",
    ),
    Row(
        "torch -> Array, then shape, type, address",
        "r = db.asarray(t); r.shape; r.dtype; r.data_ptr",
        (
            Peer("r = tvm_ffi.from_dlpack(t); r.shape; r.dtype; r.data_ptr()"),
            Peer(
                "r = StridedMemoryView.from_dlpack(t, stream_ptr=-1); r.shape; r.dtype; r.ptr",
            ),
        ),
        why="What is put off until somebody asks counts here.",
    ),
    Row(
        "NumPy -> Array",
        "db.asarray(a)",
        (
            Peer("tvm_ffi.from_dlpack(a)", 0.8),
            Peer("StridedMemoryView.from_dlpack(a, stream_ptr=-1)"),
            Peer("StridedMemoryView.from_any_interface(a, stream_ptr=-1)"),
        ),
        floors=("a.__dlpack__(max_version=(1, 0))",),
        why=SHARES,
    ),
    Row(
        "Array -> NumPy", "db.to_numpy(x)", (Peer("np.from_dlpack(v)"),), ("a.view()",), why=SHARES
    ),
    Row(
        "Array -> torch",
        "db.to_torch(x)",
        (Peer("torch.from_dlpack(v)"),),
        ("t.detach()", "floor.adopt(x)"),
        why=SHARES,
    ),
    Row(
        "Array in NumPy's own function",
        "np.from_dlpack(x)",
        (Peer("np.from_dlpack(v)"),),
        why="The same consumer; the producers differ.",
    ),
    Row(
        "Array in torch's own function",
        "torch.from_dlpack(x)",
        (Peer("torch.from_dlpack(v)"),),
        why="The same consumer; the producers differ.",
    ),
    Row(
        "bytearray -> NumPy",
        "db.to_numpy(buffer)",
        (Peer("np.frombuffer(buffer, np.uint8)"),),
        why=SHARES,
    ),
    Row(
        "bytearray -> torch",
        "db.to_torch(buffer)",
        (Peer("torch.frombuffer(buffer, dtype=torch.uint8)"),),
        why=SHARES,
    ),
    Row(
        "NumPy -> NumPy, nothing to do",
        "db.to_numpy(a)",
        (Peer("np.asarray(a)"),),
        why="All give the argument back.",
    ),
    Row(
        "torch -> torch, nothing to do",
        "db.to_torch(t)",
        (Peer("torch.as_tensor(t)"),),
        why="All give the argument back.",
    ),
    Row(
        "JAX -> torch",
        'db.to_torch(j, readonly="share")',
        (Peer("torch.from_dlpack(j)"),),
        ("j.__dlpack__()",),
        why=IMMUTABLE,
    ),
    Row(
        "JAX -> NumPy",
        "db.to_numpy(j)",
        (Peer("np.from_dlpack(j)"), Peer("np.asarray(j)", None)),
        ("j.__dlpack__()",),
        why=f"{SHARES} `np.asarray(j)` is shown only: JAX keeps the array of the first call and gives "
        "it out again.",
    ),
    Row(
        "torch -> JAX",
        'db.convert(t64, "jax")',
        (Peer("jax.dlpack.from_dlpack(t64)"),),
        why=f"{SHARES} The memory is aligned as JAX needs it.",
    ),
    Row(
        "TensorFlow -> torch",
        'db.to_torch(f, readonly="share")',
        (Peer("torch.from_dlpack(f)"), Peer("torch.from_dlpack(dlpack.to_dlpack(f))")),
        ("dlpack.to_dlpack(f)",),
        why=IMMUTABLE,
    ),
    Row(
        "torch -> TensorFlow",
        'db.convert(t, "tensorflow")',
        (
            Peer("dlpack.from_dlpack(t.__dlpack__())"),
            Peer("dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(t))"),
        ),
        why=f"{SHARES} `torch.utils.dlpack.to_dlpack` looks at no state of the tensor.",
    ),
)


def run(options: Options) -> list[dict[str, Any]]:
    return measure(ROWS, SAMPLES, STEPS, options.rounds)
