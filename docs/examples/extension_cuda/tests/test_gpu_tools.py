import gpu_tools
import numpy as np
import pytest


def test_host_memory_is_refused():
    with pytest.raises(TypeError, match="device: expected a CUDA device, found cpu"):
        gpu_tools.scale(np.ones(3, "float32"), 2)


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch", reason="needs a GPU")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return torch


@pytest.mark.gpu
def test_scale_runs_after_the_callers_work(torch):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.zeros(1 << 24, device="cuda")
        for _ in range(10):
            x += 1
        gpu_tools.scale(x, 3)
        x += 1
    stream.synchronize()
    assert x.min() == x.max() == 31


@pytest.mark.gpu
def test_add_gives_back_what_came(torch):
    a = torch.arange(1000.0, device="cuda")
    result = gpu_tools.add(a, a)
    assert result.device == a.device
    assert result.equal(2 * a)
