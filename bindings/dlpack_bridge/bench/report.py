"""The report as text: Markdown tables that are aligned for a terminal as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .results import VERDICTS, worst_first

Record = dict[str, Any]

SCALES = {"ns": 1.0, "ms": 1e6, "bytes": 1.0}
LOST = ("behind", "allowed", "level", "short", "missing")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> str:
    """The columns named by `numbers` stand to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    left = [name not in numbers for name in head]

    def written(line: list[str]) -> str:
        cells = (
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(line, widths, left, strict=True)
        )
        return f"| {' | '.join(cells)} |"

    ruler = [
        "-" * width if is_left else "-" * (width - 1) + ":"
        for width, is_left in zip(widths, left, strict=True)
    ]
    return "\n".join([written(lines[0]), written(ruler), *map(written, lines[1:])])


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def human_size(size: int) -> str:
    for unit, factor in (("MB", 1 << 20), ("KB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size} B"


# ---- rows ----------------------------------------------------------------------------------------


def figure(value: float, unit: str) -> str:
    value /= SCALES[unit]
    return f"{value:.1f}" if unit == "ms" else f"{value:.0f}"


def lines_of(record: Record, unit: str) -> Iterable[list[str]]:
    """A row: the hub's call, then its peers, what it may cost at most, and the floors."""

    def line(what: str, cost: Record, *rest: str) -> list[str]:
        figures = [figure(cost["least"], unit), figure(cost["median"], unit)]
        return ["", what, *figures, *rest, *[""] * (4 - len(rest))]

    ours = record["ours"]
    if ours is None:
        call = record["missing"][0]["call"]
        yield [record["path"], code(call), "", "", "", "", "", record["verdict"]]
        return
    first = line(code(ours["call"]), ours, "", "", "", record["verdict"])
    yield [record["path"], *first[1:]]
    for peer in record["peers"]:
        ratios = [f"{peer['ratio']:.2f}", f"{peer['ratio_of_medians']:.2f}"]
        aim = "" if peer["reach"] is None else f"<= {round(peer['reach'], 2):g} x"
        yield line(code(peer["call"]), peer, *ratios, aim, peer["verdict"] or "")
    if record["limit"]:
        limit = record["limit"]
        most = f"<= {figure(limit['most'], unit)} {unit}"
        yield line(f"above {limit['call']}", limit, "", "", most, limit["verdict"])
    for floor in record["floors"]:
        yield line(f"floor: {code(floor['call'])}", floor)


def table_of_calls(section: Record) -> str:
    unit = section["unit"]
    head = ["path", "call", f"least {unit}", "median", "ratio", "of medians", "aim", "verdict"]
    lines = (line for row in section["rows"] for line in lines_of(row, unit))
    return table(head, lines, numbers=head[2:6])


# ---- copies --------------------------------------------------------------------------------------


def speed(row: Record, cost: Record) -> float:
    """Bytes per nanosecond are 10^9 bytes per second."""
    return float(row["bytes"] / cost["least"])


def fastest(row: Record) -> Record | None:
    peers = [peer for peer in row["peers"] if peer["verdict"]]
    return max(peers, key=lambda peer: peer["ratio"], default=None)


def cell_of_copy(row: Record) -> str:
    if row["ours"] is None:
        return "-"
    peer = fastest(row)
    ours = f"{speed(row, row['ours']):.1f}"
    return f"{ours} / {speed(row, peer):.1f} {peer['call']}" if peer else ours


def tables_of_copies(section: Record) -> str:
    """One table for each number of threads; a line shows its worst verdict."""
    parts = []
    rows = section["rows"]
    for threads in sorted({row["threads"] for row in rows}):
        mine = [row for row in rows if row["threads"] == threads]
        sizes = sorted({row["size"] for row in mine})
        lines = []
        for path in dict.fromkeys(row["path"] for row in worst_first(mine)):
            cells = {row["size"]: cell_of_copy(row) for row in mine if row["path"] == path}
            worst = min((row["verdict"] for row in mine if row["path"] == path), key=VERDICTS.index)
            lines.append([path, worst, *(cells.get(size, "") for size in sizes)])
        head = ["case", "verdict", *map(human_size, sizes)]
        parts.append(f"Threads: {threads}. GB/s: dlpack_bridge / the fastest peer.\n")
        parts.append(table(head, lines, numbers=head[2:]) + "\n")
    return "\n".join(parts).rstrip()


def table_of_contents(section: Record) -> str:
    rows, numbers = section["rows"], ("files", "bytes", "compressed")
    lines = [[row["what"], *(f"{row[key]:,}" for key in numbers)] for row in rows]
    sums = [f"{sum(row[key] for row in rows):,}" for key in numbers]
    return table(["", *numbers], [*lines, ["all", *sums]], numbers)


# ---- the whole -----------------------------------------------------------------------------------


def header(report: Record) -> str:
    machine, peers = report["machine"], report["peers"]
    python = f"Python {machine['python']} ({machine['built_with']})"
    libc = machine["libc"] or "another libc"
    processor = machine["processor"] + (" of a virtual machine" if machine["virtual"] else "")
    load = " ".join(f"{value:.1f}" for value in machine["load"])
    lines = [
        f"dlpack_bridge {machine['dlpack_bridge']}, {python}, {machine['system']}, {libc}",
        f"{machine['cores']} cores, {processor}, governor {machine['governor'] or 'unknown'}, load {load}",
        ", ".join(f"{peer['name']} {peer['version']}" for peer in peers if peer["version"]),
        *(f"{peer['name']}: {peer['reason']}" for peer in peers if peer["reason"]),
        report["method"],
    ]
    return "\n".join(f"* {line}" for line in lines)


def why_lost(row: Record) -> str:
    if row["ours"] is None:
        return str(row["missing"][0]["reason"])
    said = [
        f"{peer['ratio']:.2f} x `{peer['call']}`, aim {round(peer['reach'], 2):g}"
        for peer in row["peers"]
        if peer["verdict"] in LOST
    ]
    if row["limit"] and row["limit"]["verdict"] in LOST:
        said.append(f"above {row['limit']['call']}: {row['limit']['least']:.0f} ns")
    return "; ".join(said)


def place_of(row: Record) -> str:
    if "size" not in row:
        return str(row["path"])
    return f"{row['path']}, {human_size(row['size'])}, threads: {row['threads']}"


def summary(report: Record) -> str:
    """What is lost comes before everything else."""
    rows = [
        (section["name"], row)
        for section in report["sections"]
        for row in section["rows"]
        if "verdict" in row
    ]
    if not rows:
        return ""
    counts = {verdict: sum(row["verdict"] == verdict for _, row in rows) for verdict in VERDICTS}
    said = ", ".join(f"{verdict} {count}" for verdict, count in counts.items() if count)
    lost = [
        [row["verdict"], name, place_of(row), why_lost(row)]
        for verdict in LOST
        for name, row in rows
        if row["verdict"] == verdict
    ]
    if not lost:
        return f"Rows: {said}."
    return f"Rows: {said}.\n\n{table(['verdict', 'section', 'row', 'why'], lost)}"


def not_measured(section: Record) -> str:
    """Each reason once, with the calls that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for row in section["rows"]:
        for missing in row.get("missing", ()):
            calls = by_reason.setdefault(missing["reason"], [])
            if missing["call"] not in calls:
                calls.append(missing["call"])
    return "\n".join(
        f"* not measured: {', '.join(map(code, calls))}: {reason}"
        for reason, calls in by_reason.items()
    )


def text(report: Record) -> str:
    parts = [header(report), summary(report)]
    for section in report["sections"]:
        parts.append(f"## {section['title']}")
        if section["failed"]:
            parts.append(f"* not measured: {section['failed']}")
        if section["rows"]:
            shown = {"copies": tables_of_copies, "contents": table_of_contents}
            parts.append(shown.get(section["name"], table_of_calls)(section))
        parts.append(not_measured(section))
    return "\n\n".join(part for part in parts if part) + "\n"
