"""How the benchmark counts arrays alive, shares calls among threads, and subtracts what is empty."""

import threading

import pytest
from dlpack_bridge.bench import scale
from dlpack_bridge.bench.options import Options
from dlpack_bridge.bench.timing import EMPTY


class World:
    """Results that know how many of them are alive, and timers that go by that number."""

    def __init__(self):
        self.alive = 0
        self.empties = 0

    def make(self):
        return Counted(self)

    def timer_of(self, code, names):
        return self.empty if code == EMPTY else self.call

    def call(self, number):
        return number * (100 + self.alive) * 1e-9

    def empty(self, number):
        """Once in five times somebody else has the processor."""
        self.empties += 1
        return number * 20e-9 + (1.0 if self.empties % 5 == 0 else 0.0)


class Counted:
    def __init__(self, world):
        self.world = world
        world.alive += 1

    def __del__(self):
        self.world.alive -= 1


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(scale, "timer_of", made.timer_of)
    return made


def options(alive, rounds=6):
    return Options(rounds=rounds, sizes=(), threads=1, alive=alive, listed=1)


def test_the_cost_is_taken_with_that_many_results_alive(world):
    costs = scale.sweep("world.make()", {"world": world}, options((1, 10, 50)))
    assert {n: round(cost.least, 6) for n, cost in costs.items()} == {1: 81, 10: 90, 50: 130}
    assert world.alive == 0


def test_a_disturbed_empty_call_makes_nothing_cheaper(world):
    costs = scale.sweep("world.make()", {"world": world}, options((1, 10), rounds=20))
    for n, cost in costs.items():
        assert cost.least == pytest.approx(80 + n) and cost.median == pytest.approx(80 + n)


def test_calls_are_divided_among_the_threads():
    seen, lock = [], threading.Lock()

    def timer(number):
        with lock:
            seen.append((number, threading.get_ident()))
        return 0.0

    assert scale.on_threads(timer)(8000) > 0
    assert [number for number, _ in seen] == [1000] * scale.THREADS
    assert threading.get_ident() not in {thread for _, thread in seen}
