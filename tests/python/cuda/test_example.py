"""The worked example of two streams does what it says."""

import contextlib
import io
import re
import runpy
from pathlib import Path

import fake_driver as driver

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "gpu_handoff.py"


def test_the_handoff_orders_two_streams_and_blocks_for_the_host_result_only():
    waits = driver.host_waits()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    text = printed.getvalue()
    assert "array -> torch: share" in text
    consumer, producer = re.search(
        r"^stream (0x\w+) waits for stream (0x\w+)$", text, re.MULTILINE
    ).groups()
    assert consumer != producer
    assert text.endswith("shared: True\nvalues: 42.0 to 42.0\n")
    assert driver.host_waits() == waits + 1
