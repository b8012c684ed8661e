"""A new version of a job: what ran of the old one is stopped and counts no more, and the new one begins afresh."""

from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.lifecycle import ExecutionState, JobState, Want
from skrei_scheduling import texts
from skrei_scheduling.changes import Changes
from skrei_scheduling.membership import revive
from skrei_scheduling.rows import Evaluation, JobRow, Offline, OnReturn
from skrei_scheduling.schedule import schedule
from skrei_scheduling.settle import settle
from skrei_scheduling.view import ClusterView
from skrei_scheduling.waiting import turn
from tests.support.builders import NOW, a_fact, a_job, a_node, a_requirement, an_execution, counting_ids, locked

LATER = NOW + timedelta(days=1)


def updated(job: JobRow, **more: object) -> JobRow:
    """The job as the record has it after an update, a day later."""
    return replace(
        job,
        version=job.version + 1,
        generation=job.generation + 1,
        state=JobState.PENDING,
        asked_at=LATER,
        won=frozenset(),
        attempts={},
        refused_by={},
        **more,  # type: ignore[arg-type]
    )


def planned(view: ClusterView, job: JobRow, *evaluations: Evaluation) -> Changes:
    asked = [Evaluation("v-1", job.id, "job-update", job), *evaluations]
    plan = schedule(view, asked, LATER, 0, counting_ids())
    return plan.decide(locked(job, evaluations=plan.evaluations, now=LATER))


@pytest.mark.row("2.9/old-executions")
def test_one_plan_revokes_the_old_version_and_places_the_new_one() -> None:
    old = a_job(count=2, state=JobState.RUNNING, won=[("main", 1)])
    view = ClusterView.load([a_node()], [old], [an_execution(job=old, state=ExecutionState.RUNNING)])
    new = updated(old)
    changes = planned(view, new)
    (stopped,) = changes.executions
    assert (stopped.row.want, stopped.row.revoked, stopped.row.holds) == (Want.STOP, True, True)
    assert [(row.job_version, row.unit, row.attempt) for row in changes.executions_new] == [
        (2, ("main", 0), 1),
        (2, ("main", 1), 1),
    ]
    assert [(entry.job_version, entry.message) for entry in changes.history] == [
        (1, texts.STOP_JOB_UPDATED),
        (2, "Requested execution on n-1"),
        (2, "Requested execution on n-1"),
        (2, "Running"),
    ]


def test_the_new_version_waits_for_the_room_that_the_old_one_still_has() -> None:
    need = a_requirement(cpu="2")
    old = a_job(state=JobState.RUNNING, requirement=need)
    view = ClusterView.load([a_node(cpu="2")], [old], [an_execution(job=old, state=ExecutionState.RUNNING)])
    new = updated(old)
    view.apply(planned(view, new))
    assert view.jobs["j-1"].state is JobState.QUEUED
    woken = view.apply(settle(view, [("n-1", a_fact("e-1", ExecutionState.STOPPED))], locked(new), counting_ids()))
    assert woken == ["j-1"]


def test_what_failed_or_wore_out_in_the_old_version_is_nothing_to_the_new_one() -> None:
    view = ClusterView.load([a_node()], [], [])
    new = updated(a_job(state=JobState.FAILED, attempts={("main", 0): 10}))
    failed = Evaluation("v-2", "j-1", texts.TRIGGER_FAILURE, comment="it trapped", version=1)
    changes = planned(view, new, failed)
    assert [row.attempt for row in changes.executions_new] == [1]
    assert changes.jobs[0].state is JobState.RUNNING
    again = planned(ClusterView.load([a_node()], [], []), new, replace(failed, version=2))
    assert again.jobs[0].state is JobState.FAILED


def test_an_evaluation_about_an_execution_names_its_version() -> None:
    job = a_job(version=3, state=JobState.RUNNING)
    view = ClusterView.load([a_node()], [job], [an_execution(job=job)])
    for problem in ("trap", "interrupted"):
        fact = a_fact(state=ExecutionState.FAILED, problem=problem)
        changes = settle(view, [("n-1", fact)], locked(job), counting_ids())
        assert [each.version for each in changes.evaluations_new] == [3]


def test_a_backoff_of_the_old_version_does_not_hold_up_the_new_one() -> None:
    old = a_job(state=JobState.RUNNING)
    view = ClusterView.load([a_node()], [old], [an_execution(job=old)])
    refused = a_fact(state=ExecutionState.REFUSED, problem="refused")
    view.apply(settle(view, [("n-1", refused)], locked(old), counting_ids()))
    assert view.backoff("j-1")
    assert len(planned(view, updated(old)).executions_new) == 1


def test_a_result_that_was_staged_for_the_old_version_does_not_keep_the_new_one_from_its_unit() -> None:
    old = a_job(state=JobState.RUNNING)
    new = replace(updated(old), state=JobState.RUNNING)
    staged = replace(an_execution("e-0", job=old, state=ExecutionState.PUBLISHING), staged=True, holds=False)
    view = ClusterView.load([a_node()], [new], [staged, an_execution("e-1", job=new)])
    changes = settle(view, [("n-1", a_fact("e-1"))], locked(new), counting_ids())
    assert changes.jobs[0].state is JobState.COMPLETED
    assert [change.row.id for change in changes.executions] == ["e-1"]


def test_an_original_of_the_old_version_that_returns_ends_nothing_of_the_new_one() -> None:
    old = a_job(state=JobState.RUNNING, offline=Offline(on_return=OnReturn.KEEP_ORIGINAL))
    new = replace(updated(old), state=JobState.RUNNING)
    original = an_execution("e-0", job=old, state=ExecutionState.UNKNOWN, observed=ExecutionState.RUNNING)
    replacement = an_execution("e-1", job=old, attempt=2, state=ExecutionState.RUNNING)
    current = an_execution("e-2", job=new, node_id="n-2", state=ExecutionState.RUNNING)
    view = ClusterView.load([a_node(), a_node("n-2")], [new], [original, replacement, current])
    listed = {"e-0": (ExecutionState.RUNNING, 1)}
    changes = revive(view, a_node(), listed, locked(new), counting_ids())
    assert "e-2" not in {change.row.id for change in changes.executions}


@pytest.mark.row("2.5/since-when", "12/timeouts-since")
def test_timeouts_and_the_place_in_line_count_from_when_the_version_was_asked_for() -> None:
    minute = timedelta(minutes=1)
    old = a_job(state=JobState.COMPLETED, total_timeout=minute, queue_timeout=minute)
    new = updated(old)
    assert turn(new) > turn(a_job("j-2", created_at=NOW + timedelta(hours=1)))
    changes = planned(ClusterView.load([a_node()], [], []), new)
    assert [(each.trigger, each.delay_seconds) for each in changes.evaluations_new] == [("job-timeout", 60.0)]
    assert changes.jobs[0].state is JobState.RUNNING
    busy = an_execution("e-9", job=a_job("j-9", requirement=a_requirement(cpu="2")))
    waits = planned(ClusterView.load([a_node()], [], [busy]), new)
    assert waits.jobs[0].state is JobState.QUEUED


def test_a_hint_of_an_older_version_changes_nothing_that_is_known() -> None:
    old = a_job()
    view = ClusterView.load([a_node()], [], [])
    new = updated(old)
    view.apply(planned(view, new))
    stale = schedule(view, [Evaluation("v-0", "j-1", "job-register", old)], LATER, 0, counting_ids())
    assert view.jobs["j-1"].version == 2
    assert not stale.placements
