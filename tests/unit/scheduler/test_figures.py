"""The leader's figures: what commits wrote is counted once, and a standby says nothing of the cluster."""

from datetime import timedelta

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import DataRead, ResultRef
from skrei_kit.metrics import Figures
from skrei_scheduler.core import Core
from skrei_scheduler.figures import SchedulerFigures, Term
from skrei_scheduling.changes import Changes, ExecutionChange, JobChange, Observed, Place, ResultNew
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_job, a_node, a_requirement, an_execution, counting_ids


def told(figures: Figures) -> dict[str, str]:
    found = (line.rsplit(" ", 1) for line in figures.text().splitlines() if not line.startswith("#"))
    return {name: value for name, value in found}  # noqa: C416 - a list is no pair to the types


def a_view() -> ClusterView:
    job = a_job(count=3, state=JobState.RUNNING, created_at=NOW - timedelta(seconds=10))
    waits = a_job(
        "j-2", count=2, requirement=a_requirement(cpu="4", gpu=1, constraints="zone=a"), state=JobState.QUEUED
    )
    rows = [an_execution(f"e-{number}", job=job, partition=number, state=ExecutionState.RUNNING) for number in range(2)]
    return ClusterView.load([a_node(cpu="2"), a_node("n-2", connected=False)], [job, waits], rows)


def test_placements_and_ends_are_counted_with_what_was_read_and_left() -> None:
    figures, view = Figures(), a_view()
    counted = SchedulerFigures(figures)
    job, row = view.jobs["j-1"], view.executions["e-0"]
    ended = row.evolve(state=ExecutionState.COMPLETED)
    read = Observed(data=DataRead(local=100, moved=7, cached=40, hits=2))
    result = ResultNew("e-0", "j-1", 1, "main", 0, True, ResultRef(digest="sha256:" + "0" * 64, size=50))
    changes = Changes(
        executions_new=(an_execution("e-9", job=job, partition=2), an_execution("e-8", job=job, attempt=2)),
        executions=(ExecutionChange(ended, read), ExecutionChange(view.executions["e-1"].evolve(starts=2))),
        results=(result, ResultNew("e-1", "j-1", 1, "main", 1, False, result.result, Place("store", "x"))),
        jobs=(JobChange("j-1", 5, JobState.COMPLETED), JobChange("j-unknown", 1, JobState.FAILED)),
    )
    counted.committed(changes, view, 0.003, NOW)
    counted.committed(Changes(executions=(ExecutionChange(ended, read),)), _with(view, ended), 0.003, NOW)  # once more
    found = told(figures)
    assert found["skrei_placements_total"] == "2"
    assert found["skrei_retries_total"] == "1"
    assert found["skrei_placement_wait_seconds_sum"] == "10"
    assert found['skrei_executions_ended_total{state="completed"}'] == "1"
    assert found['skrei_jobs_ended_total{state="Completed"}'] == "1"
    assert [found[f'skrei_input_bytes_total{{where="{where}"}}'] for where in ("local", "cached", "moved")] == [
        "60",
        "40",
        "7",
    ]
    assert found["skrei_cache_hits_total"] == "2"
    assert found['skrei_result_bytes_total{way="inline"}'] == "50"
    assert found['skrei_result_bytes_total{way="uploaded"}'] == "50"
    assert found["skrei_commit_seconds_count"] == "2"


def _with(view: ClusterView, row) -> ClusterView:  # type: ignore[no-untyped-def]
    view.executions[row.id] = row
    return view


async def test_a_leader_tells_of_the_cluster_and_a_standby_does_not() -> None:
    figures = Figures()
    counted = SchedulerFigures(figures)
    assert told(figures)["skrei_leader"] == "0"
    assert not any(name.startswith("skrei_cluster_nodes") for name in told(figures))
    core = Core(a_view(), timeline=1, epoch=7, now=0.0, ids=counting_ids())
    term = Term(core, lambda: 11)
    await term.count()
    counted.lead(term)
    found = told(figures)
    assert (found["skrei_leader"], found["skrei_leader_epoch"], found["skrei_takeovers_total"]) == ("1", "7", "1")
    assert found["skrei_facts_lag_messages"] == "11"
    assert found["skrei_evaluations_pending"] == "2"  # a new leader looks at every job
    labels = '{engine="wasm",constraints="zone=a"}'
    assert found[f"skrei_waiting_cpu_cores{labels}"] == "8"
    assert found[f"skrei_waiting_memory_bytes{labels}"] == "128000000"
    assert found[f"skrei_waiting_gpus{labels}"] == "2"
    assert found['skrei_jobs_waiting{reason="no-node"}'] == "1"
    assert found['skrei_jobs{state="Running"}'] == "1"
    assert found['skrei_executions{state="running"}'] == "2"
    assert found['skrei_cluster_nodes{membership="approved",connection="connected"}'] == "1"
    assert found["skrei_capacity_cpu_cores"] == "2"
    counted.rest()
    assert told(figures)["skrei_leader"] == "0"
    assert "skrei_capacity_cpu_cores" not in told(figures)


async def test_nothing_that_waits_is_told_as_nothing() -> None:
    figures = Figures()
    core = Core(ClusterView(), timeline=1, epoch=1, now=0.0, ids=counting_ids())
    SchedulerFigures(figures).lead(Term(core, lambda: 0))
    assert told(figures)['skrei_waiting_cpu_cores{engine="",constraints=""}'] == "0"
