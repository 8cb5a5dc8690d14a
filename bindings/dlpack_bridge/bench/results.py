"""What is compared with what, and the verdict over it: data in, plain records for JSON out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import comb
from statistics import median
from typing import Any

# From the row that a reader must see first to the one that can wait.
#   behind   a peer is faster, and by more than the aim allows
#   allowed  a peer is faster; the aim allows it
#   level    a peer's least is less, but the rounds do not agree that it is faster
#   short    no peer is faster, but an aim is not reached
#   reached  every aim is reached
#   stated   no aim, or no peer with one could be measured
#   missing  not measured, for the reason given
VERDICTS = ("behind", "allowed", "level", "short", "reached", "stated", "missing")


ALLOWED = 1.1  # what is the same may still differ by this much between two measurements


@dataclass(frozen=True)
class Cost:
    """What one call takes: the least of all rounds, and their median. `rounds` are what was measured,
    with nothing subtracted, for comparisons round by round; empty where there were none."""

    least: float
    median: float
    rounds: tuple[float, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, samples: list[float]) -> Cost:
        return cls(min(samples), median(samples), tuple(samples))

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.least + other.least, self.median + other.median)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.least - other.least, self.median - other.median, self.rounds)

    def typical(self) -> Cost:
        """With the median for the least too, where the least is a round in which something did not happen
        that a call is about."""
        return Cost(self.median, self.median, self.rounds)

    def __truediv__(self, number: float) -> Cost:
        return Cost(self.least / number, self.median / number)

    def over(self, other: Cost) -> tuple[float, float]:
        """The two ratios; what costs no more than the empty call counts as a tenth of a unit."""
        return self.least / max(other.least, 0.1), self.median / max(other.median, 0.1)


@dataclass(frozen=True)
class Bound:
    """What the calls of `plus` take together, less those of `minus`."""

    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()

    def calls(self) -> tuple[str, ...]:
        return (*self.plus, *self.minus)

    def least(self, costs: Mapping[str, Cost]) -> float:
        least = {call: costs[call].least for call in self.calls()}
        return sum(least[call] for call in self.plus) - sum(least[call] for call in self.minus)


@dataclass(frozen=True)
class Peer:
    """Another way to the same result. The hub is to take at most `reach` times what it takes; None
    is no aim: the call is shown because it tells something, and `Row.why` says what. `bound` is what
    nobody gets below, measured beside it: where that and a tenth is more than the aim, it is the aim."""

    call: str
    reach: float | None = 1.0
    is_ours: bool = False  # the hub's own call under other circumstances: nobody to be behind
    bound: Bound | None = None


@dataclass(frozen=True)
class Limit:
    """The hub's call is to cost at most `most` more than all of `above` together."""

    above: tuple[str, ...]
    most: float


@dataclass(frozen=True)
class Row:
    """One path: the hub's call beside its peers', and why all of them do the same work."""

    path: str
    ours: str
    peers: tuple[Peer, ...] = ()
    floors: tuple[str, ...] = ()  # what the frameworks' own part of the work takes by itself
    limit: Limit | None = None
    why: str = ""

    def calls(self) -> list[str]:
        above = self.limit.above if self.limit else ()
        peers = (peer.call for peer in self.peers)
        bounds = (call for peer in self.peers if peer.bound for call in peer.bound.calls())
        return list(dict.fromkeys((self.ours, *peers, *self.floors, *bounds, *above)))


def agree_that_it_is_slower(ours: Cost, peer: Cost) -> bool:
    """Whether so many rounds were slower than the peer's as chance alone makes them in one run of
    twenty at most (a sign test). Without rounds one figure has to do."""
    pairs = [(a, b) for a, b in zip(ours.rounds, peer.rounds, strict=False) if a != b]
    slower = sum(a > b for a, b in pairs)
    by_chance = sum(comb(len(pairs), n) for n in range(slower, len(pairs) + 1)) / 2 ** len(pairs)
    return not pairs or by_chance <= 0.05


def reach_of(peer: Peer, costs: Mapping[str, Cost]) -> float | None:
    bound = peer.bound
    if peer.reach is None or not bound or not all(call in costs for call in bound.calls()):
        return peer.reach
    return max(peer.reach, ALLOWED * bound.least(costs) / max(costs[peer.call].least, 0.1))


def verdict_of_ratio(
    ratio: float, reach: float | None, is_ours: bool, rounds_agree: bool
) -> str | None:
    if reach is None:
        return None
    if ratio <= 1 or is_ours:
        return "reached" if ratio <= reach else "short"
    if ratio <= reach:
        return "allowed"
    return "behind" if rounds_agree else "level"


def judge(row: Row, costs: Mapping[str, Cost], reasons: Mapping[str, str]) -> dict[str, Any]:
    """The record of a row. `reasons` says of each call without a cost why it has none."""
    record: dict[str, Any] = {"path": row.path, "why": row.why, "ours": None, "peers": []}
    record["missing"] = [
        {"call": call, "reason": reasons[call]} for call in row.calls() if call not in costs
    ]
    record["floors"] = [plain(call, costs[call]) for call in row.floors if call in costs]
    record["limit"] = None
    if row.ours not in costs:
        return {**record, "verdict": "missing"}
    ours = costs[row.ours]
    record["ours"] = plain(row.ours, ours)
    record["peers"] = [compared(peer, ours, costs) for peer in row.peers if peer.call in costs]
    if row.limit and all(call in costs for call in row.limit.above):
        record["limit"] = limited(row.limit, ours, costs)
    verdicts = [peer["verdict"] for peer in record["peers"] if peer["verdict"]]
    if record["limit"]:
        verdicts.append(record["limit"]["verdict"])
    return {**record, "verdict": min(verdicts, key=VERDICTS.index, default="stated")}


def plain(call: str, cost: Cost) -> dict[str, Any]:
    return {"call": call, "least": cost.least, "median": cost.median}


def compared(peer: Peer, ours: Cost, costs: Mapping[str, Cost]) -> dict[str, Any]:
    theirs = costs[peer.call]
    ratio, of_medians = ours.over(theirs)
    reach, slower = reach_of(peer, costs), agree_that_it_is_slower(ours, theirs)
    return {
        **plain(peer.call, theirs),
        "ratio": ratio,
        "ratio_of_medians": of_medians,
        "reach": reach,
        "verdict": verdict_of_ratio(ratio, reach, peer.is_ours, slower),
    }


def limited(limit: Limit, ours: Cost, costs: Mapping[str, Cost]) -> dict[str, Any]:
    below = Cost(0.0, 0.0)
    for call in limit.above:
        below += costs[call]
    left = ours - below
    return {
        **plain(" + ".join(limit.above), left),
        "most": limit.most,
        "verdict": "reached" if left.least <= limit.most else "short",
    }


def worst_first(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows where the hub loses come first; of these the one that loses most."""

    def place(record: dict[str, Any]) -> tuple[int, float]:
        ratios = [peer["ratio"] for peer in record["peers"] if peer["verdict"]]
        lost = record["verdict"] in ("behind", "allowed", "level")
        return VERDICTS.index(record["verdict"]), -max(ratios, default=0.0) if lost else 0.0

    return sorted(records, key=place)
