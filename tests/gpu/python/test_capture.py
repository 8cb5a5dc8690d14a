"""Captures: what the hub does by itself ends none, what it cannot order is refused first, and graphs that
were captured around it replay in order."""

import threading
import time

import frameworks
import gpulab
import pytest
import torch
from frameworks import COUNT, GOOD, on, on_cupy
from gpulab import Latch, Memory, Stream

import dlpack_bridge as db


def codes(error):
    return [reason.code for reason in error.value.blockers]


@pytest.fixture
def side():
    """A stream of torch for captures, warm."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.full((COUNT,), 1.0, device="cuda").add_(1)
    torch.cuda.synchronize()
    return stream


def test_an_import_before_the_capture_is_used_inside_and_replayed(side):
    x = torch.full((COUNT,), 1.0, device="cuda")
    with torch.cuda.stream(side):
        y = db.to_torch(db.asarray(x))
    out = torch.zeros_like(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        torch.add(y, 1.0, out=out)
    for value in (10.0, 20.0):
        x.fill_(value)
        torch.cuda.current_stream().synchronize()
        graph.replay()
        torch.cuda.synchronize()
        assert (out == value + 1).all()


def test_an_exchange_inside_the_capture_becomes_an_edge_of_the_graph(side):
    other = torch.cuda.Stream()
    source = torch.full((COUNT,), 5.0, device="cuda")
    out = torch.zeros_like(source)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        x = source * 2.0
        other.wait_stream(side)  # joins the capture before x is handed over
        x.add_(1.0)
        with torch.cuda.stream(side):
            a = db.asarray(x)
        y = db.to_torch(a, stream=other)
        with torch.cuda.stream(other):
            torch.add(y, 1.0, out=out)
        side.wait_stream(other)
    for value in (5.0, 7.0):
        source.fill_(value)
        out.zero_()
        torch.cuda.synchronize()
        graph.replay()
        torch.cuda.synchronize()
        assert (out == value * 2 + 2).all()
    del graph, x, a, y


def test_what_takes_no_part_is_refused_and_the_capture_goes_on(side):
    cupy = frameworks.installed("cupy")
    outside = torch.full((COUNT,), 5.0, device="cuda")
    foreign = cupy.full((COUNT,), 5.0, dtype=cupy.float32)
    held = db.asarray(outside)
    out = torch.zeros_like(outside)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        for attempt in (
            lambda: db.to_torch(held),
            lambda: db.to_torch(foreign),
            lambda: db.to_torch(out, copy=True),
            lambda: db.to_numpy(out),
        ):
            with pytest.raises(db.ExchangeError) as caught:
                attempt()
            assert codes(caught) == ["capture"], caught.value
            assert db.plan(held, "torch").action == "refuse"
        y = db.to_torch(held, stream=-1)  # the caller has ordered
        torch.add(y, 1.0, out=out)
    graph.replay()
    torch.cuda.synchronize()
    assert (out == 6.0).all()


def test_an_array_dropped_inside_the_capture_is_released_after_it(side):
    cupy = frameworks.installed("cupy")
    p = Stream()
    with on_cupy(p):
        x = cupy.full((COUNT,), 5.0, dtype=cupy.float32)
    with torch.cuda.stream(side):
        y = db.to_torch(x)
    out = torch.zeros(COUNT, device="cuda")
    torch.cuda.synchronize()
    before = db.stats().pending_releases
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        torch.add(y, 1.0, out=out)
        del y, x
        assert db.collect() == 0
        assert db.stats().pending_releases > before
    db.collect(wait=True)
    assert db.stats().pending_releases == before


@pytest.mark.parametrize("mode", gpulab.CAPTURE_MODES)
def test_a_capture_of_another_thread_survives_exchanges_and_releases(mode):
    frameworks.installed("cupy")
    captures, p, c = Stream(), Stream(), Stream()
    out = Memory(COUNT)
    makers = [frameworks.TorchProducer(), frameworks.CupyProducer()]
    arrays = [(maker, maker.make(p)) for maker in makers]
    for maker, x in arrays:
        maker.write(x, GOOD, p)
    p.wait()
    begun, done, ended = threading.Event(), threading.Event(), []

    def capture():
        captures.begin_capture(mode)
        begun.set()
        done.wait(60)
        ended.append(captures.end_capture())

    thread = threading.Thread(target=capture)
    thread.start()
    begun.wait(60)
    try:
        with Latch() as gate:
            gate.hold(c)
            for _, x in arrays:
                with on(p):
                    y = db.to_torch(db.asarray(x), stream=c)
                gpulab.copy(out, y.data_ptr(), c)
                del y
            for _ in range(20):
                db.collect()
                time.sleep(0.002)
            gate.open()
    finally:
        done.set()
        thread.join()
    assert ended == [0], "the capture was invalidated"
    assert (out.read(c) == GOOD).all()
    del arrays, x


def test_the_legacy_stream_is_refused_while_a_blocking_stream_captures():
    captures = Stream("blocking")
    x = torch.full((COUNT,), 5.0, device="cuda")
    side = Stream()
    with on(side):
        a = db.asarray(x)
    torch.cuda.synchronize()
    captures.begin_capture()
    try:
        with pytest.raises(db.ExchangeError) as caught:
            db.to_torch(a, stream=1)
        assert codes(caught) == ["capture"]
        assert captures.capturing
    finally:
        ended = captures.end_capture()
    assert ended == 0
