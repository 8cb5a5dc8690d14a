"""A model of JAX on the fake CUDA driver.

Sources: jax/_src/dlpack.py, jaxlib/dlpack.cc, xla/pjrt (tracked_device_buffer). JAX computes on one
non-blocking stream per device that nobody chooses, and knows of each array when it is defined.
"""

import fake_driver as driver

from . import dlpack, numpy
from ._array import Array, release_waits_for_uses

__version__ = "0.10.2"
__all__ = ["Array", "devices", "dlpack", "numpy", "release_waits_for_uses"]


def devices(backend):
    if backend != "cuda":
        raise RuntimeError(f"Unknown backend {backend}")
    return list(range(driver.device_count()))
