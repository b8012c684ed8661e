"""Jobs of several tasks lived through: a record, its view, and a planner that is asked as the leader asks it."""

from collections.abc import Iterable
from datetime import timedelta

from skrei_domain.lifecycle import ExecutionState
from skrei_scheduling.changes import Changes
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, NodeRow, Unit
from skrei_scheduling.schedule import schedule
from skrei_scheduling.settle import settle
from tests.support.builders import a_fact, counting_ids
from tests.support.ledger import Ledger


def may_begin(job: JobRow, unit: Unit, won: set[Unit]) -> bool:
    """The rule, said as plainly as can be."""
    return all(
        (need.task, partition) in won
        for need in job.task(unit[0]).needs
        for partition in ([unit[1]] if need.same else range(job.task(need.task).count))
    )


class Life:
    """A cluster of these nodes, and these jobs in it."""

    def __init__(self, jobs: Iterable[JobRow], nodes: Iterable[NodeRow]) -> None:
        self.record, self.ids = Ledger(), counting_ids()
        self.record.nodes = {node.id: node for node in nodes}
        self.view = self.record.view()
        self.woken: list[str] = []
        self.freed = 0
        for job in jobs:
            self.record.submit(job, self.ids("v"))

    def take_over(self) -> None:
        """Another leader, whose view is what the record says."""
        self.view = self.record.view()
        self.woken = list(self.view.jobs)

    def put(self, node: NodeRow) -> None:
        """A node says hello, or says something new of itself."""
        self.apply(self.record.commit([], [], lambda _: Changes(nodes=(node,))))

    def later(self, seconds: float) -> None:
        self.record.at += timedelta(seconds=seconds)

    def plan(self) -> Changes:
        """Look at what is due, and at who was woken."""
        wakes = [Evaluation("", job_id, "room") for job_id in dict.fromkeys(self.woken) if job_id in self.view.jobs]
        self.woken = []
        plan = schedule(self.view, [*self.record.due(), *wakes], self.record.now, 0, self.ids)
        return self.apply(self.record.commit(plan.jobs, plan.evaluations, plan.decide))

    def live(self, task: str = "") -> list[str]:
        """Executions that have not ended, of one task or all."""
        rows = self.record.executions.values()
        return sorted(row.id for row in rows if row.live and (not task or row.task == task))

    def end(self, execution_ids: list[str], states: list[ExecutionState] | None = None) -> Changes:
        """Let executions end: Completed unless said otherwise."""
        rows = [self.record.executions[each] for each in execution_ids]
        ends = states or [ExecutionState.COMPLETED] * len(rows)
        facts = [
            (row.node_id, a_fact(row.id, state, problem=_problem(state))) for row, state in zip(rows, ends, strict=True)
        ]
        jobs = sorted({row.job_id for row in rows})
        changes = self.record.commit(jobs, [], lambda locked: settle(self.view, facts, locked, self.ids))
        self.freed += sum(new.trigger == "task-free" for new in changes.evaluations_new)
        return self.apply(changes)

    def apply(self, changes: Changes) -> Changes:
        self.woken += self.view.apply(changes)
        for job in self.view.jobs.values():
            if not job.state.is_terminal:
                self._check_open(job)
        return changes

    def _check_open(self, job: JobRow) -> None:
        """What the view holds for open is what the record says."""
        won = self.record.won[job.id]
        standing = {row.unit for row in self.record.executions.values() if row.job_id == job.id and _stands(row)}
        wanted = {u for u in job.all_units() if u not in won and u not in standing and may_begin(job, u, won)}
        assert set(self.view.open_units(job)) == wanted


def _stands(row: ExecutionRow) -> bool:
    return row.live and not row.revoked


def _problem(state: ExecutionState) -> str:
    return {ExecutionState.REFUSED: "refused", ExecutionState.FAILED: "trap"}.get(state, "")
