"""Ports that jobs ask for by number: one execution of a node has each, the others wait and are told for whom."""

from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.job import JobSpec
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import PortObserved
from skrei_domain.spec import NetworkConfig, Port, TaskSpec
from skrei_scheduling.changes import Changes, ExecutionChange
from skrei_scheduling.compile import requirement
from skrei_scheduling.held import HOLD_AFTER
from skrei_scheduling.rows import ExecutionRow, JobRow, wanted_ports
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
from tests.support.planning import nodes_of, plan_for

S = ExecutionState
WEB = a_requirement(ports=[8080])
OTHER_WEB = a_requirement(cpu="200m", ports=[8080])


def queued(id: str, **more: object) -> JobRow:
    more.setdefault("requirement", WEB)
    return a_job(id, state=JobState.QUEUED, **more)  # type: ignore[arg-type]


def served(*waiting: JobRow, nodes: int = 1) -> ClusterView:
    """Nodes of which the first has given port 8080 to a job that runs, and jobs that wait."""
    job = a_job("j-web", requirement=WEB, state=JobState.RUNNING, type="service")
    row = replace(an_execution("e-web", job=job, state=S.RUNNING), ports=wanted_ports((8080,)))
    return ClusterView.load([a_node(f"n-{each + 1}") for each in range(nodes)], [job, *waiting], [row])


def moved(view: ClusterView, **changes: object) -> list[str]:
    row: ExecutionRow = replace(view.executions["e-web"], **changes)  # type: ignore[arg-type]
    return view.apply(Changes(executions=(ExecutionChange(row),)))


def test_a_task_asks_for_the_ports_that_it_names_by_number() -> None:
    ports = (Port(name="b", static=9090), Port(name="any"), Port(name="a", static=8080, target=80))
    task = TaskSpec(name="main", network=NetworkConfig(type="Bridge", ports=ports))
    assert requirement(JobSpec(tasks=(task,)), task).ports == (8080, 9090)


@pytest.mark.row("2.4/static-taken")
def test_a_job_whose_port_is_taken_waits_and_is_told_who_has_it() -> None:
    view, job = served(), a_job("j-2", requirement=WEB)
    plan = plan_for(view, job)
    assert plan.placements == ()
    change = plan.decide(locked(job, evaluations=plan.evaluations)).jobs[0]
    assert change.state is JobState.QUEUED
    assert "• Node n-1: port 8080 is in use on it by job j-web" in (change.message or "")


def test_a_node_on_which_the_port_is_free_takes_it() -> None:
    assert nodes_of(plan_for(served(nodes=2), a_job("j-2", requirement=WEB))) == ["n-2"]


def test_work_without_a_port_of_its_own_goes_beside_it() -> None:
    assert nodes_of(plan_for(served(), a_job("j-2"))) == ["n-1"]
    assert nodes_of(plan_for(served(), a_job("j-2", requirement=a_requirement(ports=[9090])))) == ["n-1"]


def test_units_of_one_plan_have_a_node_each() -> None:
    view = ClusterView.load([a_node("n-1"), a_node("n-2")], [], [])
    plan = plan_for(view, a_job("j-1", count=3, requirement=WEB), a_job("j-2", requirement=OTHER_WEB))
    assert nodes_of(plan) == ["n-1", "n-2"]
    assert {port.port for row in plan.placements for port in row.ports} == {8080}


@pytest.mark.row("2.4/static-taken")
def test_a_freed_port_wakes_one_job_though_there_is_room_for_all() -> None:
    view = served(queued("j-young"), queued("j-other", requirement=OTHER_WEB), queued("j-old", priority=1))
    assert view.sweep() == []
    assert moved(view, state=S.STOPPED, holds=False) == ["j-old"]
    assert view.sweep() != []


def test_freed_room_wakes_nobody_whose_port_is_taken() -> None:
    view = served(queued("j-2"), queued("j-plain", requirement=a_requirement(cpu="500m")))
    job = view.jobs["j-plain"]
    row = an_execution("e-other", job=job, state=S.RUNNING)
    view.apply(Changes(executions_new=(row,)))
    ended = replace(row, state=S.COMPLETED, holds=False)
    assert view.apply(Changes(executions=(ExecutionChange(ended),))) == ["j-plain"]


def test_a_port_counts_until_its_reservation_ends_whatever_the_state() -> None:
    view, job = served(), a_job("j-2", requirement=WEB)
    moved(view, state=S.LOST, revoked=True)
    assert nodes_of(plan_for(view, job)) == []
    moved(view, state=S.LOST, revoked=True, holds=False)
    assert nodes_of(plan_for(view, job)) == ["n-1"]


def test_a_port_that_a_node_chose_is_taken_from_when_it_tells() -> None:
    job = a_job("j-any", state=JobState.RUNNING)
    view = ClusterView.load([a_node()], [job], [an_execution("e-1", job=job, state=S.OFFERED)])
    fact = a_fact("e-1", S.RUNNING).model_copy(
        update={"ports": (PortObserved(name="web", host="127.0.0.1", port=20100, target=80),)}
    )
    view.apply(settle(view, [("n-1", fact)], locked(job), counting_ids()))
    assert nodes_of(plan_for(view, a_job("j-2", requirement=a_requirement(ports=[20100])))) == []
    assert nodes_of(plan_for(view, a_job("j-3", requirement=WEB))) == ["n-1"]
    view.apply(settle(view, [("n-1", a_fact("e-1", S.FAILED))], locked(job), counting_ids()))
    assert nodes_of(plan_for(view, a_job("j-2", requirement=a_requirement(ports=[20100])))) == ["n-1"]


def test_what_the_node_tells_stands_for_what_was_wanted() -> None:
    view = served()
    told = (PortObserved(name="web", host="127.0.0.1", port=8080, target=80),)
    moved(view, ports=told)
    moved(view, ports=told, ready=True)
    assert not view.matrix.ports.free(0, (8080,))
    moved(view, ports=told, state=S.STOPPED, holds=False)
    assert view.matrix.ports.free(0, (8080,))


def test_no_node_is_held_for_who_waits_for_a_port_alone() -> None:
    """What runs there has room to spare; to keep small jobs away would bring the port no nearer."""
    view = served(queued("j-2", created_at=NOW - HOLD_AFTER - timedelta(seconds=1)))
    assert nodes_of(plan_for(view, a_job("j-3"), now=NOW)) == ["n-1"]


def test_a_daemon_waits_for_its_port_on_each_node() -> None:
    view, job = served(nodes=2), a_job("j-2", type="daemon", requirement=WEB)
    plan = plan_for(view, job)
    assert nodes_of(plan) == ["n-2"]
