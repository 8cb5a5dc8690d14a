"""``python -m dlpack_bridge demo``: runs the worked examples of docs/examples, which the package
carries along."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NEEDED = ("numpy", "torch", "matplotlib")


def run(arguments: argparse.Namespace) -> int:
    """Each in an interpreter of its own, in the current folder, where a picture is left."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"the examples need more: pip install {' '.join(missing)}")
    for example in sorted(EXAMPLES.glob("[0-9]*.py")):
        print(f"\n==> {example}", flush=True)
        code = subprocess.run([sys.executable, example], check=False).returncode
        if code:
            return code
    return 0
