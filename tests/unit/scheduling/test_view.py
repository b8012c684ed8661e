"""The view: what it holds, who waits in which order, and whom a change wakes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.lifecycle import Connection, ExecutionState, JobState
from skrei_scheduling import waiting
from skrei_scheduling.changes import Changes, EvaluationNew, ExecutionChange, JobChange
from skrei_scheduling.rows import NOTHING, JobRow, Requirement
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_job, a_node, a_requirement, an_execution, locked

S = ExecutionState
CORE = a_requirement(cpu="1")


def queued(id: str, *, priority: int = 0, age: int = 0, **more: object) -> JobRow:
    created = NOW - timedelta(seconds=age)
    more.setdefault("requirement", CORE)
    return a_job(id, state=JobState.QUEUED, priority=priority, created_at=created, **more)  # type: ignore[arg-type]


def ended(view: ClusterView, *ids: str) -> Changes:
    rows = (replace(view.executions[id], state=S.COMPLETED, holds=False) for id in ids)
    return Changes(executions=tuple(ExecutionChange(row) for row in rows))


def full(*waiting: JobRow, cpu: str = "2") -> ClusterView:
    """A node whose cores are each held by one execution of a job that runs, and jobs that wait."""
    job = a_job("j-0", count=4, requirement=CORE, state=JobState.RUNNING, won=[("main", 2), ("main", 3)])
    rows = [an_execution(f"e-{n}", job=job, partition=n, state=S.RUNNING) for n in range(2)]
    return ClusterView.load([a_node(cpu=cpu)], [job, *waiting], rows)


def test_a_job_that_is_read_again_holds_no_more_than_before() -> None:
    view = ClusterView()
    for _ in range(2):
        view.upsert_job(replace(a_job(), failed=NOTHING, targets=NOTHING, won_at=NOTHING, manifests=NOTHING))
    (job,) = view.jobs.values()
    assert all(each is NOTHING for each in (job.failed, job.targets, job.won_at, job.manifests))


@pytest.mark.row("4.6/node-events")
def test_freed_room_wakes_the_first_in_line_and_no_more_than_fit() -> None:
    view = full(queued("j-young"), queued("j-old", age=9), queued("j-urgent", priority=1), queued("j-mid", age=5))
    assert view.apply(ended(view, "e-0")) == ["j-urgent"]
    assert view.apply(ended(view, "e-1")) == ["j-urgent", "j-old"]


def test_a_class_that_does_not_fit_does_not_hide_one_that_does() -> None:
    view = full(queued("j-big", age=9, requirement=a_requirement(cpu="2")), queued("j-small"))
    assert view.apply(ended(view, "e-0")) == ["j-small"]


def test_a_class_that_the_node_cannot_run_is_not_woken() -> None:
    view = full(
        queued("j-docker", requirement=a_requirement("docker", cpu="1")),
        queued("j-gpu", requirement=a_requirement(gpu=1)),
    )
    assert view.apply(ended(view, "e-0", "e-1")) == []


def test_a_job_with_nodes_to_avoid_never_hides_the_one_behind_it() -> None:
    picky = queued("j-picky", age=9, refused_by={("main", 0): frozenset({"n-1"})})
    view = full(picky, queued("j-next"))
    assert view.apply(ended(view, "e-0")) == ["j-picky", "j-next"]


@pytest.mark.row("4.6/node-events")
def test_a_node_that_joins_returns_or_changes_wakes_what_it_can_run() -> None:
    view = full(queued("j-docker", requirement=a_requirement("docker", cpu="1")))
    assert view.apply(Changes(nodes=(a_node("n-2", engines=["docker"]),))) == ["j-docker"]
    away = a_node("n-2", engines=["docker"], connected=False)
    assert view.apply(Changes(nodes=(away,))) == []
    assert view.apply(Changes(nodes=(replace(away, connection=Connection.CONNECTED),))) == ["j-docker"]
    assert view.apply(Changes(nodes=(a_node("n-1", engines=["docker"]),))) == []


def test_a_node_that_only_confirmed_more_facts_wakes_nobody() -> None:
    view = full(queued("j-1"), cpu="4")
    assert view.apply(Changes(nodes=(replace(view.nodes["n-1"], confirmed=7),))) == []
    assert view.nodes["n-1"].confirmed == 7


def test_the_sweep_finds_a_waiting_job_that_has_room() -> None:
    view = full(queued("j-1"), queued("j-docker", requirement=a_requirement("docker")), cpu="4")
    assert view.sweep() == ["j-1"]


def test_classes_for_which_nobody_has_room_cost_a_look_at_four_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of jobs that each ask for another amount of memory are thousands of classes."""
    classes = [queued(f"j-{n}", requirement=a_requirement(cpu="1", memory=f"{n}Mb")) for n in range(2, 100)]
    view = full(queued("j-small", requirement=a_requirement(cpu="500m")), *classes, cpu="2500m")
    asked: list[Requirement] = []
    monkeypatch.setattr(waiting, "accepts", lambda requirement, *_: asked.append(requirement) or True)
    real = view.feasibility.of
    monkeypatch.setattr(view.feasibility, "of", lambda requirement: asked.append(requirement) or real(requirement))
    assert view.sweep() == ["j-small"]
    assert view.waiting.woken(view.matrix, {"n-1"}, picky=lambda _: False) == ["j-small"]
    assert asked == [view.jobs["j-small"].tasks[0].requirement] * 2


def test_a_change_of_capacity_keeps_what_is_reserved() -> None:
    view = full()
    view.apply(Changes(nodes=(a_node("n-1", cpu="8"),)))
    assert view.matrix.room("n-1").cpu_milli == 6000
    view.apply(Changes(nodes=(a_node("n-1", cpu="1"),)))
    assert view.matrix.room("n-1").cpu_milli == -1000


def test_a_reservation_counts_until_it_is_given_up_whatever_the_state() -> None:
    view = full()
    lost = replace(view.executions["e-0"], state=S.LOST, revoked=True)
    view.apply(Changes(executions=(ExecutionChange(lost),)))
    assert view.matrix.room("n-1").cpu_milli == 0
    view.apply(Changes(executions=(ExecutionChange(replace(lost, holds=False)),)))
    assert view.matrix.room("n-1").cpu_milli == 1000
    assert "e-0" not in view.executions


def test_a_terminal_job_is_kept_while_it_holds_room_and_dropped_after() -> None:
    view = full()
    view.apply(Changes(jobs=(JobChange("j-0", 3, state=JobState.FAILED),)))
    assert "j-0" in view.jobs
    view.apply(ended(view, "e-0", "e-1"))
    assert "j-0" not in view.jobs


def test_a_job_read_again_keeps_what_the_view_counted_of_its_version() -> None:
    view = full()
    view.apply(Changes(jobs=(JobChange("j-0", 3, won=(("main", 0),)),)))
    view.upsert_job(replace(view.jobs["j-0"], won=frozenset(), attempts={}, generation=2))
    assert ("main", 0) in view.jobs["j-0"].won
    view.upsert_job(a_job("j-0", version=2, generation=3))
    assert not view.jobs["j-0"].won


def test_a_job_read_before_our_last_commit_does_not_take_its_state_back() -> None:
    view = ClusterView.load([], [], [])
    view.upsert_job(a_job())
    view.apply(Changes(jobs=(JobChange("j-1", 2, state=JobState.RUNNING),)))
    view.upsert_job(a_job())
    assert view.jobs["j-1"].state is JobState.RUNNING
    view.upsert_job(a_job(state=JobState.STOPPED, generation=2))
    assert "j-1" not in view.jobs


def test_loading_a_row_leaves_the_callers_row_alone() -> None:
    job = a_job(state=JobState.RUNNING)
    view = ClusterView.load([a_node()], [job], [])
    view.apply(Changes(executions_new=(an_execution(job=job),)))
    assert view.jobs["j-1"].attempts == {("main", 0): 1}
    assert job.attempts == {}


def test_a_backoff_ends_with_its_evaluation() -> None:
    view = full()
    view.apply(Changes(evaluations_new=(EvaluationNew("v-1", "j-0", "default", "exec-retry", 1.0, unit=("main", 0)),)))
    assert view.backoff("j-0") == {("main", 0): "v-1"}
    view.apply(Changes(evaluations_done=("v-1",)))
    assert not view.backoff("j-0")


@pytest.mark.row("4.1/restart")
def test_waiting_is_rebuilt_from_the_record_at_takeover() -> None:
    missing = a_job("j-half", count=2, requirement=CORE, state=JobState.RUNNING)
    row = an_execution("e-9", job=missing, state=S.RUNNING)
    view = ClusterView.load([a_node()], [missing, queued("j-1"), a_job("j-new")], [row])
    assert sorted(view.waiting) == ["j-1", "j-half"]
    assert view.waiting.units("j-half") == 1


def test_room_that_a_job_was_woken_for_and_did_not_take_goes_to_the_next() -> None:
    view = full(queued("j-first", age=9), queued("j-next"))
    assert view.apply(ended(view, "e-0")) == ["j-first"]
    assert view.apply(Changes(jobs=(JobChange("j-first", 3, state=JobState.FAILED),))) == ["j-next"]
    view.upsert_job(replace(view.jobs["j-next"], state=JobState.STOPPED, generation=2))
    assert not view.waiting


def test_a_job_that_a_late_hint_brings_back_is_let_go_when_its_row_says_that_it_ended() -> None:
    view = ClusterView()
    view.upsert_job(a_job(state=JobState.PENDING))
    view.heed(locked(a_job(state=JobState.COMPLETED)))
    assert view.jobs == {}


def test_a_job_that_moved_on_is_not_taken_back_by_an_older_row() -> None:
    view = ClusterView()
    view.upsert_job(a_job(state=JobState.PENDING, generation=2))
    view.heed(locked(a_job(state=JobState.STOPPED, generation=1)))
    assert view.jobs["j-1"].state is JobState.PENDING
