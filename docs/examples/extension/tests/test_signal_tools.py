import gc

import numpy as np
import pytest
import signal_tools as st


def test_scale_writes_into_the_callers_array():
    x = np.ones((2, 3), "float32")
    st.scale(x, 2)
    assert x.tolist() == [[2, 2, 2], [2, 2, 2]]


def test_scale_says_what_it_expected():
    with pytest.raises(TypeError) as error:
        st.scale(np.ones(3), 2)
    assert "dtype: expected float32, found float64" in str(error.value)
    assert "layout: expected 2 axes, found 1 axis" in str(error.value)


def test_mean_takes_both_element_types_and_any_layout():
    x = np.arange(6.0).reshape(2, 3)
    assert st.mean(x.T) == 2.5
    assert st.mean(x.astype("float32")[:, ::-1]) == 2.5
    assert st.mean(memoryview(x)) == 2.5


def test_norm_converts():
    assert st.norm(np.array([3, 4], "uint8")) == 5


def test_relu_gives_back_the_callers_framework():
    result = st.relu(np.array([[-1, 2]], "float32"))
    assert type(result) is np.ndarray and result.tolist() == [[0, 2]]
    torch = pytest.importorskip("torch")
    assert st.relu(torch.tensor([-1.0, 2.0])).equal(torch.tensor([0.0, 2.0]))


def test_window_is_a_numpy_array():
    assert st.window(4).tolist() == pytest.approx([0, 0.5, 1, 0.5])


def test_samples_keep_their_recorder_alive():
    recorder = st.Recorder(rows=2)
    samples = recorder.samples()
    samples[1] = 7
    assert recorder.samples().sum() == 21
    del recorder
    gc.collect()
    assert samples.shape == (2, 3) and samples[1, 2] == 7
