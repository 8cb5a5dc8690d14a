"""Section "scale": many arrays alive, many threads, many arrays in one call."""

from __future__ import annotations

import threading
import time
from typing import Any

from .names import Names, Unavailable
from .options import Options
from .results import ALLOWED, Bound, Cost, Peer, Row, judge
from .timing import (
    EMPTY,
    Timer,
    calls_per_round,
    costs_of_calls,
    garbage_kept,
    interleaved,
    per_call,
    timer_of,
)

SECONDS = 0.002
THREADS = 8

SAMPLES = {"a": "np.ones((3, 4), np.float32)", "t": "torch.ones(3, 4)"}
# The hub's call, and one of a framework that shows what is not the hub's: its results let go of the GIL
# where the hub's do, and only there.
EXCHANGES = {
    "NumPy -> torch": ("db.to_torch(a)", "torch.from_numpy(a)"),
    "torch -> NumPy": ("db.to_numpy(t)", "t.numpy()"),
    "torch -> Array": ("db.asarray(t)", "a.view()"),
    "NumPy -> Array": ("db.asarray(a)", "a.view()"),
}


# ---- arrays alive --------------------------------------------------------------------------------


def sweep(call: str, names: dict[str, Any], options: Options) -> dict[int, Cost]:
    """What the call costs at each number of its results alive. Every round goes from the fewest to
    the most."""
    timer, empty = timer_of(call, names), timer_of(EMPTY, {})
    some = eval(f"lambda number: [{call} for _ in range(number)]", names)
    number = calls_per_round(timer, SECONDS)
    samples: dict[int, list[float]] = {count: [] for count in options.alive}
    empties: list[float] = []
    with garbage_kept():
        for _ in range(options.rounds):
            kept: list[Any] = []
            for count in options.alive:
                kept += some(count - len(kept))
                samples[count].append(per_call(timer, number))
                empties.append(per_call(empty, number))
    return {count: Cost.of(found) - Cost.of(empties) for count, found in samples.items()}


def rows_of_alive(path: str, call: str, names: Names, options: Options) -> list[dict[str, Any]]:
    fewest, *more = options.alive
    few = f"the same with {fewest} alive"
    rows = {
        count: Row(
            f"{path}, {count:,} alive",
            call,
            (Peer(few, ALLOWED, is_ours=True),),
            why="The price must not depend on how many results of the same call are alive.",
        )
        for count in more
    }
    try:
        names.provide(call)
    except Unavailable as error:
        reasons = {call: str(error), few: str(error)}
        return [judge(row, {}, reasons) for row in rows.values()]
    costs = sweep(call, dict(names), options)
    return [judge(row, {call: costs[n], few: costs[fewest]}, {}) for n, row in rows.items()]


# ---- threads -------------------------------------------------------------------------------------


def on_threads(timer: Timer) -> Timer:
    """All calls, divided among the threads: seconds from the first to the last."""

    def run(number: int) -> float:
        together = threading.Barrier(THREADS + 1)

        def work() -> None:
            together.wait()
            timer(max(1, number // THREADS))

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        start = time.perf_counter()
        together.wait()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    return run


def row_of_threads(
    path: str, call: str, other: str, names: Names, options: Options
) -> dict[str, Any]:
    def both(call: str) -> tuple[str, str]:
        return f"{call}, {THREADS} threads", f"{call}, one thread"

    (ours, ours_alone), (theirs, theirs_alone) = both(call), both(other)
    shared = Bound((ours_alone, theirs), (theirs_alone,))
    row = Row(
        f"{path}, {THREADS} threads",
        ours,
        (Peer(ours_alone, ALLOWED, is_ours=True, bound=shared),),
        floors=(*both(other), *both(EMPTY)),
        why="The time of all calls divided by their number, beside the same calls on one thread. What "
        "sharing the GIL adds to a call that lets go of it as often is added to any. All are medians: "
        "in the quickest rounds a thread happens to be alone.",
    )
    timers: dict[str, Timer] = {}
    reasons: dict[str, str] = {}
    for code in (call, other, EMPTY):
        many, one = both(code)
        try:
            names.provide(code)
            timers[one] = timer_of(code, dict(names))
            timers[many] = on_threads(timers[one])
        except Unavailable as error:
            reasons |= {many: str(error), one: str(error)}
    samples = interleaved(timers, 3 * options.rounds, 20 * SECONDS)
    costs = {which: Cost.of(found).typical() for which, found in samples.items()}
    return judge(row, costs, reasons)


# ---- lists ---------------------------------------------------------------------------------------


def row_of_list(names: Names, options: Options) -> dict[str, Any]:
    """Nanoseconds for each array of a list."""
    row = Row(
        f"list of {options.listed:,} NumPy arrays -> torch",
        'db.convert_tree(arrays, "torch")',
        (
            Peer("[db.to_torch(a) for a in arrays]", ALLOWED, is_ours=True),
            Peer("[torch.from_numpy(a) for a in arrays]"),
        ),
        why="All give a list of tensors over the same memory, which is dropped again.",
    )
    timers: dict[str, Timer] = {}
    reasons: dict[str, str] = {}
    names["arrays"] = names.value(f"[a + 0 for _ in range({options.listed})]")
    for call in row.calls():
        try:
            names.provide(call)
            timers[call] = timer_of(call, dict(names))
        except Unavailable as error:
            reasons[call] = str(error)
    costs = costs_of_calls(timers, options.rounds, SECONDS)
    return judge(row, {call: cost / options.listed for call, cost in costs.items()}, reasons)


def run(options: Options) -> list[dict[str, Any]]:
    names = Names(SAMPLES)
    records = [
        record
        for path, (call, _) in EXCHANGES.items()
        for record in rows_of_alive(path, call, names, options)
    ]
    records += [
        row_of_threads(path, call, other, names, options)
        for path, (call, other) in EXCHANGES.items()
    ]
    return [*records, row_of_list(names, options)]
