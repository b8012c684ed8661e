"""What `make test` runs: lint, types, import contracts, then each suite within its time budget, and one closing table.

`scripts.test` runs everything, `scripts.test lint` the first three, `scripts.test unit faults` what is named. A step
that fails does not hide the later ones; any failure, also a suite over its budget, is exit code 1.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from scripts.environment import NEWEST, ROOT, members

PYTHON = ".venv/bin/python"
STUCK_FACTOR = 2  # a suite is stopped at twice its budget: late is a failure, stuck must not hold the machine
OUTPUT_CLOSES_SECONDS = 10  # after the end of a step; who holds its output longer was left running by a test
NOTHING_COLLECTED = 5  # pytest's exit code for a folder that has no tests yet
SUMMARY = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed)\b")


@dataclass(frozen=True, slots=True)
class Step:
    """One command with the seconds that it may take on two cores."""

    name: str
    command: tuple[str, ...]
    budget_seconds: float
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended."""

    step: Step
    verdict: str
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        return self.verdict not in {"ok", "absent", "empty"}


def lint_steps() -> list[Step]:
    """Ruff, mypy over all sources, benchmarks and the tests' support code, and the import contracts."""
    sources = [str((package / "src").relative_to(ROOT)) for package in members(ROOT)]
    support = ["tests/support"] if (ROOT / "tests/support").is_dir() else []
    checked = [*sources, "scripts", "benchmarks", *support]
    newest = ".".join(map(str, NEWEST))
    newer = ["--python-version", newest, "--enable-error-code", "deprecated"]
    return [
        Step("ruff check", (PYTHON, "-m", "ruff", "check", "."), 30),
        Step("ruff format", (PYTHON, "-m", "ruff", "format", "--check", "."), 30),
        # Cold; with its cache mypy takes seconds.
        Step("mypy", (PYTHON, "-m", "mypy", *checked), 180),
        # What newer Pythons deprecate or have removed, as far as their types say.
        Step(f"mypy for {newest}", (PYTHON, "-m", "mypy", *newer, *checked), 180),
        Step("import contracts", (".venv/bin/lint-imports",), 60),
    ]


def suite_steps() -> list[Step]:
    """The suites, quick ones first. Two workers where tests share nothing, or only with their file (`loadfile`); one
    where all of them share a stack.

    The unit, integration and e2e tests wait, for timeouts, servers and containers, for a good part of their time, so a
    third worker uses what the two leave of the cores. Integration tests are dealt out in runs (`worksteal`): most
    modules, and so their stacks, stay with one worker.

    Unit and property tests have three minutes together, a quarter of it for the days of a slow machine.
    """
    return [
        _suite("unit", 112, "-n", "3", "examples/plugins"),
        _suite("property", 68, "-n", "2"),
        _suite("architecture", 40, "-n", "2"),
        _suite("conformance", 80),
        _suite("integration", 220, "-n", "3", "--dist", "worksteal"),
        _suite("simulation", 120, "-n", "2"),
        _suite("faults", 420, "-n", "2", "--dist", "loadfile"),
        _suite("fuzz", 120),
        _suite("e2e", 300, "-n", "3", "--dist", "loadfile", "--durations=12"),
    ]


def main(names: Sequence[str]) -> int:
    """Run the named steps, or all of them, and say how each went."""
    lint, suites = lint_steps(), suite_steps()
    chosen = [*lint, *suites]
    if names:
        unknown = set(names) - {"lint"} - {step.name for step in suites}
        if unknown:
            sys.stderr.write(f"no such suite: {', '.join(sorted(unknown))}\n")
            return 2
        chosen = [*(lint if "lint" in names else []), *(step for step in suites if step.name in names)]
    outcomes = [run(step) for step in chosen]
    report(outcomes)
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def run(step: Step) -> Outcome:
    """Run one step, its output going through, and judge it."""
    if step.folder is not None and not (ROOT / step.folder).is_dir():
        return Outcome(step, "absent")
    print(f"\n=== {step.name} (budget {step.budget_seconds:.0f} s)", flush=True)
    began = time.monotonic()
    # Its own session, so that a stuck suite can be ended together with what it started.
    process = subprocess.Popen(
        step.command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    output = _Output(process.stdout)
    stuck = False
    try:
        process.wait(step.budget_seconds * STUCK_FACTOR)
    except subprocess.TimeoutExpired:
        stuck = True
    finally:
        _end_group(process)
    leaking = not output.closes_within(OUTPUT_CLOSES_SECONDS)
    seconds = time.monotonic() - began
    verdict = "stuck" if stuck else "leaks" if leaking else _verdict(step, process.returncode, seconds)
    return Outcome(step, verdict, seconds, output.counts)


def summary_counts(line: str) -> Counter[str]:
    """Return what pytest's closing line counts (`3 passed, 1 skipped in 0.12s`); empty for any other line."""
    if not re.search(r"\bin \d+(\.\d+)?s\b", line):
        return Counter()
    return Counter(
        {kind.rstrip("s") if kind.startswith("error") else kind: int(n) for n, kind in SUMMARY.findall(line)}
    )


def report(outcomes: Sequence[Outcome]) -> None:
    """Print the closing table and, last, pytest's figures added up."""
    total: Counter[str] = Counter()
    print("\n" + f"{'step':<18}{'verdict':<14}{'seconds':>9}{'budget':>9}   tests")
    for outcome in outcomes:
        total += outcome.counts
        told = ", ".join(f"{count} {kind}" for kind, count in outcome.counts.items())
        seconds, budget = outcome.seconds, outcome.step.budget_seconds
        print(f"{outcome.step.name:<18}{outcome.verdict:<14}{seconds:>9.1f}{budget:>9.0f}   {told}".rstrip())
    failed = [outcome.step.name for outcome in outcomes if outcome.failed]
    print(f"\nFailed: {', '.join(failed)}" if failed else "\nEverything passed.")
    extra = f", {total['error']} errors" if total["error"] else ""
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped{extra}")


class _Output:
    """Passes a step's output on as it comes, and keeps what pytest counted last."""

    def __init__(self, pipe: IO[str] | None) -> None:
        assert pipe is not None
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._pass_on, args=(pipe,), daemon=True)
        self._thread.start()

    def closes_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _pass_on(self, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                print(line, end="", flush=True)
                self.counts = summary_counts(line) or self.counts


def _end_group(process: subprocess.Popen[str]) -> None:
    """End what a step left in its process group, and the step itself when it is stuck."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _suite(name: str, budget_seconds: float, *flags: str) -> Step:
    folder = f"tests/{name}"
    return Step(name, (PYTHON, "-m", "pytest", "-ra", *flags, folder), budget_seconds, folder)


def _verdict(step: Step, code: int, seconds: float) -> str:
    if step.folder and code == NOTHING_COLLECTED:
        return "empty"
    if code != 0:
        return "failed"
    return "over budget" if seconds > step.budget_seconds else "ok"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
