"""What nodes observed: which facts are taken, and the commit that moves executions and logs together."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from skrei_domain.evolving import replace
from skrei_domain.messages import Confirm, ExecutionObserved, NodeChanged
from skrei_domain.sync import NodeLog
from skrei_domain.sync.received import AnyBatch, ReadFact, Unreadable
from skrei_scheduler.audit_budget import AuditBudget
from skrei_scheduler.lead import Lead
from skrei_scheduler.published import publish_now
from skrei_scheduler.quarantine import FACT_QUARANTINED, Audit, keep_unreadable, settle_apart
from skrei_scheduler.receipts import check
from skrei_scheduler.work import FORESEEN_ROWS, Commit, Fetch, Outgoing, Report, SendConfirm
from skrei_scheduling import memory
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, Locked, Position
from skrei_scheduling.rows import ExecutionRow
from skrei_scheduling.settle import jobs_of
from skrei_scheduling.texts import BAD_RECEIPT

FACTS_A_COMMIT = 1_000
"""About 30 ms of bulk write; more only delays the confirmations of the first."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A batch of facts, and where the stream stood behind it."""

    batch: AnyBatch
    position: Position | None
    size: int


class Facts:
    """Batches that wait for their commit, in the order in which the stream brought them."""

    def __init__(self, lead: Lead) -> None:
        self._lead = lead
        self._waiting: deque[_Arrived] = deque()
        self._late: dict[str, ExecutionRow | None] = {}  # read for the facts at hand; None: the record has no such
        self._budget = AuditBudget()
        self.bytes = 0
        """What waits, as it came."""

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, batch: AnyBatch, position: Position | None, size: int = 0) -> None:
        """A stretch of a node's log; `size` bytes of it came."""
        self._waiting.append(_Arrived(batch, position, size))
        self.bytes += size

    def fetched(self, asked: Iterable[str], rows: Mapping[str, ExecutionRow]) -> None:
        """Take what a `Fetch` read."""
        for execution_id in asked:
            self._late[execution_id] = rows.get(execution_id)

    def next(self, now: float) -> Commit | Fetch | list[Outgoing]:
        """Return the commit of what waits, the read that it needs first, or what is said instead."""
        chosen: list[_Arrived] = []
        count = 0
        for arrived in self._waiting:
            count += len(arrived.batch.facts)
            if chosen and count > FACTS_A_COMMIT:
                break
            chosen.append(arrived)
        if strangers := self._strangers(chosen):
            return Fetch(strangers)
        for _ in chosen:
            self.bytes -= self._waiting.popleft().size
        return self._accept(chosen, now)

    def _strangers(self, chosen: Iterable[_Arrived]) -> tuple[str, ...]:
        """Return the executions that the view has let go, or never knew."""
        known = self._lead.view.executions
        named = {
            fact.execution_id
            for arrived in chosen
            for fact in arrived.batch.facts
            if isinstance(fact, ExecutionObserved)
        }
        return tuple(each for each in named if each not in known and each not in self._late)

    def _accept(self, chosen: list[_Arrived], now: float) -> Commit | list[Outgoing]:
        lead = self._lead
        logs: dict[str, NodeLog] = {}
        taken: dict[str, list[ReadFact]] = {}
        said: dict[str, Confirm] = {}
        for arrived in chosen:
            node_id = arrived.batch.node_id
            log = logs.get(node_id) or lead.log_of(node_id)
            answer = lead.side.receive(log, arrived.batch, now)
            if answer.facts and log is not None:
                taken.setdefault(node_id, []).extend(answer.facts)
                logs[node_id] = replace(
                    log, confirmed=log.confirmed + len(answer.facts), confirmed_by=arrived.batch.writer
                )
            elif answer.confirm is not None:
                said[node_id] = answer.confirm
        late = {each: row for each, row in self._late.items() if row is not None}
        self._late = {}
        if not taken:
            return [SendConfirm(node_id, confirm) for node_id, confirm in said.items()]
        return self._commit(logs, taken, said, late, chosen[-1].position)

    def _commit(
        self,
        logs: Mapping[str, NodeLog],
        taken: Mapping[str, list[ReadFact]],
        said: Mapping[str, Confirm],
        late: Mapping[str, ExecutionRow],
        position: Position | None,
    ) -> Commit:
        lead = self._lead
        observed = [(n, fact) for n, facts in taken.items() for fact in facts if isinstance(fact, ExecutionObserved)]
        checked = check(observed, lead.verify)
        budget = self._budget.trial()

        def decide(locked: Locked) -> Changes:
            nonlocal budget
            budget = self._budget.trial()  # decided twice, it is spent once
            builder = ChangesBuilder(lead.view, locked, lead.ids, late=late)
            builder.places = checked.places
            audit = partial(budget.add, builder)
            for entry in checked.audit:
                audit(entry)
            for node_id, facts in taken.items():
                self._move(builder, node_id, logs[node_id], facts, audit)
            settle_apart(builder, checked.observed, audit)
            if position is not None:
                builder.read_to(position)
            return builder.build()

        def after(changes: Changes, now: float) -> list[Outgoing]:
            self._budget.kept(budget)
            out: list[Outgoing] = [SendConfirm(n, lead.side.confirm(log)) for n, log in logs.items()]
            out += [SendConfirm(n, confirm) for n, confirm in said.items() if n not in logs]
            for node_id, facts in taken.items():
                lead.side.applied(node_id, facts)
            kept = (each for each in changes.audit if each.action in {FACT_QUARANTINED, BAD_RECEIPT})
            out += [Report(each.action, each.details, error=True) for each in kept]
            return out + publish_now(changes) + lead.advance(changes, now)

        ended = (fact.ended for facts in taken.values() for fact in facts if isinstance(fact, Unreadable))
        jobs = jobs_of(lead.view, (*(fact.execution_id for _, fact in observed), *ended), late)
        # When a node lost what it had is written as it was decided: that has to be the record's own time.
        plain = all(isinstance(fact, ExecutionObserved) for facts in taken.values() for fact in facts)
        foreseen = plain and len(observed) <= FORESEEN_ROWS and not checked.audit
        return Commit("facts", frozenset(jobs), frozenset(), decide, after, foreseen=foreseen)

    def _move(self, builder: ChangesBuilder, node_id: str, log: NodeLog, facts: list[ReadFact], audit: Audit) -> None:
        """Move a node's row: how far its log is applied, and what it can do."""
        node = self._lead.view.nodes[node_id]
        node = replace(node, confirmed=log.confirmed, confirmed_by=log.confirmed_by)
        for fact in facts:
            if isinstance(fact, NodeChanged):
                node = memory.renewed(node, fact.info, builder.locked.now, keep=self._lead.keep)
        builder.put_node(node)
        keep_unreadable(builder, node_id, facts, audit)
