"""What is decided for jobs of several tasks: side by side, in order, in lines of their own, and to a common end."""

from datetime import timedelta

import pytest

from skrei_domain.job_depends import Dependency
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_scheduling import texts
from skrei_scheduling.hope import HopelessRound
from tests.support.builders import a_job, a_node, a_requirement, a_task_plan
from tests.support.task_life import Life

S = ExecutionState
GPU = a_requirement(gpu=1)


def told(life: Life) -> list[str]:
    return [entry.message for entry in life.record.history]


def state(life: Life) -> JobState:
    return life.record.jobs["j-1"].state


@pytest.mark.row("2.2/tasks")
def test_a_task_begins_with_the_look_that_its_last_dependency_asks_for() -> None:
    life = Life([a_job(tasks=[a_task_plan("b", "a"), a_task_plan("a", count=2)])], [a_node()])
    life.plan()
    assert [row.unit for row in life.record.executions.values()] == [("a", 0), ("a", 1)]
    assert life.end(life.live()[:1]).evaluations_new == ()
    (asked,) = life.end(life.live()).evaluations_new
    assert (asked.trigger, asked.delay_seconds) == (texts.TRIGGER_TASK_FREE, 0.0)
    life.plan()
    life.end(life.live("b"))
    assert state(life) is JobState.COMPLETED


def test_an_execution_s_history_names_its_task_where_there_are_several() -> None:
    life = Life([a_job(tasks=[a_task_plan("a"), a_task_plan("b")]), a_job("j-2")], [a_node()])
    life.plan()
    life.end(life.live())
    named = {entry.details.get(texts.TASK) for entry in life.record.history if entry.execution_id}
    assert named == {"a", "b", None}
    assert not any(texts.TASK in entry.details for entry in life.record.history if entry.job_id == "j-2")


def test_a_failed_task_fails_its_job_stops_the_others_and_skips_what_waits() -> None:
    tasks = [a_task_plan("a"), a_task_plan("side"), a_task_plan("b", "a"), a_task_plan("c", "b")]
    life = Life([a_job(tasks=tasks)], [a_node()])
    life.plan()
    life.end(life.live("a"), [S.FAILED])
    life.plan()
    assert state(life) is JobState.FAILED
    assert life.record.messages["j-1"] == "Task a: it was trap"
    (side,) = [row for row in life.record.executions.values() if row.task == "side"]
    assert (side.revoked, side.reason) == (True, texts.STOP_JOB_FAILED)
    assert told(life)[-1] == "Skipped, since what they wait for has not completed: b, c"
    assert life.record.history[-1].details == {texts.SKIPPED_KEY: "b, c"}


def test_a_task_that_no_node_can_ever_run_fails_the_job_before_anything_runs() -> None:
    life = Life([a_job(tasks=[a_task_plan("a"), a_task_plan("b", "a", requirement=GPU)])], [a_node()])
    life.plan()
    assert state(life) is JobState.FAILED
    assert not life.record.executions
    assert life.record.messages["j-1"].startswith("Task b: not enough nodes to run job. requested: 1")


def test_tasks_of_two_classes_wait_in_two_lines_each_with_its_reasons() -> None:
    large, small = a_requirement(cpu="2"), a_requirement(cpu="1")
    tasks = [a_task_plan("large", requirement=large), a_task_plan("small", count=2, requirement=small)]
    filler = a_job("j-0", count=2, requirement=a_requirement(cpu="2"), priority=9)
    life = Life([filler, a_job(tasks=tasks)], [a_node("n-1"), a_node("n-2")])
    life.plan()
    assert dict(life.view.waiting.of_job("j-1")) == {large: 1, small: 2}
    reasons = life.record.messages["j-1"].splitlines()
    assert [line.split(".")[0] for line in reasons if line.startswith("Task")] == [
        "Task large: not enough nodes to run job",
        "Task small: not enough nodes to run job",
    ]
    first = next(row.id for row in life.record.executions.values() if row.job_id == "j-0")
    life.end([first])
    assert life.woken == ["j-1"]
    life.plan()
    assert dict(life.view.waiting.of_job("j-1")) == {small: 2}
    life.end([each for each in life.live() if life.record.executions[each].job_id == "j-0"])
    life.plan()
    assert dict(life.view.waiting.of_job("j-1")) == {}
    assert life.record.messages["j-1"] == ""


def test_a_new_leader_puts_each_task_into_its_own_line_again() -> None:
    large, small = a_requirement(cpu="2"), a_requirement(cpu="1")
    tasks = [a_task_plan("large", requirement=large), a_task_plan("small", count=2, requirement=small)]
    filler = a_job("j-0", requirement=a_requirement(cpu="2"), priority=9)
    life = Life(
        [filler, a_job(tasks=[*tasks, a_task_plan("last", "small", requirement=GPU, queue_timeout=timedelta(1))])],
        [a_node()],
    )
    life.plan()
    life.take_over()
    assert dict(life.view.waiting.of_job("j-1")) == {large: 1, small: 2}


def test_a_queue_timeout_counts_from_when_its_task_waits_for_room_alone() -> None:
    patient = a_task_plan("b", "a", requirement=a_requirement(cpu="2"), queue_timeout=timedelta(seconds=60))
    life = Life([a_job(tasks=[a_task_plan("a"), patient, a_task_plan("side")])], [a_node()])
    life.plan()
    life.later(600)
    life.end(life.live("a"))
    changes = life.plan()
    assert state(life) is JobState.RUNNING
    (timer,) = [new for new in changes.evaluations_new if new.trigger == texts.TRIGGER_QUEUE_TIMEOUT]
    assert timer.delay_seconds == 60
    life.later(59)
    life.take_over()
    life.plan()
    assert state(life) is JobState.RUNNING
    life.later(1)
    life.plan()
    assert state(life) is JobState.FAILED
    assert life.record.messages["j-1"].startswith("Task b: not enough nodes")
    assert not any(row.live and not row.revoked for row in life.record.executions.values())


def test_a_task_with_a_queue_timeout_is_waited_for_though_no_node_can_run_it_yet() -> None:
    rare = a_task_plan("b", "a", requirement=GPU, queue_timeout=timedelta(seconds=60))
    life = Life([a_job(tasks=[a_task_plan("a"), rare])], [a_node()])
    life.plan()
    life.end(life.live())
    life.plan()
    assert state(life) is JobState.QUEUED
    assert HopelessRound(life.view).look(life.record.now, most=9) == []
    life.later(60)
    assert HopelessRound(life.view).look(life.record.now, most=9) == ["j-1"]
    life.plan()
    assert state(life) is JobState.FAILED


def test_the_same_index_begins_while_its_siblings_still_wait() -> None:
    tasks = [a_task_plan("a", count=3), a_task_plan("b", Dependency("a", same=True), count=3)]
    life = Life([a_job(tasks=tasks)], [a_node(cpu="4")])
    life.plan()
    second = next(each for each in life.live() if life.record.executions[each].partition == 1)
    life.end([second])
    life.plan()
    assert [life.record.executions[each].unit for each in life.live("b")] == [("b", 1)]


def test_a_job_whose_dependents_run_in_backoff_is_not_asked_for_twice() -> None:
    """A unit that is retried waits for its own evaluation, whatever frees others meanwhile."""
    tasks = [a_task_plan("a"), a_task_plan("slow"), a_task_plan("b", "a")]
    life = Life([a_job(tasks=tasks)], [a_node("n-1"), a_node("n-2")])
    life.plan()
    life.end(life.live("slow"), [S.REFUSED])
    life.end(life.live("a"))
    life.plan()
    assert [life.record.executions[each].task for each in life.live()] == ["b"]
    life.later(1)
    life.plan()
    assert {life.record.executions[each].task for each in life.live()} == {"b", "slow"}
