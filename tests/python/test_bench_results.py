"""The benchmark's arithmetic and its report, on timings that are made up."""

import gc
import json
import time
import weakref

import pytest
from dlpack_bridge.bench import report, results, timing
from dlpack_bridge.bench.results import Bound, Cost, Limit, Peer, Row


def costs(**least):
    """Costs in which the median is twice the least."""
    return {name: Cost(value, 2 * value) for name, value in least.items()}


def judged(row, reasons=None, **least):
    return results.judge(row, costs(**least), reasons or {})


# ---- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ours, reach, verdict",
    [
        (74, 0.75, "reached"),
        (75, 0.75, "reached"),
        (76, 0.75, "short"),
        (100, 0.75, "short"),
        (101, 0.75, "behind"),
        (100, 1.0, "reached"),
        (101, 1.0, "behind"),
        (110, 1.15, "allowed"),
        (116, 1.15, "behind"),
        (900, None, None),
    ],
)
def test_a_verdict_compares_the_ratio_with_the_aim_and_with_one(ours, reach, verdict):
    record = judged(Row("p", "hub", (Peer("peer", reach),)), hub=ours, peer=100)
    (peer,) = record["peers"]
    assert peer["verdict"] == verdict
    assert peer["ratio"] == peer["ratio_of_medians"] == ours / 100
    assert record["verdict"] == (verdict or "stated")


@pytest.mark.parametrize(
    "ours, verdict", [(105, "reached"), (111, "short"), (300, "short"), (90, "reached")]
)
def test_nobody_is_behind_a_call_of_its_own(ours, verdict):
    row = Row("p", "hub", (Peer("the hub elsewhere", 1.1, is_ours=True),))
    record = results.judge(row, {"hub": Cost(ours, 1), "the hub elsewhere": Cost(100, 1)}, {})
    assert record["verdict"] == verdict


@pytest.mark.parametrize(
    "ours, straight, aim, verdict",
    [
        (40, 30, 0.4, "reached"),
        (41, 30, 0.4, "short"),
        (55, 50, 0.55, "reached"),
        (56, 50, 0.55, "short"),
        (101, 100, 1.1, "allowed"),
        (41, None, 0.4, "short"),
    ],
)
def test_what_nobody_can_do_is_no_aim(ours, straight, aim, verdict):
    """A tenth above what bounds it is enough; without the bound the aim is as it was."""
    row = Row("p", "hub", (Peer("peer", 0.4, bound=Bound(("straight",))),))
    known = {"hub": ours, "peer": 100} | ({"straight": straight} if straight else {})
    record = judged(row, {"straight": "not installed"}, **known)
    assert record["peers"][0]["reach"] == pytest.approx(aim)
    assert record["verdict"] == verdict
    assert [m["call"] for m in record["missing"]] == ([] if straight else ["straight"])


@pytest.mark.parametrize("ours, verdict", [(165, "reached"), (166, "short")])
def test_what_threads_add_to_any_call_they_add_to_the_hubs(ours, verdict):
    shared = Bound(("alone", "theirs"), ("theirs alone",))
    row = Row("p", "hub", (Peer("alone", 1.1, is_ours=True, bound=shared),))
    costs = {"hub": ours, "alone": 100, "theirs": 350, "theirs alone": 300}
    record = results.judge(row, {call: Cost(cost, 999) for call, cost in costs.items()}, {})
    assert record["peers"][0]["reach"] == pytest.approx(1.65)
    assert record["verdict"] == verdict


def test_a_row_is_as_good_as_its_worst_peer():
    row = Row("p", "hub", (Peer("slow"), Peer("fast"), Peer("shown", None)))
    record = judged(row, hub=100, slow=500, fast=90, shown=1)
    assert [peer["verdict"] for peer in record["peers"]] == ["reached", "behind", None]
    assert record["verdict"] == "behind"


def test_ratios_are_of_the_least_times_and_those_of_the_medians_are_beside_them():
    row = Row("p", "hub", (Peer("peer"),))
    record = results.judge(row, {"hub": Cost(90, 300), "peer": Cost(100, 200)}, {})
    (peer,) = record["peers"]
    assert (peer["ratio"], peer["ratio_of_medians"]) == (0.9, 1.5)
    assert record["verdict"] == "reached"


@pytest.mark.parametrize(
    "slower, of, verdict",
    [(15, 15, "behind"), (12, 15, "behind"), (11, 15, "level"), (8, 15, "level"), (0, 15, "level"),
     (15, 21, "behind"), (14, 21, "level"), (4, 4, "level"), (5, 5, "behind")],
)  # fmt: skip
def test_a_peer_is_faster_when_the_rounds_agree(slower, of, verdict):
    """So many as chance gives in one run of twenty: a table of the binomial distribution has them."""
    ours = Cost(103, 103, tuple([3.0] * slower + [1.0] * (of - slower)))
    record = results.judge(
        Row("p", "hub", (Peer("peer"),)), {"hub": ours, "peer": Cost(100, 100, (2.0,) * of)}, {}
    )
    assert record["verdict"] == verdict


@pytest.mark.parametrize("reach, verdict", [(1.0, "level"), (1.05, "allowed"), (0.75, "level")])
def test_what_the_aim_allows_needs_no_rounds(reach, verdict):
    rounds = {"hub": Cost(103, 1, (1.0, 3.0) * 9), "peer": Cost(100, 1, (2.0,) * 18)}
    record = results.judge(Row("p", "hub", (Peer("peer", reach),)), rounds, {})
    assert record["verdict"] == verdict


def test_rounds_that_came_out_the_same_say_nothing():
    rounds = {"hub": Cost(103, 1, (2.0,) * 18 + (3.0,) * 5), "peer": Cost(100, 1, (2.0,) * 23)}
    assert results.judge(Row("p", "hub", (Peer("peer"),)), rounds, {})["verdict"] == "behind"


def test_the_rounds_outlive_the_subtraction_of_an_empty_call():
    assert (Cost.of([5.0, 7.0]) - Cost.of([1.0, 1.0])).rounds == (5.0, 7.0)


@pytest.mark.parametrize("most, verdict", [(70, "reached"), (69, "short")])
def test_a_limit_is_above_all_that_it_names(most, verdict):
    row = Row("p", "hub", limit=Limit(("empty", "checks"), most))
    record = judged(row, hub=200, empty=30, checks=100)
    assert record["limit"]["least"] == 70 and record["limit"]["median"] == 140
    assert record["limit"]["call"] == "empty + checks"
    assert record["verdict"] == verdict


def test_a_call_that_could_not_be_made_is_listed_with_the_reason():
    row = Row("p", "hub", (Peer("here"), Peer("gone")), floors=("floor",))
    reasons = {"gone": "gone is not installed", "floor": "no compiler"}
    record = judged(row, reasons, hub=1, here=2)
    assert record["missing"] == [
        {"call": "gone", "reason": "gone is not installed"},
        {"call": "floor", "reason": "no compiler"},
    ]
    assert [peer["call"] for peer in record["peers"]] == ["here"]
    assert record["verdict"] == "reached"


def test_without_the_hubs_own_call_a_row_is_missing_whatever_the_peers_did():
    record = judged(Row("p", "hub", (Peer("peer"),)), {"hub": "no road"}, peer=2)
    assert record["verdict"] == "missing" and record["ours"] is None and record["peers"] == []
    assert record["missing"] == [{"call": "hub", "reason": "no road"}]


def test_what_costs_no_more_than_an_empty_call_divides_nothing_by_zero():
    record = judged(Row("p", "hub", (Peer("nothing"),)), hub=1, nothing=0)
    assert record["peers"][0]["ratio"] == 10


def test_the_rows_that_are_lost_come_first_and_the_one_lost_most_leads():
    made = {
        "reached": judged(Row("reached", "hub", (Peer("peer"),)), hub=1, peer=2),
        "short": judged(Row("short", "hub", (Peer("peer", 0.1),)), hub=1, peer=2),
        "behind": judged(Row("behind", "hub", (Peer("peer"),)), hub=3, peer=2),
        "far behind": judged(Row("far behind", "hub", (Peer("peer"),)), hub=9, peer=2),
        "allowed": judged(Row("allowed", "hub", (Peer("peer", 2),)), hub=3, peer=2),
        "missing": judged(Row("missing", "hub"), {"hub": "no road"}),
        "level": results.judge(
            Row("level", "hub", (Peer("peer"),)),
            {"hub": Cost(3, 1, (1.0, 3.0)), "peer": Cost(2, 1, (2.0, 2.0))},
            {},
        ),
    }
    order = [record["path"] for record in results.worst_first(list(made.values()))]
    assert order == ["far behind", "behind", "allowed", "level", "short", "reached", "missing"]


# ---- rounds --------------------------------------------------------------------------------------


def fake_timer(nanoseconds, calls=None, name=None):
    def timer(number):
        if calls is not None:
            calls.append(name)
        return number * nanoseconds * 1e-9

    return timer


def test_an_empty_call_is_subtracted_from_every_cost(monkeypatch):
    monkeypatch.setattr(timing, "timer_of", lambda statement, names: fake_timer(20))
    found = timing.costs_of_calls({"a": fake_timer(50), "b": fake_timer(520)}, 3, 1e-6)
    assert [round(cost.least, 6) for cost in found.values()] == [30, 500]
    assert [round(cost.median, 6) for cost in found.values()] == [30, 500]
    assert list(found) == ["a", "b"]


def test_what_has_no_call_in_it_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr(timing, "timer_of", lambda statement, names: fake_timer(20))
    timers = {"step": fake_timer(2), "call": fake_timer(50)}
    found = timing.costs_of_calls(timers, 3, 1e-6, bare={"step"})
    assert {name: round(cost.least, 6) for name, cost in found.items()} == {"step": 2, "call": 30}


def test_each_round_makes_every_call_once_there_and_back():
    calls = []
    timers = {name: fake_timer(1e9, calls, name) for name in "abc"}  # one call is enough to warm up
    samples = timing.interleaved(timers, 4, 1e-6)
    assert calls[9:] == list("abccba") * 2
    assert {name: len(found) for name, found in samples.items()} == dict.fromkeys("abc", 4)


def test_the_least_and_the_median_are_of_the_rounds():
    assert Cost.of([5.0, 1.0, 9.0]) == Cost(1.0, 5.0)


def test_garbage_is_collected_before_the_rounds_and_not_during_them():
    during = []

    def timer(number):
        during.append(gc.isenabled())
        return 1.0

    timing.interleaved({"a": timer}, 2, 1e-6)
    assert during[3:] == [False, False] and gc.isenabled()


@pytest.mark.parametrize("nanoseconds, number", [(10, 100_000), (1e6, 1), (1e9, 1)])
def test_a_round_takes_about_the_time_that_it_is_given(nanoseconds, number):
    assert timing.calls_per_round(fake_timer(nanoseconds), 1e-3) == pytest.approx(number, rel=1e-6)


@pytest.mark.parametrize("slow", [(0,), (3,), (0, 3, 4)])
def test_a_try_that_the_machine_disturbed_shortens_no_round(slow):
    """Some calls of the search take a second more than they should."""
    tries = iter(range(1000))

    def timer(number):
        return number * 1e-8 + (1.0 if next(tries) in slow else 0.0)

    assert timing.calls_per_round(timer, 1e-3) == pytest.approx(100_000, rel=1e-6)


def test_a_statement_keeps_its_result_and_sees_its_names():
    seen = []
    timer = timing.timer_of("record(3)", {"record": seen.append}, first_calls=0)
    timer(5)
    assert seen == [3] * 5
    timing.timer_of("a = record(4); record(a)", {"record": seen.append})(1)
    assert seen[5:] == [4, None]


def test_the_first_calls_of_a_run_are_not_counted():
    seen, alive = [], weakref.WeakSet()

    class Result:
        def __init__(self):
            seen.append(time.perf_counter())
            time.sleep(0.02)
            alive.add(self)
            seen.append(len(alive))

    taken = timing.timer_of("Result()", {"Result": Result})(3)
    assert len(seen) == 2 * (2 + 3)
    assert 0.06 <= taken <= time.perf_counter() - seen[4]
    assert seen[1::2] == [1, 2, 2, 2, 2]  # from the first counted call on the one before is alive


# ---- the report ----------------------------------------------------------------------------------


def section(name, *rows, unit="ns", failed=None):
    return {"name": name, "title": name.title(), "unit": unit, "rows": list(rows), "failed": failed}


def whole(*sections):
    machine = dict.fromkeys(
        ("dlpack_bridge", "python", "built_with", "system", "libc", "processor", "governor"), "?"
    )
    peers = [
        {"name": "here", "version": "1.2", "reason": None},
        {"name": "gone", "version": None, "reason": "not installed: pip install gone"},
    ]
    machine |= {"virtual": True, "cores": 2, "load": [0.5, 0.4, 0.3]}
    return {"machine": machine, "peers": peers, "method": "rounds", "sections": list(sections)}


def test_what_is_lost_is_read_before_everything_else():
    won = judged(Row("won", "db.a()", (Peer("peer"),)), **{"db.a()": 1, "peer": 2})
    lost = judged(Row("lost", "db.b()", (Peer("peer", 0.5),)), **{"db.b()": 30, "peer": 20})
    text = report.text(whole(section("first", won), section("second", lost)))
    before, _, after = text.partition("## First")
    assert "behind 1, reached 1" in before
    assert "1.50 x `peer`, aim 0.5" in before and "won" not in before
    assert "`db.a()`" in after and "`db.b()`" in after


def test_the_header_names_versions_and_what_is_not_installed():
    text = report.text(whole())
    assert "here 1.2" in text and "gone: not installed: pip install gone" in text
    assert "2 cores" in text and "load 0.5 0.4 0.3" in text


def test_every_line_of_a_table_has_as_many_cells():
    full = Row("p", "hub", (Peer("peer"), Peer("shown", None)), ("floor",), Limit(("floor",), 9))
    row = judged(full, hub=5, peer=2, shown=3, floor=1)
    gone = judged(Row("q", "hub"), {"hub": "no road"})
    text = report.text(whole(section("first", row, gone), section("third", failed="it died")))
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, block
        assert len({len(line) for line in lines}) <= 1, block
    assert "not measured: it died" in text
    assert "not measured: `hub`: no road" in text


def copied(path, size, threads, ours, peer):
    row = Row(path, "dlpack_bridge", (Peer("NumPy"), Peer("torch")))
    record = judged(row, dlpack_bridge=ours, NumPy=peer, torch=2 * peer)
    return {**record, "size": size, "threads": threads, "bytes": 2 * size}


def test_copies_are_shown_as_speeds_beside_the_fastest_peer():
    rows = [
        copied("flat", 1 << 10, 1, ours=100, peer=200),
        copied("flat", 1 << 20, 1, ours=100_000, peer=50_000),
        copied("flat", 1 << 10, 2, ours=10, peer=20),
    ]
    text = report.text(whole(section("copies", *rows, unit="GB/s")))
    one, two = text.partition("Threads: 1.")[2].split("Threads: 2.")
    assert "20.5 / 10.2 NumPy" in one and "21.0 / 41.9 NumPy" in one
    assert "| flat | behind  |" in one and "1 KB" in one and "1 MB" in one
    assert "204.8 / 102.4 NumPy" in two and "reached" in two
    assert "flat, 1 MB, threads: 1" in text.partition("##")[0]


def test_sizes_are_written_as_they_are_given():
    assert [report.human_size(size) for size in (12, 1024, 64 << 10, 256 << 20)] == [
        "12 B",
        "1 KB",
        "64 KB",
        "256 MB",
    ]


def test_the_picture_has_a_bar_for_every_row_that_has_a_ratio(tmp_path):
    from dlpack_bridge.bench import plot

    row = judged(Row("p", "hub", (Peer("slow"), Peer("fast"))), hub=100, slow=500, fast=90)
    made = whole(section("first", row), section("copies", copied("flat", 1024, 1, 100, 200)))
    assert plot.bars(made) == [
        ("p: fast", 100 / 90, "behind"),
        ("flat, 1,024 bytes, 1 thr.: NumPy", 0.5, "reached"),
    ]
    plot.draw(made, str(tmp_path / "ratios.png"))
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")


def test_rows_that_nothing_is_asked_of_have_no_summary():
    contents = {"name": "contents", "rows": [{"what": "headers", "files": 1, "bytes": 1}]}
    assert report.summary({"sections": [contents]}) == ""


def test_a_record_is_plain_enough_for_json():
    row = judged(Row("p", "hub", (Peer("peer"),)), hub=5, peer=2)
    assert json.loads(json.dumps(row)) == row
