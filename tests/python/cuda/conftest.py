"""The tests in this folder run on a fake CUDA driver, beside models of torch, CuPy and JAX: in
another process, one fork for each test (tests/support/python/cuda_session.py)."""

import cuda_session


def pytest_pycollect_makemodule(module_path, parent):
    return cuda_session.collect_file(module_path, parent)


def pytest_unconfigure(config):
    cuda_session.close(config)
