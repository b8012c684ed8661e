"""Jobs that use services of others: they wait for what is not ready, and are told where the rest is reached."""

from dataclasses import replace
from typing import Any, ClassVar

from skrei_domain.job import JobSpec
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import PortObserved
from skrei_domain.spec import TaskSpec
from skrei_scheduling.changes import Changes, ExecutionChange
from skrei_scheduling.compile import requirement
from skrei_scheduling.plan import Plan
from skrei_scheduling.rows import ExecutionRow, JobRow
from skrei_scheduling.settle import settle
from skrei_scheduling.view import ClusterView
from tests.support.builders import (
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
USES_WEB = a_requirement(uses=["web"])
FAR, NEAR = "10.0.0.1", "127.0.0.1"


def message(plan: Plan, job: JobRow) -> str:
    return plan.decide(locked(job, evaluations=plan.evaluations)).jobs[0].message or ""


def ports(host: str, *, port: int = 8000) -> tuple[PortObserved, ...]:
    return (PortObserved(name="http", host=host, port=port, target=80),)


def served(*waiting: JobRow, host: str = FAR, type: str = "service", **more: object) -> ClusterView:
    """Two nodes; on the first a service runs whose port is open at `host`."""
    web = replace(a_job("j-web", state=JobState.RUNNING, type=type), name="web")
    row = replace(an_execution("e-web", job=web, state=S.RUNNING), ports=ports(host), **more)  # type: ignore[arg-type]
    return ClusterView.load([a_node("n-1"), a_node("n-2")], [web, *waiting], [row])


def moved(view: ClusterView, **changes: object) -> list[str]:
    row: ExecutionRow = replace(view.executions["e-web"], **changes)  # type: ignore[arg-type]
    return view.apply(Changes(executions=(ExecutionChange(row),)))


def queued(id: str, **more: object) -> JobRow:
    more.setdefault("requirement", USES_WEB)
    return a_job(id, state=JobState.QUEUED, **more)  # type: ignore[arg-type]


def test_services_are_those_of_the_jobs_own_namespace() -> None:
    task = TaskSpec(name="main", uses=("web", "db"))
    assert requirement(JobSpec(namespace="shop", tasks=(task,)), task).uses == (("shop", "web"), ("shop", "db"))


def test_a_job_waits_for_a_service_that_nobody_runs_and_is_told_which() -> None:
    view, job = ClusterView.load([a_node()], [], []), a_job("j-1", requirement=USES_WEB)
    plan = plan_for(view, job)
    assert plan.placements == ()
    assert message(plan, job) == (
        "waiting for what it uses: service web: no job of type service or daemon with that name has a port "
        "that is ready in namespace default, and no node has the service"
    )


def test_what_no_node_can_run_is_refused_though_its_service_is_away() -> None:
    view, job = ClusterView.load([a_node()], [], []), a_job("j-1", requirement=a_requirement("gone", uses=["web"]))
    plan = plan_for(view, job)
    assert plan.decide(locked(job, evaluations=plan.evaluations)).jobs[0].state is JobState.FAILED


def test_a_service_that_is_not_ready_is_waited_for() -> None:
    job = a_job("j-1", requirement=USES_WEB)
    assert nodes_of(plan_for(served(), job)) != []
    assert nodes_of(plan_for(served(ready=False), job)) == []
    assert nodes_of(plan_for(served(revoked=True), job)) == []
    assert nodes_of(plan_for(served(state=S.UNKNOWN), job)) == []
    assert nodes_of(plan_for(served(type="daemon"), job)) != []
    assert nodes_of(plan_for(served(type="batch"), job)) == []


def test_a_port_on_loopback_is_reached_on_its_own_node_alone() -> None:
    view, job = served(host=NEAR), a_job("j-1", count=2, requirement=USES_WEB)
    assert set(nodes_of(plan_for(view, job))) == {"n-1"}
    assert view.matrix.told([("default", "web")], "n-1", turn=0) == {
        "SKREI_SERVICE_WEB": "127.0.0.1:8000",
        "SKREI_SERVICE_WEB_HTTP": "127.0.0.1:8000",
    }
    assert view.matrix.told([("default", "web")], "n-2", turn=0) is None
    assert view.matrix.told([("other", "web")], "n-1", turn=0) is None


def test_who_could_only_run_elsewhere_is_told_how_loopback_is_opened() -> None:
    job = a_job("j-1", requirement=a_requirement(uses=["web"], constraints="zone=b"))
    web = replace(a_job("j-web", state=JobState.RUNNING, type="service"), name="web")
    row = replace(an_execution("e-web", job=web, state=S.RUNNING), ports=ports(NEAR))
    view = ClusterView.load([a_node("n-1"), a_node("n-2", labels={"zone": "b"})], [web], [row])
    plan = plan_for(view, job)
    assert (
        "Node n-2: does not reach service web, whose ports are open on other nodes' loopback alone; "
        "SKREI_PORT_ADDRESS on those nodes opens them to others"
    ) in message(plan, job)


def test_a_service_that_becomes_ready_wakes_who_waits_for_it_and_no_more_than_fit() -> None:
    big = a_requirement(cpu="2", uses=["web"])
    view = served(
        *(queued(f"j-{n}", requirement=big) for n in range(4)),
        queued("j-other", requirement=a_requirement(uses=["db"])),
        ready=False,
    )
    assert view.sweep() == []
    view.apply(Changes())
    assert len(moved(view, ready=True)) == 1  # the other node's room: the first has 100m taken
    assert moved(view, ready=True) == []


def test_a_service_that_nobody_waits_for_becomes_ready_without_a_look_at_the_nodes() -> None:
    class Nodes(dict[str, int]):
        """The rows of nodes, and which of them are asked for."""

        asked: ClassVar[list[str]] = []

        def get(self, node_id: str, default: object = None) -> Any:
            self.asked.append(node_id)
            return super().get(node_id, default)

    for waiting in ((), (queued("j-other", requirement=a_requirement(uses=["db"])),)):
        view = served(*waiting, ready=False)
        view.matrix.row_of = Nodes(view.matrix.row_of)
        assert moved(view, ready=True) == []
        assert set(Nodes.asked) <= {"n-1"}, "its own alone"


def test_room_wakes_nobody_whose_service_is_away() -> None:
    view = served(queued("j-1"), ready=False)
    view.apply(Changes(nodes=(a_node("n-3"),)))
    assert view.apply(Changes(nodes=(a_node("n-4"),))) == []


def test_facts_make_a_service_ready_and_end_it() -> None:
    web = replace(a_job("j-web", state=JobState.RUNNING, type="service"), name="web")
    view = ClusterView.load([a_node()], [web, queued("j-1")], [an_execution("e-web", job=web, state=S.OFFERED)])
    fact = a_fact("e-web", S.RUNNING)

    def told(**more: object) -> list[str]:
        return view.apply(settle(view, [("n-1", fact.model_copy(update=more))], locked(web), counting_ids()))

    assert told(ports=ports(FAR), ready=False) == []
    assert told(ready=True) == ["j-1"]
    assert view.matrix.told([("default", "web")], "n-1", turn=0) is not None
    assert told(ready=False) == []
    assert view.matrix.told([("default", "web")], "n-1", turn=0) is None
    assert told(ready=True) == ["j-1"]
    view.apply(settle(view, [("n-1", a_fact("e-web", S.FAILED))], locked(web), counting_ids()))
    assert not view.matrix.services.any(("default", "web"))
