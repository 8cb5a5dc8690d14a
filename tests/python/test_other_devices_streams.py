"""Streams of devices that are not CUDA's: ROCm has numbers of its own, the others have none."""

import pytest
from checks import plan_of, refuses
from producers import Producer, export

import dlpack_bridge as db

ROCM, METAL, ONE_API = 10, 8, 14


class Elsewhere(Producer):
    """Refuses what does not exist on ROCm, as torch does there."""

    def __init__(self, device):
        super().__init__(export(device=(device, 0)))
        self.device = device, 0

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if self.device[0] == ROCM and stream in (1, 2):
            raise BufferError(f"unsupported stream on ROCm: {stream}")
        return super().__dlpack__(stream=stream, max_version=max_version)


@pytest.mark.parametrize("stream, told", [(None, 0), (0, 0), (-1, -1), (5, 5), (1 << 40, 1 << 40)])
def test_a_producer_on_rocm_is_told_a_number_that_exists_there(stream, told):
    x = Elsewhere(ROCM)
    assert plan_of(x, "array", stream=stream).action == "share"
    x.calls.clear()
    assert db.asarray(x, stream=stream).device.name == "rocm:0"
    assert [call["stream"] for call in x.calls] == [told]


@pytest.mark.parametrize("stream", [1, 2, -2, 1 << 70])
def test_what_does_not_exist_on_rocm_is_refused_before_the_producer_is_asked(stream):
    x = Elsewhere(ROCM)
    assert [b.code for b in db.plan(x, "array", stream=stream).blockers] == ["stream"]
    with refuses("stream", says=["ROCm", "0 (default)", "rocm:0"]):
        db.asarray(x, stream=stream)
    assert x.calls == []


@pytest.mark.parametrize("device", [METAL, ONE_API])
@pytest.mark.parametrize("stream", [0, 1, 2, 5])
def test_devices_whose_streams_have_no_numbers_take_none(device, stream):
    with refuses("stream", says=["pass stream=None"]):
        db.asarray(Elsewhere(device), stream=stream)
    assert plan_of(Elsewhere(device), "array", stream=stream).action == "refuse"


@pytest.mark.parametrize("device", [METAL, ONE_API])
@pytest.mark.parametrize("stream", [None, -1])
def test_there_the_caller_orders(device, stream):
    x = Elsewhere(device)
    assert db.asarray(x, stream=stream).device == (device, 0)
    assert [call["stream"] for call in x.calls] == [None]


@pytest.mark.parametrize("stream", [0, -1, 7])
def test_exports_name_the_device_whose_stream_is_missing(stream):
    array = db.asarray(Elsewhere(METAL))
    with refuses("stream", says=["metal", "pass stream=None"]):
        array.__dlpack__(stream=stream)
    on_rocm = db.asarray(Elsewhere(ROCM))
    on_rocm.__dlpack__(stream=stream)
    with refuses("stream", says=["ROCm"]):
        on_rocm.__dlpack__(stream=1)


def test_record_stream_is_for_cuda():
    with pytest.raises(ValueError, match="CUDA"):
        db.record_stream(db.asarray(Elsewhere(ROCM)), 5)
