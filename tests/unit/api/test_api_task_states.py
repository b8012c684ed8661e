"""How each task of a job stands, from what there is of it."""

from typing import Any

import pytest

from skrei_domain.job_depends import Dependency
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.spec import JobSpec, TaskSpec
from skrei_orchestrator_api.task_states import Sums, counts_of, task_states

S = ExecutionState


def told(state: JobState, **sums: Sums) -> dict[str, Any]:
    """Return (state, message) of tasks: `b` waits for `a`, which has two partitions; `side` for nobody."""
    tasks = (
        TaskSpec(name="a", count=2),
        TaskSpec(name="b", depends_on=(Dependency("a"),)),
        TaskSpec(name="side"),
    )
    spec = JobSpec(tasks=tasks)
    found = task_states(spec, state, counts_of(spec, None), sums)
    assert [each["Name"] for each in found] == ["a", "b", "side"]
    return {each["Name"]: (each["State"], each.get("Message", "")) for each in found}


def test_a_job_of_one_task_tells_nothing_more() -> None:
    assert task_states(JobSpec(tasks=(TaskSpec(name="main"),)), JobState.RUNNING, {"main": 1}, {}) == []


def test_a_task_that_is_split_has_as_many_partitions_as_its_data_has_holders() -> None:
    spec = JobSpec(
        count=1, tasks=(TaskSpec(name="a", split="holder"), TaskSpec(name="b", depends_on=(Dependency("a"),)))
    )
    assert counts_of(spec, 3) == {"a": 3, "b": 1}
    part, merge = task_states(spec, JobState.RUNNING, counts_of(spec, 3), {"a": Sums(1, 2, {S.RUNNING: 1})})
    assert (part["Count"], part["State"], merge["Message"]) == (3, "Running", "waits for a (1 of 3)")


def test_before_anything_runs_the_first_are_queued_and_the_others_pending() -> None:
    assert told(JobState.PENDING) == {
        "a": ("Queued", ""),
        "b": ("Pending", "waits for a (0 of 2)"),
        "side": ("Queued", ""),
    }


def test_what_waits_says_how_far_the_others_are() -> None:
    a = Sums(1, 2, {S.COMPLETED: 1, S.RUNNING: 1})
    assert told(JobState.RUNNING, a=a) == {
        "a": ("Running", ""),
        "b": ("Pending", "waits for a (1 of 2)"),
        "side": ("Queued", ""),
    }


def test_what_waits_for_nobody_any_more_is_queued_until_it_runs() -> None:
    a = Sums(2, 2, {S.COMPLETED: 2})
    assert told(JobState.RUNNING, a=a)["b"] == ("Queued", "")
    assert told(JobState.RUNNING, a=a, b=Sums(0, 1, {S.OFFERED: 1}))["b"] == ("Running", "")


def test_a_failed_job_tells_who_failed_who_was_stopped_and_who_was_skipped() -> None:
    a = Sums(0, 2, {S.FAILED: 1, S.STOPPED: 1}, "it trapped")
    assert told(JobState.FAILED, a=a, side=Sums(0, 1, {S.STOPPED: 1})) == {
        "a": ("Failed", "it trapped"),
        "b": ("Skipped", ""),
        "side": ("Stopped", ""),
    }


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.FAILED, JobState.STOPPED])
def test_a_task_that_is_done_stays_done_whatever_its_job_becomes(state: JobState) -> None:
    assert told(state, a=Sums(2, 2, {S.COMPLETED: 2, S.REFUSED: 3}))["a"] == ("Completed", "")
