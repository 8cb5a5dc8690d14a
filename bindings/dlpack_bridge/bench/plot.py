"""The picture: every ratio to a peer with an aim, on one axis."""

from __future__ import annotations

from typing import Any

COLOURS = {
    "behind": "#c0392b",
    "allowed": "#e67e22",
    "level": "#2980b9",
    "short": "#f1c40f",
    "reached": "#27ae60",
}


def bars(report: dict[str, Any]) -> list[tuple[str, float, str]]:
    """For each row the peer that comes closest: label, ratio, verdict."""
    found = []
    for section in report["sections"]:
        for row in section["rows"]:
            peers = [peer for peer in row.get("peers", ()) if peer["verdict"]]
            if peers:
                peer = max(peers, key=lambda peer: peer["ratio"])
                where = f", {row['size']:,} bytes, {row['threads']} thr." if "size" in row else ""
                label = f"{row['path']}{where}: {peer['call']}"
                found.append((label, peer["ratio"], row["verdict"]))
    return found


def draw(report: dict[str, Any], file: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    found = bars(report)[::-1]
    labels, ratios, verdicts = zip(*found, strict=True) if found else ((), (), ())
    figure, axes = pyplot.subplots(figsize=(10, 1.5 + 0.2 * len(found)))
    colours = [COLOURS.get(verdict, "#7f8c8d") for verdict in verdicts]
    axes.barh(range(len(found)), [ratio - 1 for ratio in ratios], left=1, color=colours)
    axes.set_yticks(range(len(found)), labels, fontsize=6)
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel(
        "time of dlpack_bridge / time of the peer that comes closest; left of 1 is faster"
    )
    handles = [Patch(color=colour) for colour in COLOURS.values()]
    axes.legend(handles, COLOURS, loc="lower right", fontsize=7)
    figure.savefig(file, bbox_inches="tight", dpi=120)
    pyplot.close(figure)
