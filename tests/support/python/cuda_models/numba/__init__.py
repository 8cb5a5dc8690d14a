"""A model of numba-cuda on the fake CUDA driver: `__cuda_array_interface__` and nothing else."""
