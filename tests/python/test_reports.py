"""Reports, as `plan`, `info`, `stats` and traces give them: plain objects that nobody else makes."""

import copy
import pickle

import isolated
import numpy as np
import pytest

import dlpack_bridge as db


def a_record():
    with db.trace() as trace:
        db.to_torch(np.arange(3.0))
    return trace.records[0]


REPORTS = {
    "Plan": lambda: db.plan(np.arange(3.0)[::-1], "torch"),
    "Info": lambda: db.info(np.arange(3.0)),
    "Stats": db.stats,
    "TraceRecord": a_record,
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_copy_is_the_report_itself(name):
    report = REPORTS[name]()
    assert type(report).__name__ == name
    assert copy.copy(report) is report
    assert copy.deepcopy([report])[0] is report


@pytest.mark.parametrize("name", [*REPORTS, "trace"])
def test_nobody_makes_or_pickles_one(name):
    """In a process of its own, which each of these has ended or given memory of others."""

    def attempts():
        made = {**REPORTS, "trace": db.trace}[name]()
        kind, base = type(made), type(made).__mro__[1]
        calls = [lambda p=p: pickle.dumps(made, p) for p in range(6)]
        calls += [made.__reduce__, lambda: made.__reduce_ex__(0)]
        calls += [lambda: base.__new__(kind), lambda: str(kind(1))]
        if name in REPORTS:
            calls.append(lambda: kind.__new__(kind))
        return [raised_by(call) for call in calls]

    assert set(isolated.forked(attempts)) == {"TypeError"}


def raised_by(call):
    try:
        call()
    except Exception as error:  # noqa: BLE001  the test names what it wants
        return type(error).__name__
    return "nothing"
