"""Which commits may be decided on a belief: small ones, of which nothing is spent or told by being decided twice."""

from typing import Any

import pytest

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import NodeChanged, ResultRef
from skrei_domain.sync.received import ReadBatch, Unreadable
from skrei_scheduler.audit_budget import AT_ONCE
from skrei_scheduler.core import Core
from skrei_scheduler.work import FORESEEN_ROWS, Commit
from skrei_scheduling.view import ClusterView
from tests.support.builders import (
    NOW,
    a_digest,
    a_fact,
    a_hello,
    a_job,
    a_node,
    a_requirement,
    an_evaluation,
    an_execution,
    counting_ids,
    locked,
)
from tests.unit.scheduler.test_core import run

NODE = a_node("n-1", cpu="64")


def a_core(units: int) -> Core:
    """A leader of one node that runs so many units of one job."""
    job = a_job(count=units, state=JobState.RUNNING)
    rows = [an_execution(f"e-{number}", job=job, partition=number) for number in range(units)]
    core = Core(ClusterView.load([NODE], [job], rows), timeline=1, epoch=1, now=0.0, ids=counting_ids())
    core.on_hello(a_hello(NODE, boot_id=NODE.boot_id), "inbox")
    run(core, 0.0)
    return core


def told(core: Core, *facts: Any, first: int = 1) -> Commit:
    """The commit of what the node says."""
    boot = NODE.boot_id
    core.on_facts(ReadBatch(node_id="n-1", boot_id=boot, incarnation=1, first=first, facts=facts, writer=boot), None)
    work = core.next_work(0.0, NOW)
    assert isinstance(work, Commit)
    return work


def planned(units: int) -> Commit:
    core = Core(ClusterView.load([NODE], [], []), timeline=1, epoch=1, now=0.0, ids=counting_ids())
    job = a_job(count=units, requirement=a_requirement(cpu="1m", memory="1Mb"))
    core.on_evaluations([an_evaluation(job)])
    work = core.next_work(0.0, NOW)
    assert isinstance(work, Commit)
    assert work.name == "plan"
    return work


@pytest.mark.parametrize(("units", "foreseen"), [(1, True), (FORESEEN_ROWS, True), (FORESEEN_ROWS + 1, False)])
def test_what_is_large_is_not_decided_twice(units: int, foreseen: bool) -> None:
    assert planned(units).foreseen is foreseen
    facts = [a_fact(f"e-{number}", ExecutionState.RUNNING) for number in range(units)]
    assert told(a_core(units), *facts).foreseen is foreseen


def test_what_goes_to_the_audit_is_not_decided_twice() -> None:
    uploaded = ResultRef(digest=a_digest("r"), size=7, receipt="nobody signed this")
    assert not told(a_core(1), a_fact("e-0").model_copy(update={"result": uploaded})).foreseen
    assert not told(a_core(1), Unreadable(ended="e-0", raw="{")).foreseen


def test_a_budget_is_spent_once_by_what_is_decided_twice() -> None:
    many = 60
    core = a_core(2 * many)
    work = told(core, *(a_fact(f"e-{number}", revision=2**63) for number in range(many)))
    rows = locked(*(job for job in core.view.jobs.values() if job.id in work.lock))
    assert work.foreseen
    kept = [len(work.decide(rows).audit) for _ in range(3)]
    assert kept == [many] * 3
    work.after(work.decide(rows), 0.0)
    others = (a_fact(f"e-{number}", revision=2**63) for number in range(many, 2 * many))
    again = told(core, *others, first=many + 1)
    assert len(again.decide(rows).audit) == AT_ONCE - many, "and it is spent"


def test_when_a_node_lost_what_it_had_is_the_records_own_time() -> None:
    assert not told(a_core(1), NodeChanged(info=NODE.info)).foreseen
