import pytest

from skrei.cli.exit_codes import Ends
from skrei.views import Execution, HistoryItem, Job
from tests.support import fake_api


def attempt(number: int, partition: int = 0, state: int = 9, exit_code: int = 0) -> Execution:
    output = {"Stdout": "", "stderr": "", "ExitCode": exit_code}
    return Execution.parse(fake_api.execution(number, partition, state, RunOutput=output))


def code(state: str, *executions: Execution, events: tuple[dict[str, object], ...] = ()) -> int:
    ends = Ends()
    ends.take([HistoryItem.parse(each) for each in events])
    return ends.exit_code(Job.parse(fake_api.job(state, count=max(len(executions), 1))), executions)


def said(message: str, execution: Execution, **details: str) -> dict[str, object]:
    return fake_api.event(1, message, execution.id, **details)


def test_the_program_s_exit_code_is_ours_and_of_several_the_highest() -> None:
    assert code("Completed", attempt(1)) == 0
    assert code("Completed", attempt(1, exit_code=3), attempt(2, 1, exit_code=7), attempt(3, 2)) == 7
    assert code("Completed", attempt(1, exit_code=-1)) == 0  # a module that returned has none
    assert code("Completed", attempt(1, exit_code=300)) == 255


def test_an_attempt_that_was_replaced_does_not_count() -> None:
    assert code("Completed", attempt(1, state=10, exit_code=9), attempt(2, exit_code=2)) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("execution-timeout", 124),
        ("total-timeout", 124),
        ("export-unknown", 125),
        ("input-denied", 125),
        ("image-unavailable", 125),
        ("trap", 1),
        ("out-of-memory", 1),
    ],
)
@pytest.mark.row("12/exit-codes")
def test_why_an_attempt_failed_is_told_by_the_code(error: str, expected: int) -> None:
    failed = attempt(1, state=10, exit_code=-1)
    events = (said("Running", failed), said("it ended", failed, ErrorCode=error, IsError="true"))
    assert code("Failed", failed, events=events) == expected


@pytest.mark.row("12/exit-codes")
def test_a_failure_before_anything_ran_could_not_be_run() -> None:
    failed = attempt(1, state=10, exit_code=-1)
    assert code("Failed", failed, events=(said("no room", failed, ErrorCode="something-new"),)) == 125
    assert code("Failed") == 125


def test_a_whole_job_s_timeout_is_a_timeout_and_a_stop_is_a_failure() -> None:
    timed_out = fake_api.event(1, "Job timed out")
    timed_out["Event"]["Topic"] = "Job Timeout"
    assert code("Failed", attempt(1, state=11), events=(timed_out,)) == 124
    assert code("Stopped", attempt(1, state=11)) == 1
