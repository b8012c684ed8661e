"""Services that nodes' owners offer: work goes where they are, waits for them, and is told who has which."""

from dataclasses import replace

from skrei_domain.lifecycle import JobState
from skrei_domain.node import SERVICE, Absent
from skrei_scheduling.changes import Changes
from skrei_scheduling.plan import Plan
from skrei_scheduling.rows import JobRow, NodeRow
from skrei_scheduling.view import ClusterView
from tests.support.builders import a_job, a_node, a_requirement, locked
from tests.support.planning import nodes_of, plan_for

USES = a_requirement(uses=["mongodb"])
KEY = ("default", "mongodb")


def message(plan: Plan, job: JobRow) -> str:
    return plan.decide(locked(job, evaluations=plan.evaluations)).jobs[0].message or ""


def a_view(*nodes: NodeRow, jobs: tuple[JobRow, ...] = ()) -> ClusterView:
    return ClusterView.load(nodes, jobs, [])


def test_work_goes_where_the_service_is_and_the_node_tells_where() -> None:
    view = a_view(a_node("n-1"), a_node("n-2", services=["mongodb"]), a_node("n-3", services=["duckdb"]))
    assert set(nodes_of(plan_for(view, a_job("j-1", count=3, requirement=USES)))) == {"n-2"}
    assert view.matrix.told([KEY], "n-2", turn=0) == {}
    assert view.matrix.of_node([KEY], "n-2") == ("mongodb",)
    assert view.matrix.told([KEY], "n-1", turn=0) is None


def test_a_service_that_nobody_has_is_waited_for_and_what_there_is_is_told() -> None:
    view, job = a_view(a_node("n-1", services=["mongo-db", "duckdb"]), a_node("n-2")), a_job("j-1", requirement=USES)
    plan = plan_for(view, job)
    assert plan.placements == ()
    assert message(plan, job) == (
        "waiting for what it uses: service mongodb: no job of type service or daemon with that name has a port that is "
        "ready in namespace default, and no node has the service (nodes have duckdb (n-1), mongo-db (n-1); did you "
        "mean mongo-db?)"
    )


def test_nodes_without_it_and_those_whose_own_is_away_say_so() -> None:
    away = a_node("n-2")
    absent = (Absent(kind=SERVICE, name="mongodb", reason="nothing answers at its address"),)
    away = replace(away, info=away.info.model_copy(update={"absent": absent}))
    full = a_node("n-3", cpu="0", services=["mongodb"])
    view, job = a_view(a_node("n-1", services=["duckdb"]), away, full), a_job("j-1", requirement=USES)
    told = message(plan_for(view, job), job)
    assert "Node n-1: does not have service mongodb, only duckdb" in told
    assert "Node n-2: does not have service mongodb now: nothing answers at its address" in told


def test_a_node_that_gets_the_service_wakes_who_waits_for_it() -> None:
    waiting = a_job("j-1", state=JobState.QUEUED, requirement=USES)
    view = a_view(a_node("n-1"), jobs=(waiting,))
    plan_for(view, waiting)
    view.sweep()
    view.apply(Changes())
    assert view.apply(Changes(nodes=(a_node("n-1", services=["duckdb"]),))) == []
    assert view.apply(Changes(nodes=(a_node("n-1", services=["mongodb"]),))) == ["j-1"]


def test_a_job_for_every_node_is_for_every_node_that_has_the_service() -> None:
    view = a_view(a_node("n-1"), a_node("n-2", services=["mongodb"]), a_node("n-3", services=["mongodb"]))
    for type in ("ops", "daemon"):
        assert set(nodes_of(plan_for(view, a_job(f"j-{type}", type=type, requirement=USES)))) == {"n-2", "n-3"}


def test_a_job_for_every_node_waits_until_some_node_has_it() -> None:
    view = a_view(a_node("n-1"), a_node("n-2"))
    job = a_job("j-1", type="ops", requirement=USES)
    plan = plan_for(view, job)
    assert nodes_of(plan) == []
    assert message(plan, job).startswith("waiting for what it uses: service mongodb")
    view.upsert_job(job)
    assert "j-1" in view.apply(Changes(nodes=(a_node("n-2", services=["mongodb"]),)))
    assert nodes_of(plan_for(view, job)) == ["n-2"]


def test_a_node_that_is_forgotten_offers_nothing() -> None:
    view = a_view(a_node("n-1", services=["mongodb"]))
    view.apply(Changes(nodes_gone=("n-1",)))
    assert view.matrix.told([KEY], "n-1", turn=0) is None
