"""``python -m dlpack_bridge``: the tools that come with the package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from .bench import command as bench
from .cli import demo, doctor, matrix

Run = Callable[[argparse.Namespace], int]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m dlpack_bridge")
    commands = made.add_subparsers(dest="command", required=True)

    def command(name: str, run: Run, does: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=does, description=does)
        added.set_defaults(run=run)
        return added

    command("demo", demo.run, "runs the worked examples")
    command("doctor", doctor.run, "says what is installed and whether a CUDA driver answers")
    does = "tries every exchange between what is installed: share, copy, refuse, why, how fast"
    matrix.add_arguments(command("matrix", matrix.run, does))
    does = "measures exchanges and copies beside what people use instead"
    bench.add_arguments(command("bench", bench.run, does))
    return made


def main() -> int:
    arguments = parser().parse_args()
    run: Run = arguments.run
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
