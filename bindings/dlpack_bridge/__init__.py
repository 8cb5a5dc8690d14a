"""One road for every array between NumPy, torch, JAX, CuPy and C++ code.

Shares memory when it can, copies only with a reason, and says which and why.
"""

from ._compute_in import compute_in
from ._core import (
    Array,
    CopyRequiredError,
    CudaError,
    ExchangeError,
    NotAnArrayError,
    Plan,
    Reason,
    __version__,
    _rebuild_array,  # noqa: F401  pickles of Array name it
    asarray,
    collect,
    convert,
    convert_tree,
    device,  # noqa: F401  the type of Array.device
    dtype,
    from_dlpack,
    info,
    plan,
    record_stream,
    shares_memory,
    stats,
    to_numpy,
    to_torch,
    trace,
)

__all__ = [
    "Array",
    "CopyRequiredError",
    "CudaError",
    "ExchangeError",
    "NotAnArrayError",
    "Plan",
    "Reason",
    "__version__",
    "asarray",
    "collect",
    "compute_in",
    "convert",
    "convert_tree",
    "dtype",
    "from_dlpack",
    "info",
    "plan",
    "record_stream",
    "shares_memory",
    "stats",
    "to_numpy",
    "to_torch",
    "trace",
]
