"""The casters and the road behind them under valgrind: no error and no lost block has a frame of ours.

Only what is ours is judged: CPython, NumPy and the loader have findings of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import caster_build
import pytest

SCRIPT = caster_build.SOURCES / "exercise.py"
OURS = ("caster_lab", "dlpack_bridge")


def run_under_valgrind(report, *command):
    done = subprocess.run(
        [
            "valgrind", "--error-limit=no", "--leak-check=full", "--show-leak-kinds=definite",
            "--num-callers=40", "--xml=yes", f"--xml-file={report}", sys.executable, *command,
        ],
        env={**os.environ, "PYTHONMALLOC": "malloc"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "done" in done.stdout, done.stdout + done.stderr
    return ElementTree.parse(report).findall("error")


def files(error):
    return [Path(frame.text or "").name for frame in error.iterfind(".//frame/obj")]


def is_interned_name(error):
    """A string made once: from 3.12 on CPython's interned ones are immortal, and lost when Python ends.
    What a caster loses, it loses in each of the script's rounds."""
    functions = [frame.text for frame in error.iterfind(".//frame/fn")]
    return functions[1:2] == ["PyUnicode_New"] and error.findtext("xwhat/leakedblocks") == "1"


def ours(errors):
    """Those with a frame of our module near the top; the interpreter calls everything from below."""
    near = (e for e in errors if any(f.startswith(OURS) for f in files(e)[:12]))
    return [e for e in near if not is_interned_name(e)]


@pytest.mark.slow
def test_the_casters_are_clean_under_valgrind(tmp_path):
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind, which is not installed here")
    folder = Path(caster_build.module().__file__).parent
    found = ours(run_under_valgrind(tmp_path / "report.xml", SCRIPT, folder))
    assert found == [], "\n\n".join(ElementTree.tostring(e, "unicode") for e in found[:3])


@pytest.mark.slow
def test_valgrind_would_tell(tmp_path):
    """The control: a read of freed memory and a lost block in a module of that name are found."""
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind, which is not installed here")
    source = tmp_path / "bad.c"
    source.write_text(
        "#include <stdlib.h>\n"
        "int bad(void) { char* p = malloc(8); free(p); malloc(13); return p[3]; }\n"
    )
    library = tmp_path / "caster_lab_bad.so"
    subprocess.run(["cc", "-w", "-g", "-O0", "-shared", "-fPIC", source, "-o", library], check=True)
    script = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).bad(); print('done')"
    found = ours(run_under_valgrind(tmp_path / "report.xml", "-c", script, library))
    assert {e.findtext("kind") for e in found} == {"InvalidRead", "Leak_DefinitelyLost"}
