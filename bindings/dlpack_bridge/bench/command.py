"""``python -m dlpack_bridge bench``: runs the sections and prints what they found."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from ..cli.pictures import add_plot_option
from . import machine
from .options import Options
from .report import text
from .sections import SECTIONS, run_section

ROUNDS = 21
SIZES = ("1K", "64K", "1M", "64M")
MOST_THREADS = 16  # more than saturate a memory
METHOD = (
    "{rounds} interleaved rounds in one process for each section, an empty call subtracted, garbage "
    "collection off, every result kept until the next; ratios are of the least times"
)


def size(word: str) -> int:
    """64K, 1M, 512."""
    found = re.fullmatch(r"(\d+)([KM]?)", word.upper())
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{word!r} is no size such as 512, 64K or 1M")
    return int(found[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20}[found[2]]


def positive(word: str) -> int:
    if not word.isdecimal() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"{word!r} is no positive number")
    return int(word)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = [section.name for section in SECTIONS]
    threads = sorted({1, min(machine.cores(), MOST_THREADS)})
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    add_plot_option(parser, "ratios")
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="SECTION", help=", ".join(names)
    )
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=size,
        default=[size(word) for word in SIZES],
        help=f"of the copies, default: {' '.join(SIZES)}",
    )
    parser.add_argument(
        "--threads",
        nargs="+",
        type=positive,
        default=threads,
        help=f"of the copies, default: {' '.join(map(str, threads))}",
    )
    parser.add_argument(
        "--most-alive", type=positive, default=10**6, help="arrays of section scale: 1000000"
    )


def options_of(arguments: argparse.Namespace) -> Options:
    most = arguments.most_alive
    return Options(
        rounds=arguments.rounds,
        sizes=tuple(arguments.sizes),
        threads=max(arguments.threads),
        alive=tuple(sorted({1, *(count for count in (100, 10_000) if count < most), most})),
        listed=max(1, most // 10),
    )


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole report, as it is printed with --json."""
    options = options_of(arguments)
    report = {
        "schema": 1,
        "machine": machine.machine(),
        "peers": machine.peers(),
        "method": METHOD.format(rounds=options.rounds),
    }
    chosen = [section for section in SECTIONS if section.name in arguments.only]
    threads = tuple(arguments.threads)
    report["sections"] = [run_section(section, options, threads) for section in chosen]
    return report


def run(arguments: argparse.Namespace) -> int:
    """1 when a section could not be measured at all."""
    report = measured(arguments)
    print(json.dumps(report, indent=1) if arguments.json else text(report), end="", flush=True)
    if arguments.plot:
        from .plot import draw

        draw(report, arguments.plot)
    return any(section["failed"] for section in report["sections"])
