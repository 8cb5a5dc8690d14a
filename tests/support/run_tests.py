"""Runs test suites and ends with one summary for all.

    run_tests.py [--ctest NAME=BUILD_FOLDER] [--pytest NAME=FOLDER[,FOLDER]]
                 [--asan-pytest NAME=PACKAGES:TESTS] [--then] ...

pytest takes one core: the --ctest and --asan-pytest suites run beside the --pytest ones, where there
are cores for both, one after the other. Their output goes to build/reports/NAME.log and follows when
each has ended. What comes after --then begins when all before it have ended.

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
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
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
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    name: str,
    command: list[str],
    report_option: str,
    environment: dict[str, str] | None = None,
    quiet: bool = False,
) -> Suite:
    report = REPORTS / f"{re.sub('[^A-Za-z0-9]+', '-', name)}.xml"
    log = report.with_suffix(".log")
    report.unlink(missing_ok=True)
    command = [*command, f"{report_option}={report}"]
    heading = f"\n\033[1m==> {name}: {' '.join(command)}\033[0m"
    where = f"\nin {log.relative_to(ROOT)} until it has ended" if quiet else ""
    print(heading + where, flush=True)
    environment = {**os.environ, **(environment or {})}
    if quiet:
        with log.open("wb") as out:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, check=False, stdout=out, stderr=out
            )
        print(heading, flush=True)
        sys.stdout.buffer.write(log.read_bytes())
        sys.stdout.flush()
    else:
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    suite = Suite(name)
    suite.read(report, done.returncode)
    return suite


def run_ctest(name: str, folder: str, beside: bool) -> Suite:
    parallel = f"--parallel={max(CORES - beside, 1)}"
    options = ["--output-on-failure", "--no-tests=error", parallel]
    command = [str(TOOLS / "ctest"), f"--test-dir={folder}", *options]
    return run_command(name, command, "--output-junit", quiet=beside)


def run_pytest(name: str, folders: str, beside: bool) -> Suite:
    # The console script: "python -m pytest" would put the root on sys.path.
    return run_command(name, [str(TOOLS / "pytest"), *folders.split(",")], "--junit-xml")


def runtime_of(sanitizer: str) -> str:
    compiler = os.environ.get("CXX", "g++")
    command = [*compiler.split(), f"-print-file-name=lib{sanitizer}.so"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run_asan_pytest(name: str, where: str, beside: bool) -> Suite:
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
    return run_command(name, command, "--junit-xml", environment, quiet=beside)


RUNNERS = {"--ctest": run_ctest, "--pytest": run_pytest, "--asan-pytest": run_asan_pytest}
FOREGROUND = "--pytest"
STOPPED = threading.Event()  # nothing more begins


def stop(*_):
    """Ctrl-C, before anybody sees that a suite has died of it."""
    STOPPED.set()
    raise KeyboardInterrupt


def run_phase(entries: list[tuple[str, str]]) -> list[Suite]:
    """The suites of one phase, in the order they were given."""
    front = [entry for entry in entries if entry[0] == FOREGROUND]
    back = [entry for entry in entries if entry[0] != FOREGROUND]
    beside = bool(front and back) and CORES > 1

    def run(chosen: list[tuple[str, str]]) -> dict[tuple[str, str], Suite]:
        suites = {}
        for kind, what in chosen:
            if not STOPPED.is_set():
                suites[kind, what] = RUNNERS[kind](*what.split("=", 1), beside)
        return suites

    with ThreadPoolExecutor(1) as pool:
        try:
            found = pool.submit(run, back)
            if not beside:
                found.result()
            suites = run(front) | found.result()
        except BaseException:
            STOPPED.set()
            raise
    return [suites[entry] for entry in entries]


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


class Append(argparse.Action):
    """Keeps the order in which options of several names are given."""

    def __call__(self, parser, namespace, values, option_string=None):
        phases = namespace.phases
        if option_string == "--then":
            phases.append([])
        else:
            phases[-1].append((option_string, values))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.set_defaults(phases=[[]])
    for kind in RUNNERS:
        parser.add_argument(kind, action=Append, metavar="NAME=WHERE", default=argparse.SUPPRESS)
    parser.add_argument("--then", action=Append, nargs=0, default=argparse.SUPPRESS)
    phases = parser.parse_args().phases
    signal.signal(signal.SIGINT, stop)

    REPORTS.mkdir(parents=True, exist_ok=True)
    for old in (*REPORTS.glob("*.xml"), *REPORTS.glob("*.log")):
        old.unlink()
    return summarise([suite for phase in phases for suite in run_phase(phase)])


if __name__ == "__main__":
    sys.exit(main())
