"""The worked example of two streams, with real streams."""

import re
import runpy
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "gpu_handoff.py"


def test_the_handoff_orders_two_streams(capsys):
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    text = capsys.readouterr().out
    assert "array -> torch: share" in text
    consumer, producer = re.search(
        r"^stream (0x\w+) waits for stream (0x\w+)$", text, re.MULTILINE
    ).groups()
    assert consumer != producer
    assert text.endswith("shared: True\nvalues: 42.0 to 42.0\n")
