"""Rounds: every call once in each, in turns, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import contextlib
import gc
import timeit
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from .results import Cost

# Runs a call a number of times and tells how many seconds that took.
Timer = Callable[[int], float]

# Takes one argument and does nothing with it, through the same calling convention as most calls.
EMPTY = "callable(None)"


def timer_of(statement: str, names: dict[str, Any], first_calls: int = 2) -> Timer:
    """Of an expression whose result is kept until the next one replaces it, as a loop of a user's
    does; or of statements. The first calls of each run are not counted: with the second result the
    allocator has the memory that a loop goes on with, which it may have given back since the last run."""
    is_expression = "\n" not in statement and ";" not in statement
    if not is_expression:
        return timeit.Timer(statement, globals=names).timeit
    call = f"result = {statement}"
    return timeit.Timer(call, "\n".join([call] * first_calls) or "pass", globals=names).timeit


def calls_per_round(timer: Timer, seconds: float) -> int:
    """So many that a round of this call takes about `seconds`; warms everything up on the way.

    The best of three tries counts: one try that the machine disturbs would end the search with a
    round too short to tell the call's cost from that of the first touch.
    """
    number = 1
    while True:
        taken = min(timer(number) for _ in range(3))
        if taken >= seconds / 4 or number >= 10**7:
            return max(1, round(number * seconds / taken))
        number *= 2


def per_call(timer: Timer, number: int) -> float:
    """Nanoseconds."""
    return timer(number) / number * 1e9


@contextlib.contextmanager
def garbage_kept() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interleaved(timers: Mapping[str, Timer], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Nanoseconds per call, one figure for each round. Every other round goes backwards: a call may
    leave something behind that slows the one after it, as the threads of OpenMP, which go on looking
    for work for some milliseconds."""
    numbers = {call: calls_per_round(timer, seconds) for call, timer in timers.items()}
    samples: dict[str, list[float]] = {call: [] for call in timers}
    with garbage_kept():
        for number in range(rounds):
            for call, timer in list(timers.items())[:: -1 if number % 2 else 1]:
                samples[call].append(per_call(timer, numbers[call]))
    return samples


def costs_of_calls(
    timers: Mapping[str, Timer], rounds: int, seconds: float, bare: Container[str] = ()
) -> dict[str, Cost]:
    """Nanoseconds per call above an empty call, which is one more call of each round. Those in `bare`
    have no call from Python in them, and nothing to subtract."""
    samples = interleaved({EMPTY: timer_of(EMPTY, {}), **timers}, rounds, seconds)
    costs = {call: Cost.of(found) for call, found in samples.items()}
    empty = costs.pop(EMPTY)
    return {call: cost if call in bare else cost - empty for call, cost in costs.items()}
