"""How the test runner judges a suite and adds up what pytest says."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts import test as runner
from scripts.test import Outcome, Step


def step(code: str, budget_seconds: float = 30, folder: str | None = None) -> Step:
    return Step("sample", (sys.executable, "-c", code), budget_seconds, folder)


def test_the_closing_line_of_pytest_is_counted() -> None:
    line = "2 failed, 10 passed, 3 skipped, 1 error in 12.34s (0:00:12)\n"
    assert runner.summary_counts(line) == {"failed": 2, "passed": 10, "skipped": 3, "error": 1}


@pytest.mark.parametrize("line", ["3 passed", "tests passed in a hurry", "no tests ran in 0.01s"])
def test_other_lines_are_not_counted(line: str) -> None:
    assert runner.summary_counts(line) == {}


def test_a_passing_step_is_ok_and_brings_its_counts() -> None:
    outcome = runner.run(step("print('4 passed, 1 skipped in 0.01s')"))
    assert (outcome.verdict, outcome.counts) == ("ok", Counter(passed=4, skipped=1))


def test_a_failing_step_fails() -> None:
    assert runner.run(step("raise SystemExit(1)")).failed


def test_a_step_over_its_budget_fails_although_its_tests_pass() -> None:
    outcome = runner._verdict(step("", budget_seconds=10), code=0, seconds=10.1)
    assert outcome == "over budget"


def test_a_stuck_step_is_ended_with_what_it_started() -> None:
    outcome = runner.run(step("import signal, os; os.fork(); signal.pause()", budget_seconds=0.2))
    assert outcome.verdict == "stuck"
    assert outcome.failed


def test_a_step_that_leaves_a_process_behind_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "OUTPUT_CLOSES_SECONDS", 0.2)
    door = tmp_path / "door"
    os.mkfifo(door)
    left = f"open({str(door)!r}).read()"  # waits until somebody opens the other side
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {left!r}], start_new_session=True)"
    assert runner.run(step(code)).verdict == "leaks"
    door.open("w").close()


def test_a_suite_that_is_not_there_yet_is_absent_and_does_not_fail() -> None:
    outcome = runner.run(step("", folder="tests/no-such-suite"))
    assert (outcome.verdict, outcome.failed) == ("absent", False)


def test_the_last_line_adds_up_all_suites(capsys: pytest.CaptureFixture[str]) -> None:
    counts = [Counter(passed=3, skipped=1), Counter(passed=2, failed=1)]
    runner.report([Outcome(step(""), "ok", 1.0, counts[0]), Outcome(step(""), "failed", 2.0, counts[1])])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "5 passed, 1 failed, 1 skipped"
    assert lines[-2] == "Failed: sample"
