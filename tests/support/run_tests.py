"""Runs test suites one after the other and ends with one summary for all.

    run_tests.py [--ctest NAME=BUILD_FOLDER]... [--pytest NAME=FOLDER[,FOLDER]]...
                 [--asan-pytest NAME=PACKAGES:TESTS]...

A skipped test counts as failed unless its reason is in ALLOWED_SKIPS: what can run, runs. The last
line is ``total: N passed, M failed, K skipped``; the exit code is 1 when anything failed.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

# Reasons that are the machine's, not ours.
ALLOWED_SKIPS = re.compile(
    r"needs a GPU|needs two GPUs|needs the compiler of a budget|needs \w+, which is not installed here"
)

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "build" / "reports"
TOOLS = Path(sys.executable).parent


@dataclass
class Suite:
    name: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def read(self, report: Path, exit_code: int) -> None:
        """Counts the cases of a JUnit report. No report, or a bad end without a failed case, is a
        failure as well."""
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
        for case in cases:
            name = " ".join(dict.fromkeys((case.get("classname", ""), case.get("name", ""))))
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed.append(name)
            elif case.find("skipped") is not None or case.get("status") == "notrun":
                self.count_skip(name, skip_reason(case))
            else:
                self.passed += 1
        if not cases:
            self.failed.append(f"no report, the runner ended with {how_it_ended(exit_code)}")
        elif exit_code and not self.failed:
            self.failed.append(f"the runner ended with {how_it_ended(exit_code)}")

    def count_skip(self, name: str, reason: str) -> None:
        if ALLOWED_SKIPS.search(reason):
            self.skipped[reason] += 1
        else:
            self.failed.append(f"{name} (skipped: {reason})")

    def line(self) -> str:
        ran = self.passed + len(self.failed)
        skipped = self.skipped.total()
        return f"{self.name:<24}{ran:>8}{self.passed:>8}{len(self.failed):>8}{skipped:>8}"


def how_it_ended(exit_code: int) -> str:
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


def skip_reason(case: ElementTree.Element) -> str:
    """pytest's message; of a Catch2 case, which ctest knows by its exit code, what it said."""
    skipped = case.find("skipped")
    message = skipped.get("message", "") if skipped is not None else "not run"
    said = re.search(r"explicitly with message:\s*(.+)", case.findtext("system-out", ""))
    return (said.group(1) if said else message).strip()


def run_command(
    name: str, command: list[str], report_option: str, environment: dict[str, str] | None = None
) -> Suite:
    report = REPORTS / f"{re.sub('[^A-Za-z0-9]+', '-', name)}.xml"
    report.unlink(missing_ok=True)
    command = [*command, f"{report_option}={report}"]
    print(f"\n\033[1m==> {name}: {' '.join(command)}\033[0m", flush=True)
    suite = Suite(name)
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, check=False)
    suite.read(report, done.returncode)
    return suite


def run_ctest(name: str, folder: str) -> Suite:
    options = ["--output-on-failure", "--no-tests=error", f"--parallel={os.cpu_count() or 2}"]
    command = [str(TOOLS / "ctest"), f"--test-dir={folder}", *options]
    return run_command(name, command, "--output-junit")


def run_pytest(name: str, folders: str) -> Suite:
    # The console script: "python -m pytest" would put the root on sys.path.
    return run_command(name, [str(TOOLS / "pytest"), *folders.split(",")], "--junit-xml")


def runtime_of(sanitizer: str) -> str:
    compiler = os.environ.get("CXX", "g++")
    command = [*compiler.split(), f"-print-file-name=lib{sanitizer}.so"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run_asan_pytest(name: str, where: str) -> Suite:
    """With a package that was built with the sanitizers, in a Python that was not: their runtimes are
    loaded first. Extensions that the tests build get them as well. Python itself leaks."""
    packages, tests = where.split(":")
    environment = {
        "PYTHONPATH": str(ROOT / packages),
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": f"{runtime_of('asan')} {runtime_of('ubsan')}",
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "CMAKE_BUILD_TYPE": "Debug",
        "CXXFLAGS": "-fsanitize=address,undefined -fno-sanitize-recover=all -O1",
    }
    command = [str(TOOLS / "pytest"), *tests.split()]
    return run_command(name, command, "--junit-xml", environment)


def summarise(suites: list[Suite]) -> int:
    print(f"\n{'suite':<24}{'ran':>8}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for suite in suites:
        print(suite.line())
    for suite in suites:
        for name in suite.failed:
            print(f"failed   {suite.name}: {name}")
        for reason, count in suite.skipped.items():
            print(f"skipped  {suite.name}: {count} x {reason}")
    passed = sum(suite.passed for suite in suites)
    failed = sum(len(suite.failed) for suite in suites)
    skipped = sum(suite.skipped.total() for suite in suites)
    print(f"total: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ctest", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--pytest", action="append", default=[], metavar="NAME=FOLDERS")
    parser.add_argument("--asan-pytest", action="append", default=[], metavar="NAME=PACKAGES:TESTS")
    arguments = parser.parse_args()

    REPORTS.mkdir(parents=True, exist_ok=True)
    for old in REPORTS.glob("*.xml"):
        old.unlink()
    suites = [run_ctest(*entry.split("=", 1)) for entry in arguments.ctest]
    suites += [run_pytest(*entry.split("=", 1)) for entry in arguments.pytest]
    suites += [run_asan_pytest(*entry.split("=", 1)) for entry in arguments.asan_pytest]
    return summarise(suites)


if __name__ == "__main__":
    sys.exit(main())
