"""Where ``--plot`` draws: looked at before the work begins whose result it shows."""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path


def picture_file(name: str) -> str:
    """The name of a file that matplotlib can write."""
    if importlib.util.find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("needs matplotlib: pip install matplotlib")
    from matplotlib.backend_bases import FigureCanvasBase

    path = Path(name).absolute()
    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.suffix and path.suffix[1:].lower() not in kinds:
        raise argparse.ArgumentTypeError(f"{name!r} ends in none of {', '.join(sorted(kinds))}")
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(
            f"{str(path.parent)!r} is no folder that can be written to"
        )
    return name


def add_plot_option(parser: argparse.ArgumentParser, shown: str) -> None:
    parser.add_argument(
        "--plot", metavar="FILE", type=picture_file, help=f"draw the {shown}, with matplotlib"
    )
