"""A fact that cannot be settled stops nobody: it is kept aside, confirmed, and what it was about goes on."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import ExecutionObserved, FactBatch, Hello, HelloExecution, ResultRef, Step
from skrei_scheduler import quarantine
from skrei_scheduler.audit_budget import A_MINUTE, AT_ONCE, AuditBudget
from skrei_scheduler.core import Core
from skrei_scheduler.quarantine import settle_apart
from skrei_scheduler.reading import KEPT_CHARACTERS
from skrei_scheduler.work import Commit, Fetch, Outgoing, Report, SendConfirm
from skrei_scheduling import draft
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import AuditNew, Changes, Locked, Position
from skrei_scheduling.settle import settle
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_fact, a_job, a_node, an_execution, counting_ids, locked
from tests.support.ledger import Ledger

COMPLETED, RUNNING = ExecutionState.COMPLETED, ExecutionState.RUNNING
UNITS = 5


class Bench:
    """A leader of one node that runs the five units of one job."""

    def __init__(self) -> None:
        self.record = Ledger()
        node = a_node("n-1")
        job = a_job("j-1", count=UNITS, state=JobState.RUNNING)
        self.record.submit(job, "v-1")
        self.record.evaluations.clear()
        self.record.nodes["n-1"] = node
        for number in range(UNITS):
            row = an_execution(f"e-{number}", job=job, partition=number, seen_revision=1)
            self.record.executions[row.id] = row
        self.core = Core(self.record.view(), timeline=1, epoch=1, now=0.0, ids=counting_ids())
        self.audit: list[AuditNew] = []
        self.positions: list[Position | None] = []
        listed = tuple(
            HelloExecution(execution_id=f"e-{n}", revision=1, state=ExecutionState.OFFERED) for n in range(UNITS)
        )
        hello = Hello(
            node_id="n-1",
            boot_id=node.boot_id,
            timeline=1,
            epoch=1,
            incarnation=1,
            sequence=0,
            confirmed=0,
            executions=listed,
            info=node.info,
        )
        self.core.on_hello(hello, "inbox")
        self.work()

    def work(self) -> list[Outgoing]:
        """Do all that there is to do; return what is sent."""
        out: list[Outgoing] = []
        while (work := self.core.next_work(0.0, NOW)) is not None:
            if isinstance(work, Commit):
                changes = self.record.commit(work.lock, work.evaluations, work.decide)
                self.audit += changes.audit
                self.positions.append(changes.position)
                out += work.after(changes, 0.0)
            elif isinstance(work, Fetch):
                self.core.fetched(work.executions, {})
            else:
                out += work
        return out

    def tell(self, *facts: ExecutionObserved) -> list[Outgoing]:
        batch = FactBatch(node_id="n-1", boot_id="boot-n-1", incarnation=1, first=1, facts=facts, writer="boot-n-1")
        self.core.on_facts(batch, Position("stream", 9))
        return self.work()

    def states(self) -> list[str]:
        return [self.record.executions[f"e-{number}"].state.value for number in range(UNITS)]


EARLY = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
POISON = {
    "number": a_fact("e-2", revision=2**63),
    "exit-code": a_fact("e-2", exit_code=-(2**70)),
    "result": a_fact("e-2").model_copy(update={"result": ResultRef(digest="d", size=1, inline="a")}),
    "size": a_fact("e-2").model_copy(update={"result": ResultRef(digest="d", size=2**64, inline="")}),
    "time": a_fact("e-2").model_copy(update={"steps": (Step(state=RUNNING, at=EARLY),)}),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_a_poison_fact_is_confirmed_and_kept_aside_and_the_others_are_settled(poison: ExecutionObserved) -> None:
    bench = Bench()
    out = bench.tell(a_fact("e-0"), a_fact("e-1"), poison, a_fact("e-3"), a_fact("e-4"))

    assert bench.states() == ["completed", "completed", "lost", "completed", "completed"]
    (kept,) = bench.audit
    assert (kept.actor, kept.action, kept.object) == ("n-1", "fact-quarantined", "e-2")
    assert json.loads(kept.details["fact"]) == json.loads(poison.model_dump_json())
    assert bench.core.view.nodes["n-1"].confirmed == UNITS
    (confirm,) = [each.confirm for each in out if isinstance(each, SendConfirm)]
    assert confirm.confirmed == UNITS
    (report,) = [each for each in out if isinstance(each, Report)]
    assert (report.event, report.error, report.fields["execution_id"]) == ("fact-quarantined", True, "e-2")
    assert Position("stream", 9) in bench.positions


def test_the_unit_of_an_end_that_was_left_out_is_tried_again() -> None:
    bench = Bench()
    bench.tell(*(a_fact(f"e-{number}") for number in (0, 1, 3, 4)), POISON["number"])
    bench.record.at += timedelta(minutes=10)
    bench.core.on_evaluations(bench.record.due())
    bench.work()
    (again,) = [row for row in bench.record.executions.values() if row.attempt == 2]
    assert (again.partition, again.live) == (2, True)
    assert not bench.record.executions["e-2"].holds


def test_poison_in_the_middle_of_a_run_costs_nothing_but_itself() -> None:
    bench = Bench()
    bench.tell(a_fact("e-2", RUNNING, revision=2**63), a_fact("e-2"))
    assert bench.states()[2] == "completed"
    assert len(bench.audit) == 1


def test_nothing_but_poison_is_confirmed_too() -> None:
    bench = Bench()
    bench.tell(*(a_fact(f"e-{number}", revision=2**63) for number in range(UNITS)), a_fact("e-nobody", revision=2**63))
    assert bench.states() == ["lost"] * UNITS
    assert [kept.object for kept in bench.audit] == ["e-0", "e-1", "e-2", "e-3", "e-4", "e-nobody"]
    assert bench.core.view.nodes["n-1"].confirmed == UNITS + 1


def test_what_a_failing_settlement_had_begun_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours, half-way through a fact, after it had won its unit."""

    def broken(builder: ChangesBuilder, observed: list[tuple[str, ExecutionObserved]]) -> None:
        for one in observed:
            real(builder, [one])
            if one[1].execution_id == "e-2":
                raise ZeroDivisionError("half-way")

    real = quarantine.settle_into
    monkeypatch.setattr(quarantine, "settle_into", broken)
    bench = Bench()
    bench.tell(a_fact("e-2"), *(a_fact(f"e-{number}") for number in (0, 1, 3, 4)))
    assert bench.states() == ["completed", "completed", "lost", "completed", "completed"]
    assert [result.execution_id for result in bench.record.results] == ["e-0", "e-1", "e-3", "e-4"]
    assert bench.record.won["j-1"] == {("main", number) for number in (0, 1, 3, 4)}
    assert bench.audit[0].details["error"] == "ZeroDivisionError: half-way"
    assert bench.record.jobs["j-1"].state is JobState.RUNNING


@pytest.mark.parametrize("ours", [False, True], ids=["out-of-bounds", "settlement-raises"])
def test_a_thousand_poison_facts_do_not_cost_their_square(ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked at inside a transaction, which Postgres ends after a second, and the leader with it."""
    many = 1_000
    jobs = [a_job(f"j-{number}", state=JobState.RUNNING) for number in range(many)]
    rows = [an_execution(f"e-{number}", job=job) for number, job in enumerate(jobs)]
    builder = ChangesBuilder(ClusterView.load([a_node("n-1")], jobs, rows), locked(*jobs), counting_ids())
    copied: list[object] = []

    def counting(value: Any, **changes: Any) -> Any:
        copied.append(value)
        return real(value, **changes)

    def broken(_: object, observed: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    real = draft.replace
    monkeypatch.setattr(draft, "replace", counting)
    if ours:
        monkeypatch.setattr(quarantine, "settle_into", broken)
    settle_apart(builder, [("n-1", a_fact(row.id, revision=1 if ours else 2**63)) for row in rows], builder.audit)
    assert len(copied) <= many * (1 + many.bit_length())
    changes = builder.build()
    assert [kept.object for kept in changes.audit] == [row.id for row in rows]
    assert all(change.row.state is ExecutionState.LOST for change in changes.executions)


def test_a_node_that_says_the_same_poison_for_ever_does_not_fill_the_audit() -> None:
    bench = Bench()
    jobs = [a_job(f"j-{number}", state=JobState.RUNNING) for number in range(3)]
    budget = AuditBudget()

    def told(node_id: str, rows: int, minutes: float) -> list[AuditNew]:
        at = Locked(NOW + timedelta(minutes=minutes), locked(*jobs).jobs, frozenset())
        builder = ChangesBuilder(bench.core.view, at, counting_ids())
        for _ in range(rows):
            budget.add(builder, AuditNew(node_id, "fact-quarantined", "e-0", {}))
        return list(builder.build().audit)

    assert len(told("n-1", 5_000, 0)) == AT_ONCE
    assert len(told("n-2", 1, 0)) == 1, "it costs nobody else"
    later = told("n-1", 5_000, 1)
    assert [row.details.get("left_out") for row in later] == ["4900", *[None] * (A_MINUTE - 1)]
    assert len(told("n-1", 5_000, 60)) == AT_ONCE


def test_facts_without_poison_are_settled_as_they_always_were() -> None:
    bench = Bench()
    observed = [("n-1", a_fact(f"e-{number}")) for number in range(UNITS)]
    seen: list[tuple[Changes, Changes]] = []

    def both(locked):  # type: ignore[no-untyped-def]
        builder = ChangesBuilder(bench.core.view, locked, counting_ids())
        settle_apart(builder, observed, builder.audit)
        seen.append((builder.build(), settle(bench.core.view, observed, locked, counting_ids())))
        return Changes()

    bench.record.commit(["j-1"], [], both)
    ((apart, together),) = seen
    assert apart == together
    assert not apart.empty


def test_a_large_fact_is_kept_up_to_its_inline_result() -> None:
    bench = Bench()
    result = ResultRef(digest="sha256:here", size=2**63, inline="A" * 90_000)
    bench.tell(
        a_fact("e-2").model_copy(update={"result": result, "steps": (Step(state=RUNNING, at=datetime.now(UTC)),)})
    )
    text = bench.audit[0].details["fact"]
    assert len(text) == KEPT_CHARACTERS
    assert '"sha256:here"' in text
