"""Why jobs wait, by the reasons that whoever scales can act on."""

import pytest

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_scheduling import demand
from skrei_scheduling.demand import AWAY, FULL, MISSING, NO_NODE, OTHER, SOON, why
from skrei_scheduling.rows import JobRow, NodeRow, Requirement
from skrei_scheduling.view import ClusterView
from tests.support.builders import a_job, a_node, a_requirement, an_execution


def queued(id: str, requirement: Requirement) -> JobRow:
    return a_job(id, requirement=requirement, state=JobState.QUEUED)


def told(view: ClusterView) -> dict[str, int]:
    return {reason: count for reason, count in why(view).items() if count}


def nodes() -> list[NodeRow]:
    return [
        a_node("n-1", cpu="2"),
        a_node("n-2", cpu="8", labels={"disk": "nvme"}, connected=False),
    ]


def test_each_class_waits_for_one_reason() -> None:
    running = a_job("j-0", requirement=a_requirement(cpu="2"), state=JobState.RUNNING)
    view = ClusterView.load(
        nodes(),
        [
            running,
            queued("j-1", a_requirement(engine="docker")),
            queued("j-2", a_requirement(cpu="4", constraints="disk=nvme")),
            queued("j-3", a_requirement(cpu="1")),
            queued("j-4", a_requirement(cpu="1")),
            queued("j-5", a_requirement(cpu="0", uses=["mongo"])),
            queued("j-6", a_requirement(cpu="0")),
        ],
        [an_execution(job=running, state=ExecutionState.RUNNING)],
    )
    assert told(view) == {NO_NODE: 1, AWAY: 1, FULL: 2, MISSING: 1, SOON: 1}


def test_of_many_classes_the_first_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand, "CLASSES", 2)
    jobs = [queued(f"j-{number}", a_requirement(cpu=f"{number + 3}")) for number in range(5)]
    found = why(ClusterView.load(nodes(), jobs, []))
    assert found[OTHER] == 3
    assert sum(found.values()) == 5
