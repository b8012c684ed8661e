"""Poison facts: those that cannot be settled, or that the record cannot hold, are kept aside and confirmed too.

A node repeats a fact until it is confirmed. If one that raises were not, every leader in turn would end by it, and
nothing else of any node would ever be settled again.
"""

import json
from collections.abc import Callable, Sequence

from skrei_domain.bounds import wrong_with_fact
from skrei_domain.errors import Invalid
from skrei_domain.messages import ExecutionObserved
from skrei_domain.sync.received import ReadFact, Unreadable
from skrei_scheduler.reading import KEPT_CHARACTERS
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import AuditNew
from skrei_scheduling.membership import lose_into
from skrei_scheduling.settle import settle_into

FACT_QUARANTINED = "fact-quarantined"
"""The action in the audit, and the event in the log."""
LOST_BY_QUARANTINE = "its last fact could not be settled"

Audit = Callable[[AuditNew], None]
"""Takes a row for the audit; one that counts (see `audit_budget`) may leave it out."""


def keep_unreadable(builder: ChangesBuilder, node_id: str, facts: Sequence[ReadFact], audit: Audit) -> None:
    """Write what could not be read into the audit; an execution whose end it told is lost, and tried again."""
    for fact in facts:
        if isinstance(fact, Unreadable):
            error = _lose(builder, node_id, fact.ended) if fact.ended else None
            details = {
                "node_id": node_id,
                "execution_id": fact.ended,
                "error": "the fact cannot be read" if error is None else f"{type(error).__name__}: {error}",
                "fact": fact.raw,
            }
            audit(AuditNew(actor=node_id, action=FACT_QUARANTINED, object=fact.ended or node_id, details=details))


def settle_apart(builder: ChangesBuilder, observed: Sequence[tuple[str, ExecutionObserved]], audit: Audit) -> None:
    """Settle facts in order, leaving out those that are out of bounds, or raise: they go to the audit.

    An execution whose end was left out is lost, and its unit is tried again: nobody would tell of it any more. All of
    this happens under the locks of one commit, which Postgres ends after a second: a thousand poison facts may not
    cost their square.
    """
    fine: list[tuple[str, ExecutionObserved]] = []
    for node_id, fact in observed:
        # What the record's own refusal would come to: there it would end the leader.
        if wrong := wrong_with_fact(fact):
            _settle(builder, fine, audit)
            fine = []
            _keep_aside(builder, node_id, fact, Invalid(f"a fact is out of bounds: {wrong}"), audit)
        else:
            fine.append((node_id, fact))
    _settle(builder, fine, audit)


def _settle(builder: ChangesBuilder, observed: Sequence[tuple[str, ExecutionObserved]], audit: Audit) -> None:
    """Settle facts that are within bounds; where that raises, halves of them, until single facts are left."""
    if not observed:
        return
    rows = (builder.row(fact.execution_id) for _, fact in observed)
    saved = builder.saved({row.job_id for row in rows if row is not None})
    try:
        settle_into(builder, observed)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not end this leader and the next
        builder.back_to(saved)
        if len(observed) == 1:
            _keep_aside(builder, *observed[0], error, audit)
            return
        half = len(observed) // 2
        _settle(builder, observed[:half], audit)
        _settle(builder, observed[half:], audit)


def _keep_aside(builder: ChangesBuilder, node_id: str, fact: ExecutionObserved, error: Exception, audit: Audit) -> None:
    again = _lose(builder, node_id, fact.execution_id) if fact.state.is_terminal else None
    error = again or error
    details = {
        "node_id": node_id,
        "execution_id": fact.execution_id,
        "error": f"{type(error).__name__}: {error}",
        "fact": json.dumps(fact.model_dump(mode="json"))[:KEPT_CHARACTERS],
    }
    audit(AuditNew(actor=node_id, action=FACT_QUARANTINED, object=fact.execution_id, details=details))


def _lose(builder: ChangesBuilder, node_id: str, execution_id: str) -> Exception | None:
    """Give an execution up whose end was left out; returns what was raised instead, with nothing done."""
    row = builder.row(execution_id)
    if row is None or row.node_id != node_id:
        return None
    saved = builder.saved([row.job_id])
    try:
        lose_into(builder, [row.id], LOST_BY_QUARANTINE)
    except Exception as error:  # noqa: BLE001 - the execution itself is what cannot be settled
        builder.back_to(saved)
        return error
    return None
