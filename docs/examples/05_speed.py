"""What one call costs: `to_torch` and `to_numpy` beside torch's own functions, in one run.

Each round times all calls one after the other; the smallest time of a call over all rounds counts,
so that whatever else the machine does at times falls out. Only the ratios can be compared between
machines.
"""

import timeit

import numpy as np
import torch

import dlpack_bridge as db

ROUNDS, CALLS = 25, 5000


def measure(statements, names):
    """The best time of each statement in nanoseconds per call, rounds interleaved."""
    timers = {statement: timeit.Timer(statement, globals=names) for statement in statements}
    best = dict.fromkeys(statements, float("inf"))
    for _ in range(ROUNDS):
        for statement, timer in timers.items():
            best[statement] = min(best[statement], timer.timeit(CALLS) / CALLS * 1e9)
    return best


def main():
    a = np.ones((3, 4), dtype=np.float32)
    names = {"db": db, "torch": torch, "a": a, "t": torch.ones(3, 4)}
    pairs = [("db.to_torch(a)", "torch.from_numpy(a)"), ("db.to_numpy(t)", "t.numpy()")]
    best = measure([statement for pair in pairs for statement in pair], names)

    print(f"float32, shape (3, 4), the best of {ROUNDS} interleaved rounds of {CALLS} calls")
    for ours, theirs in pairs:
        times = f"{ours:14} {best[ours]:5.0f} ns   {theirs:19} {best[theirs]:5.0f} ns"
        print(f"  {times}   ratio {best[ours] / best[theirs]:.2f}")


if __name__ == "__main__":
    main()
