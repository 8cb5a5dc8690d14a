"""Sections whose rows are calls: finds what each call needs, times all in turns, judges each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import extensions
from .names import Names, Unavailable, in_a_line
from .results import Row, judge
from .timing import Timer, costs_of_calls, timer_of

SECONDS = 0.002  # of one call in one round


def timer_of_call(call: str, steps: Mapping[str, str], names: Names) -> Timer:
    """Raises Unavailable when the call cannot be made here."""
    code = steps.get(call)
    if code is None:
        names.provide(call)
        timer = timer_of(call, dict(names))  # a plain dict: look-ups in others are slow
    else:
        step = f"lambda n: {code}"
        names.provide(step)
        timer = eval(step, dict(names))
    try:
        timer(1)
    except Exception as error:
        raise Unavailable(in_a_line(error)) from error
    return timer


def measure(
    rows: Sequence[Row], samples: Mapping[str, str], steps: Mapping[str, str], rounds: int
) -> list[dict[str, Any]]:
    """The records of all rows. A call that cannot be made is left out, with the reason."""
    names = Names(samples, extensions.load)
    timers: dict[str, Timer] = {}
    reasons: dict[str, str] = {}
    for call in dict.fromkeys(call for row in rows for call in row.calls()):
        try:
            timers[call] = timer_of_call(call, steps, names)
        except Unavailable as error:
            reasons[call] = str(error)
    costs = costs_of_calls(timers, rounds, SECONDS, bare=steps)
    return [judge(row, costs, reasons) for row in rows]
