"""Compiles the C extension `dlpack_lab` with the compiler that built this Python."""

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path

SOURCES = Path(__file__).parent / "lab"


def compiler():
    chosen = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    words = shlex.split(chosen)
    found = subprocess.run(["which", words[0]], capture_output=True, check=False).returncode == 0
    return words if found else ["cc"]


def build(folder):
    """Compiles into `folder` and returns the path of the extension."""
    target = Path(folder) / ("dlpack_lab" + sysconfig.get_config_var("EXT_SUFFIX"))
    command = compiler() + ["-shared", "-fPIC", "-O1", "-g", "-std=gnu11", "-Wall", "-Wextra"]
    command += ["-Werror=implicit-function-declaration", "-Wno-missing-field-initializers"]
    command += ["-I", sysconfig.get_path("include")]
    command += [str(source) for source in sorted(SOURCES.glob("*.c"))]
    command += ["-pthread", "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    return target
