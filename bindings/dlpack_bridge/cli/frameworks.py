"""What doctor and matrix look at: an array of each framework, and some in a state that matters."""

from __future__ import annotations

import os
from typing import Any

from ..bench.names import Names, Unavailable, in_a_line
from ..bench.sections import QUIET

# A framework: how to make an array with it.
ARRAYS = {
    "NumPy": "np.ones((3, 4), np.float32)",
    "torch": "torch.ones(3, 4)",
    "JAX": "jnp.ones((3, 4), np.float32)",
    "TensorFlow": "tf.ones((3, 4))",
    "CuPy": "cupy.ones((3, 4), np.float32)",
    "tvm-ffi": "tvm_ffi.from_dlpack(np.ones((3, 4), np.float32))",
    "cuda.core": (
        "cuda_core.StridedMemoryView.from_dlpack(np.ones((3, 4), np.float32), stream_ptr=-1)"
    ),
    "Array": "db.asarray(np.ones((3, 4), np.float32))",
    "bytearray": "bytearray(48)",
}

# The same arrays in states that decide whether they can be shared.
STATES = {
    "NumPy, reversed": "np.ones((3, 4), np.float32)[::-1]",
    "NumPy, big-endian": "np.ones((3, 4), '>f4')",
    "NumPy, read-only": "np.broadcast_to(np.float32(1), (3, 4))",
    "NumPy, datetime64": "np.zeros(3, 'M8[s]')",
    "torch, bfloat16": "torch.ones(3, 4, dtype=torch.bfloat16)",
    "torch, requires_grad": "torch.ones(3, 4, requires_grad=True)",
    "torch, conj bit": "torch.ones(3, 4, dtype=torch.complex64).conj()",
    "torch, sparse": "torch.ones(3, 4).to_sparse()",
}


def names() -> Names:
    """Finds what the expressions need. Frameworks that talk are told not to."""
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    return Names({})


def made(code: str, found: Names) -> Any:
    """The array, or Unavailable with the reason, whatever it is."""
    try:
        return found.value(code)
    except Unavailable:
        raise
    except Exception as error:
        raise Unavailable(f"makes no array here, {in_a_line(error)}") from error
