"""Where a C++ build finds the library inside the installed package.

``python -m dlpack_bridge.config --cmakedir`` prints the folder for ``dlpack_bridge_DIR`` or
``CMAKE_PREFIX_PATH``, ``--includedir`` the one of the headers (its own and ``dlpack/dlpack.h``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def cmakedir() -> str:
    """The folder of the CMake package, for ``find_package(dlpack_bridge CONFIG)``."""
    return str(_PACKAGE / "lib" / "cmake" / "dlpack_bridge")


def includedir() -> str:
    """The folder to put on the include path."""
    return str(_PACKAGE / "include")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dlpack_bridge.config", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--cmakedir", action="store_const", const=cmakedir, dest="folder")
    which.add_argument("--includedir", action="store_const", const=includedir, dest="folder")
    print(parser.parse_args().folder())


if __name__ == "__main__":
    main()
