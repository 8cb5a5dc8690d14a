"""One section in a process of its own, so that sections do not disturb, and not end, each other.

``python -m dlpack_bridge.bench.worker SECTION OPTIONS FILE``: the options as JSON; the records are
written to the file, because peers may print.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from .options import Options


def main() -> None:
    section, options, file = sys.argv[1:]
    records = importlib.import_module(f"{__package__}.{section}").run(
        Options(**json.loads(options))
    )
    Path(file).write_text(json.dumps(records))


if __name__ == "__main__":
    main()
