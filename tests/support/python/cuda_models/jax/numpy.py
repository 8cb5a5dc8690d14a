import numpy as np

from ._array import full


def arange(count, device=0, dtype="float32"):
    return full(count, np.arange(count), device, dtype)


__all__ = ["arange", "full"]
