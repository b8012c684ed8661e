"""What `schedule` decides: where work goes, what waits and why, what fails, and when a decision still holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.lifecycle import ExecutionState, JobState, Membership, Want
from skrei_scheduling import texts
from skrei_scheduling.changes import Changes
from skrei_scheduling.membership import silence
from skrei_scheduling.plan import Plan
from skrei_scheduling.reconcile import STOPS_A_LOOK, UNITS_A_LOOK
from skrei_scheduling.retry import MAX_ATTEMPTS, backoff_seconds
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, NodeRow, Offline, OnReturn, Unit
from skrei_scheduling.schedule import schedule
from skrei_scheduling.settle import settle
from skrei_scheduling.view import ClusterView
from tests.support.builders import (
    NOW,
    a_fact,
    a_job,
    a_node,
    a_requirement,
    an_execution,
    counting_ids,
    locked,
)
from tests.support.planning import plan_for


def a_view(*nodes: NodeRow) -> ClusterView:
    return ClusterView.load(nodes, [], [])


def committed(plan: Plan, *jobs: JobRow) -> Changes:
    return plan.decide(locked(*jobs, evaluations=plan.evaluations))


def placed(view: ClusterView, job: JobRow) -> list[str]:
    return [row.node_id for row in plan_for(view, job).placements]


@contextmanager
def counted_reads() -> Iterator[list[int]]:
    """Count how often the unit of an execution is asked for: what a quadratic loop does most."""
    reads, unit = [0], ExecutionRow.unit

    def counted(row: ExecutionRow) -> Unit:
        reads[0] += 1
        return unit.fget(row)  # type: ignore[misc,no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExecutionRow, "unit", property(counted))
        yield reads


# ---------------------------------------------------------------- where work goes


@pytest.mark.row("2.8/batch-nodes")
def test_partitions_spread_over_the_nodes_before_any_node_takes_two() -> None:
    view = a_view(*(a_node(f"n-{index}") for index in range(4)))
    nodes = placed(view, a_job(count=8))
    assert sorted(nodes[:4]) == sorted(nodes[4:]) == ["n-0", "n-1", "n-2", "n-3"]


def test_work_that_asks_for_nothing_spreads_too() -> None:
    view = a_view(*(a_node(f"n-{index}") for index in range(4)))
    assert len(set(placed(view, a_job(count=4, requirement=a_requirement(cpu="0", memory="0"))))) == 4


def test_packing_fills_one_node_before_it_opens_the_next() -> None:
    view = a_view(a_node("n-1", cpu="1"), a_node("n-2", cpu="1"))
    job = a_job(count=3, requirement=a_requirement(cpu="500m"))
    nodes = [row.node_id for row in plan_for(view, job, pack=True).placements]
    assert nodes[0] == nodes[1] != nodes[2]


def test_the_emptier_node_is_preferred() -> None:
    busy = an_execution(job_id="j-0", node_id="n-1", reserved=a_requirement(cpu="1").resources)
    view = ClusterView.load([a_node("n-1"), a_node("n-2")], [a_job("j-0", state=JobState.RUNNING)], [busy])
    for seed in range(8):
        assert [row.node_id for row in plan_for(view, a_job(), seed=seed).placements] == ["n-2"]


def test_another_seed_breaks_ties_another_way() -> None:
    view = a_view(*(a_node(f"n-{index}") for index in range(8)))
    assert len({plan_for(view, a_job(), seed=seed).placements[0].node_id for seed in range(32)}) > 4


@pytest.mark.row("2.6/favour")
def test_a_wish_outweighs_fullness_and_forbids_nothing() -> None:
    busy = an_execution(job_id="j-0", node_id="n-1", reserved=a_requirement(cpu="1").resources)
    nodes = [a_node("n-1", labels={"disk": "ssd"}), a_node("n-2", labels={"disk": "hdd"})]
    view = ClusterView.load(nodes, [a_job("j-0", state=JobState.RUNNING)], [busy])
    wish = a_job(requirement=a_requirement(constraints="favour_disk=ssd"))
    assert placed(view, wish) == ["n-1"]
    assert placed(a_view(nodes[1]), wish) == ["n-2"]


@pytest.mark.row("2.1/priority", "4.1/order", "12/queue-in-memory")
def test_a_higher_priority_is_placed_first_whatever_the_order_of_the_evaluations() -> None:
    view = a_view(a_node(cpu="1"))
    low, high = (a_job(f"j-{p}", priority=p, requirement=a_requirement(cpu="1")) for p in (1, 2))
    plan = plan_for(view, low, high)
    assert [row.job_id for row in plan.placements] == ["j-2"]


@pytest.mark.row("2.8/batch-retries", "4.5/previous")
def test_a_node_where_a_unit_failed_is_taken_again_only_where_no_other_could_take_it() -> None:
    nodes = [a_node("n-1"), a_node("n-2", cpu="1")]
    job = a_job(state=JobState.RUNNING, attempts={("main", 0): 1}, refused_by={("main", 0): frozenset({"n-1"})})
    assert placed(a_view(*nodes), job) == ["n-2"]
    assert placed(a_view(nodes[0]), job) == ["n-1"]
    full = an_execution("e-9", job_id="j-9", node_id="n-2", reserved=a_requirement(cpu="1").resources)
    busy = ClusterView.load(nodes, [a_job("j-9", state=JobState.RUNNING)], [full])
    assert placed(busy, job) == []


# ---------------------------------------------------------------- what a commit writes


@pytest.mark.row("2.10/short", "3.1/running", "3.3/evaluations", "3.5/requested")
def test_a_job_runs_with_the_plan_that_places_its_first_execution() -> None:
    job = a_job(count=2)
    changes = committed(plan_for(a_view(a_node("n-1a2b3c4d-5e6f")), job), job)
    assert [(entry.seq, entry.topic, entry.message) for entry in changes.history] == [
        (1, "Scheduling", "Requested execution on n-1a2b3c4d"),
        (2, "Scheduling", "Requested execution on n-1a2b3c4d"),
        (3, "State Update", "Running"),
    ]
    assert [change.state for change in changes.jobs] == [JobState.RUNNING]
    assert changes.evaluations_done == ("v-j-1",)
    row = changes.executions_new[0]
    assert (row.state, row.want, row.revision, row.seen_revision, row.attempt, row.incarnation) == (
        ExecutionState.OFFERED,
        Want.RUN,
        1,
        0,
        1,
        1,
    )


@pytest.mark.row("4.1/redelivery")
def test_a_job_that_moved_on_since_the_plan_is_left_out_and_its_evaluation_stays() -> None:
    job, other = a_job("j-1"), a_job("j-2")
    plan = plan_for(a_view(a_node()), job, other)
    changes = committed(plan, replace(job, generation=2), other)
    assert {row.job_id for row in changes.executions_new} == {"j-2"}
    assert changes.evaluations_done == ("v-j-2",)


def test_an_evaluation_that_was_answered_by_another_places_nothing() -> None:
    job = a_job()
    plan = plan_for(a_view(a_node()), job)
    assert plan.decide(locked(job, evaluations=[])).empty


def test_a_job_that_is_not_locked_is_left_out() -> None:
    plan = plan_for(a_view(a_node()), a_job())
    assert plan.decide(locked(evaluations=plan.evaluations)).empty


# ---------------------------------------------------------------- what waits, and what fails at once


@pytest.mark.row("2.5/queue-timeout", "3.1/queued", "3.5/queueing")
def test_a_job_that_a_busy_node_could_run_waits_with_reasons_and_its_position() -> None:
    busy = an_execution(job_id="j-0", reserved=a_requirement(cpu="2").resources)
    view = ClusterView.load(
        [a_node("n-1a2b3c4d")], [a_job("j-0", state=JobState.RUNNING)], [replace(busy, node_id="n-1a2b3c4d")]
    )
    job = a_job(requirement=a_requirement(cpu="1"))
    changes = committed(plan_for(view, job), job)
    text = (
        "not enough nodes to run job. requested: 1, available: 1, suitable: 0."
        "\n• Node n-1a2b3c4d: node is busy: job requires more CPU (1) than is free (0)"
    )
    assert changes.jobs[0].state is JobState.QUEUED
    assert changes.jobs[0].message == text
    assert changes.jobs[0].details is not None
    assert changes.jobs[0].details["Position"] == "1"
    assert (changes.history[0].topic, changes.history[0].message) == ("Queueing", f"Job queued. {text}")
    view.apply(changes)
    assert "j-1" in view.waiting


def test_a_job_that_waits_and_is_looked_at_again_writes_no_history() -> None:
    view, job = a_view(a_node(connected=False)), a_job()
    view.apply(committed(plan_for(view, job), job))
    queued = view.jobs["j-1"]
    plan = schedule(view, [Evaluation("", "j-1", "room")], NOW, 0, counting_ids())
    assert plan.decide(locked(queued)).empty


@pytest.mark.row("2.5/queue-timeout")
def test_a_job_that_every_known_node_refuses_for_good_fails_at_once_with_the_reasons() -> None:
    view = a_view(a_node("n-1"), a_node("n-2"), a_node("n-3", cpu="8", engines=["docker"]))
    job = a_job(requirement=a_requirement("docker", cpu="16"))
    changes = committed(plan_for(view, job), job)
    assert changes.jobs[0].state is JobState.FAILED
    assert changes.jobs[0].message == (
        "not enough nodes to run job. requested: 1, available: 3, suitable: 0."
        "\n• 2 of 3 nodes: does not support docker, only noop, wasm"
        "\n• Node n-3: job requires more CPU (16) than the maximum available (8)"
    )
    assert changes.history[0].details["IsError"] == "true"
    assert changes.history[0].details["NewState"] == "Failed"


def test_labels_that_match_nothing_fail_at_once_naming_the_selector() -> None:
    job = a_job(requirement=a_requirement(constraints="region in (eu,us),!gpu"))
    changes = committed(plan_for(a_view(a_node(labels={"region": "ap"})), job), job)
    assert "labels do not match region in (eu,us), !gpu" in (changes.jobs[0].message or "")


@pytest.mark.row("2.8/queueing", "3.1/failed")
def test_a_hopeless_job_with_a_queue_timeout_waits_that_long() -> None:
    view = a_view(a_node())
    job = a_job(requirement=a_requirement("docker"), queue_timeout=timedelta(seconds=30))
    changes = committed(plan_for(view, job), job)
    assert changes.jobs[0].state is JobState.QUEUED
    timer = changes.evaluations_new[0]
    assert (timer.trigger, timer.delay_seconds) == ("queue-timeout", 30.0)
    view.apply(changes)
    later = schedule(view, [Evaluation("v-2", "j-1", "queue-timeout")], NOW + timedelta(seconds=30), 0, counting_ids())
    assert committed(later, view.jobs["j-1"]).jobs[0].state is JobState.FAILED


@pytest.mark.row("4.6/timeouts")
def test_a_queue_timer_that_fires_early_is_set_again() -> None:
    view, job = a_view(), a_job(queue_timeout=timedelta(seconds=30))
    view.apply(committed(plan_for(view, job), job))
    early = schedule(view, [Evaluation("v-2", "j-1", "queue-timeout")], NOW + timedelta(seconds=29), 0, counting_ids())
    changes = committed(early, view.jobs["j-1"])
    assert [(each.trigger, each.delay_seconds) for each in changes.evaluations_new] == [("queue-timeout", 1.0)]


def test_an_empty_cluster_refuses_nobody() -> None:
    job = a_job()
    changes = committed(plan_for(a_view(), job), job)
    assert changes.jobs[0].state is JobState.QUEUED
    assert changes.jobs[0].message == "not enough nodes to run job. requested: 1, available: 0, suitable: 0."


def test_a_node_that_is_away_or_pending_refuses_only_for_now() -> None:
    for node in (a_node("n-2", connected=False), a_node("n-2", membership=Membership.PENDING)):
        job = a_job(requirement=a_requirement("docker"))
        assert committed(plan_for(a_view(a_node("n-1"), node), job), job).jobs[0].state is JobState.QUEUED


def test_a_rejected_node_counts_for_nothing() -> None:
    job = a_job()
    rejected = a_node("n-2", membership=Membership.REJECTED)
    assert committed(plan_for(a_view(rejected), job), job).jobs[0].state is JobState.QUEUED
    job = a_job(requirement=a_requirement("docker"))
    assert committed(plan_for(a_view(a_node("n-1"), rejected), job), job).jobs[0].state is JobState.FAILED


@pytest.mark.row("3.5/queueing")
def test_what_fits_runs_and_the_rest_waits() -> None:
    view, job = a_view(a_node(cpu="2")), a_job(count=3, requirement=a_requirement(cpu="1"))
    changes = committed(plan_for(view, job), job)
    assert len(changes.executions_new) == 2
    assert changes.jobs[0].state is JobState.RUNNING
    assert changes.jobs[0].waiting == {a_requirement(cpu="1"): 1}
    assert changes.history[-1].message.startswith("1 of 3 executions queued. not enough nodes")
    view.apply(changes)
    woken = view.apply(
        settle(view, [("n-1", a_fact(changes.executions_new[0].id))], locked(view.jobs["j-1"]), counting_ids())
    )
    assert woken == ["j-1"]


def test_a_job_of_many_units_is_placed_look_by_look() -> None:
    view, job = a_view(a_node(cpu="64")), a_job(count=UNITS_A_LOOK + 5, requirement=a_requirement(cpu="0", memory="0"))
    changes = committed(plan_for(view, job), job)
    assert len(changes.executions_new) == UNITS_A_LOOK
    assert [(each.trigger, each.delay_seconds) for each in changes.evaluations_new] == [("job-continue", 0.0)]
    view.apply(changes)
    rest = schedule(view, [Evaluation("v-2", "j-1", "job-continue")], NOW, 0, counting_ids())
    assert {row.partition for row in rest.placements} == set(range(UNITS_A_LOOK, UNITS_A_LOOK + 5))


def test_a_job_whose_units_all_fell_silent_is_replaced_look_by_look_each_row_read_a_few_times() -> None:
    units = UNITS_A_LOOK + 5
    job = a_job(count=units, requirement=a_requirement(cpu="0", memory="0"), state=JobState.RUNNING)
    rows = [
        an_execution(f"e-{n}", job=job, partition=n, node_id="n-2", state=ExecutionState.UNKNOWN) for n in range(units)
    ]
    nodes = [a_node(cpu="64"), a_node("n-2", connected=False, silent_since=NOW - timedelta(hours=1))]
    view = ClusterView.load(nodes, [job], rows)
    with counted_reads() as reads:
        changes = committed(plan_for(view, job), job)
    assert reads[0] < 20 * units
    assert len(changes.executions_new) == UNITS_A_LOOK
    assert [each.trigger for each in changes.evaluations_new] == ["job-continue"]
    view.apply(changes)
    rest = schedule(view, [Evaluation("v-2", "j-1", "job-continue")], NOW, 0, counting_ids())
    assert {row.partition for row in rest.placements} == set(range(UNITS_A_LOOK, units))


def test_a_reason_line_speaks_for_many_nodes_and_names_one() -> None:
    view = a_view(*(a_node(f"n-{index:03d}") for index in range(200)), a_node("n-x", connected=False))
    text = plan_for(view, a_job(requirement=a_requirement("docker"))).explanation("j-1")
    assert text is not None
    assert text.text.endswith(
        "\n• 200 of 201 nodes: does not support docker, only noop, wasm\n• Node n-x: node is disconnected"
    )
    assert text.refused == {"engine": 200, "connection": 1}


# ---------------------------------------------------------------- ends, timeouts, retries


def many_running(job: JobRow, units: int, *, now: JobRow | None = None) -> ClusterView:
    """A view in which so many units of `job` run; with `now`, the job has since become that."""
    rows = [an_execution(f"e-{n}", job=job, partition=n, state=ExecutionState.RUNNING) for n in range(units)]
    return ClusterView.load([a_node(cpu="64")], [now or job], rows)


def look_on(view: ClusterView, changes: Changes, job_id: str = "j-1") -> Changes:
    """Apply a commit, and return what the evaluation that it left for the job leads to."""
    view.apply(changes)
    (evaluation,) = (each for each in changes.evaluations_new if each.job_id == job_id)
    assert (evaluation.trigger, evaluation.delay_seconds) == ("job-continue", 0.0)
    job = view.jobs[job_id]
    again = schedule(view, [Evaluation(evaluation.id, job_id, evaluation.trigger)], NOW, 0, counting_ids())
    return again.decide(locked(job, evaluations=again.evaluations))


def test_a_stopped_job_of_many_units_is_stopped_look_by_look() -> None:
    units = STOPS_A_LOOK * 2 + 1
    job = a_job(state=JobState.STOPPED, generation=2, count=units)
    view = many_running(job, units)
    first = committed(plan_for(view, job), job)
    second = look_on(view, first)
    third = look_on(view, second)
    assert [len(each.executions) for each in (first, second, third)] == [STOPS_A_LOOK, STOPS_A_LOOK, 1]
    assert len({change.row.id for each in (first, second, third) for change in each.executions}) == units
    assert not third.evaluations_new


@pytest.mark.row("4.2/failed-job")
def test_a_job_that_fails_is_failed_at_once_and_its_many_units_stopped_look_by_look() -> None:
    units = STOPS_A_LOOK + 1
    job = a_job(state=JobState.RUNNING, count=units, total_timeout=timedelta(hours=1))
    view = many_running(job, units)
    first = committed(plan_for(view, job, now=NOW + timedelta(hours=2)), job)
    assert (first.jobs[0].state, len(first.executions)) == (JobState.FAILED, STOPS_A_LOOK)
    second = look_on(view, first)
    assert [(change.row.revoked, change.row.reason) for change in second.executions] == [(True, texts.STOP_JOB_FAILED)]
    assert not second.evaluations_new


@pytest.mark.row("2.9/old-executions")
def test_an_updated_job_of_many_units_has_its_old_ones_stopped_look_by_look() -> None:
    units = STOPS_A_LOOK + 1
    job = a_job(version=2, requirement=a_requirement(cpu="0", memory="0"))
    view = many_running(replace(job, version=1), units, now=job)
    first = committed(plan_for(view, job), job)
    assert (len(first.executions), len(first.executions_new)) == (STOPS_A_LOOK, 1)
    second = look_on(view, first)
    assert ([change.row.reason for change in second.executions], second.executions_new) == (
        [texts.STOP_JOB_UPDATED],
        (),
    )


def test_the_jobs_of_one_plan_share_what_it_may_stop() -> None:
    jobs = [a_job(name, state=JobState.STOPPED, generation=2, count=STOPS_A_LOOK) for name in ("j-1", "j-2")]
    rows = [
        an_execution(f"{job.id}-e-{n}", job=job, partition=n, state=ExecutionState.RUNNING)
        for job in jobs
        for n in range(STOPS_A_LOOK)
    ]
    view = ClusterView.load([a_node(cpu="64")], jobs, rows)
    first = committed(plan_for(view, *jobs), *jobs)
    assert {change.row.job_id for change in first.executions} == {"j-1"}
    assert len(first.executions) == STOPS_A_LOOK
    second = look_on(view, first, "j-2")
    assert {change.row.job_id for change in second.executions} == {"j-2"}
    assert not second.evaluations_new


@pytest.mark.row("3.2/cancel", "4.2/stopped")
def test_a_stopped_job_revokes_what_lives() -> None:
    job = a_job(state=JobState.STOPPED, generation=2)
    rows = [
        an_execution("e-1", job=job, state=ExecutionState.RUNNING),
        an_execution("e-2", job=job, partition=1, revoked=True),
    ]
    view = ClusterView.load([a_node()], [job], rows)
    changes = committed(plan_for(view, job), job)
    assert [change.row.id for change in changes.executions] == ["e-1"]
    row = changes.executions[0].row
    assert (row.want, row.revision, row.revoked, row.live, row.holds) == (Want.STOP, 2, True, True, True)
    assert changes.history[0].message == "Execution stop requested because job has been stopped"
    assert changes.jobs[0].state is None


@pytest.mark.row("3.1/failed", "3.5/job-timeout", "12/timed-out-plan")
def test_a_job_over_its_total_timeout_fails_and_its_executions_stop() -> None:
    job = a_job(state=JobState.RUNNING, total_timeout=timedelta(seconds=90))
    view = ClusterView.load([a_node()], [job], [an_execution(job=job, state=ExecutionState.RUNNING)])
    plan = schedule(view, [Evaluation("v-1", "j-1", "job-timeout")], NOW + timedelta(seconds=90), 0, counting_ids())
    changes = committed(plan, job)
    assert changes.jobs[0].state is JobState.FAILED
    assert changes.jobs[0].message == "Job timed out. Job took longer than 1m30s"
    assert [entry.message for entry in changes.history] == [
        "Execution stopped due to job failure",
        "Job timed out. Job took longer than 1m30s",
    ]
    assert changes.history[-1].topic == "Job Timeout"
    assert changes.executions[0].row.revoked


@pytest.mark.row("4.2/timeouts", "4.6/timeouts")
def test_a_total_timeout_sets_its_timer_with_the_first_plan_alone() -> None:
    view, job = a_view(a_node()), a_job(total_timeout=timedelta(seconds=90))
    changes = committed(plan_for(view, job), job)
    assert [(each.trigger, each.delay_seconds) for each in changes.evaluations_new] == [("job-timeout", 90.0)]
    view.apply(changes)
    assert not committed(plan_for(view, view.jobs["j-1"]), view.jobs["j-1"]).evaluations_new


@pytest.mark.row("3.1/failed", "3.3/triggers")
def test_a_failure_by_its_own_doing_fails_the_job_with_its_cause() -> None:
    job = a_job(count=2, state=JobState.RUNNING)
    rows = [an_execution(f"e-{n}", job=job, partition=n, state=ExecutionState.RUNNING) for n in (0, 1)]
    view, ids = ClusterView.load([a_node()], [job], rows), counting_ids()
    changes = settle(view, [("n-1", a_fact("e-0", ExecutionState.FAILED, problem="trap"))], locked(job), ids)
    asked = changes.evaluations_new[0]
    assert (asked.trigger, asked.delay_seconds, asked.comment) == ("exec-failure", 0.0, "it was trap")
    view.apply(changes)
    plan = schedule(view, [Evaluation(asked.id, "j-1", asked.trigger, comment=asked.comment)], NOW, 0, ids)
    changes = committed(plan, view.jobs["j-1"])
    assert (changes.jobs[0].state, changes.jobs[0].message) == (JobState.FAILED, "it was trap")
    assert [change.row.id for change in changes.executions] == ["e-1"]


def test_a_refused_unit_is_placed_again_after_its_backoff_and_not_by_a_wake_up_before() -> None:
    view, ids, job = a_view(a_node("n-1")), counting_ids(), a_job()
    first = committed(plan_for(view, job), job)
    view.apply(first)
    row, now = first.executions_new[0], view.jobs["j-1"]
    refused = settle(view, [("n-1", a_fact(row.id, ExecutionState.REFUSED, problem="refused"))], locked(now), ids)
    view.apply(refused)
    asked = refused.evaluations_new[0]
    assert (asked.trigger, asked.delay_seconds) == ("exec-retry", 1.0)
    assert not schedule(view, [Evaluation("", "j-1", "room")], NOW, 0, ids).placements
    again = schedule(view, [Evaluation(asked.id, "j-1", asked.trigger)], NOW, 0, ids).placements
    assert [(each.attempt, each.node_id) for each in again] == [(2, "n-1")]


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("registry-not-found", ExecutionState.REFUSED),
        ("image-platform", ExecutionState.REFUSED),
        ("gpu-not-given", ExecutionState.FAILED),
        ("network-refused", ExecutionState.REFUSED),
        ("input-beyond-disk", ExecutionState.REFUSED),
        ("input-host-unknown", ExecutionState.REFUSED),
    ],
)
def test_what_a_node_would_refuse_again_is_given_up_after_a_few_attempts(code: str, state: ExecutionState) -> None:
    view, ids = a_view(*(a_node(f"n-{number}") for number in range(6))), counting_ids()
    asked = Evaluation("v-1", "j-1", "job-register", a_job())
    seconds, nodes = 0.0, set[str]()
    while True:
        plan = schedule(view, [asked], NOW, 0, ids)
        view.apply(changes := committed(plan, view.jobs["j-1"]))
        (row,) = changes.executions_new
        nodes.add(row.node_id)
        fact = a_fact(row.id, state, problem=code)
        changes = settle(view, [(row.node_id, fact)], locked(view.jobs["j-1"]), ids)
        view.apply(changes)
        (new,) = changes.evaluations_new
        asked = Evaluation(new.id, "j-1", new.trigger, comment=new.comment)
        if new.trigger == "exec-failure":
            break
        seconds += new.delay_seconds
    assert (len(nodes), seconds) == (4, 7.0), "on another node each time"
    (ended,) = committed(schedule(view, [asked], NOW, 0, ids), view.jobs["j-1"]).jobs
    assert (ended.state, ended.message) == (JobState.FAILED, f"it was {code}")


def test_backoff_doubles_to_a_minute() -> None:
    assert [backoff_seconds(attempt) for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.row("2.8/batch-retries", "3.1/failed", "3.5/job-failed")
def test_a_unit_that_was_tried_ten_times_fails_its_job_with_the_last_reason() -> None:
    job = a_job(state=JobState.RUNNING, attempts={("main", 0): MAX_ATTEMPTS})
    view = ClusterView.load([a_node()], [job], [])
    plan = schedule(view, [Evaluation("v-1", "j-1", "exec-retry", comment="no room for it")], NOW, 0, counting_ids())
    changes = committed(plan, job)
    assert changes.jobs[0].state is JobState.FAILED
    assert changes.jobs[0].message == "Job failed because it has been retried too many times: no room for it"


# ---------------------------------------------------------------- silence


def silent(on_return: OnReturn = OnReturn.KEEP_FIRST, *, replaces: bool = True) -> tuple[ClusterView, JobRow]:
    """A job whose execution runs on n-1, which fell silent at NOW; n-2 is there. The wait is 5 minutes."""
    job = a_job(
        state=JobState.RUNNING, offline=Offline(on_return=on_return, replace=replaces), attempts={("main", 0): 1}
    )
    row = an_execution(job=job, state=ExecutionState.RUNNING)
    view = ClusterView.load([a_node("n-1"), a_node("n-2")], [job], [row])
    view.apply(silence(view, ["n-1"], locked(job), counting_ids()))
    return view, job


def after(view: ClusterView, seconds: float) -> Plan:
    evaluations = [Evaluation("v-9", "j-1", "node-lost")]
    return schedule(view, evaluations, NOW + timedelta(seconds=seconds), 0, counting_ids())


def test_a_silent_node_asks_for_a_look_after_the_wait() -> None:
    job = a_job(state=JobState.RUNNING)
    view = ClusterView.load([a_node()], [job], [an_execution(job=job, state=ExecutionState.RUNNING)])
    changes = silence(view, ["n-1"], locked(job), counting_ids())
    assert changes.executions[0].row.state is ExecutionState.UNKNOWN
    assert changes.executions[0].row.observed is ExecutionState.RUNNING
    assert [(each.trigger, each.delay_seconds) for each in changes.evaluations_new] == [("node-lost", 300.0)]
    assert changes.nodes[0].disconnected_since == NOW


@pytest.mark.row("4.2/node-gone")
def test_nothing_is_replaced_before_the_wait_is_over() -> None:
    view, job = silent()
    plan = after(view, 299)
    assert not plan.placements
    asked = committed(plan, job).evaluations_new
    assert [(each.trigger, each.delay_seconds) for each in asked] == [("node-lost", 1.0)]


def test_after_the_wait_a_replacement_runs_and_the_original_stays_unknown() -> None:
    view, job = silent()
    changes = committed(after(view, 300), job)
    assert [(row.node_id, row.attempt) for row in changes.executions_new] == [("n-2", 2)]
    assert not changes.executions


def test_on_return_stop_revokes_the_original_when_its_replacement_is_placed() -> None:
    view, job = silent(OnReturn.STOP)
    changes = committed(after(view, 300), job)
    assert len(changes.executions_new) == 1
    row = changes.executions[0].row
    assert (row.state, row.revoked, row.want, row.holds) == (ExecutionState.LOST, True, Want.STOP, True)


def test_without_replacement_a_silent_unit_is_waited_for() -> None:
    view, _ = silent(replaces=False)
    assert not after(view, 10_000).placements
