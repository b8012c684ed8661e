"""Poison facts: those that cannot be settled, or that the record cannot hold, are kept aside and confirmed too.

A node repeats a fact until it is confirmed. If one that raises were not, every leader in turn would end by it, and
nothing else of any node would ever be settled again.
"""

import base64
import json
from collections.abc import Sequence
from datetime import UTC

from pydantic import TypeAdapter, ValidationError

from skrei_domain import envelope
from skrei_domain.errors import Invalid
from skrei_domain.messages import ExecutionObserved, Fact, FactBatch, Unreadable
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import AuditNew
from skrei_scheduling.membership import lose_into
from skrei_scheduling.settle import settle_into

FACT_QUARANTINED = "fact-quarantined"
"""The action in the audit, and the event in the log."""
KEPT_CHARACTERS = 64 * 1024
"""Of a fact's JSON: all but the inline result, which is what makes a fact large."""
LARGEST = 2**63 - 1
"""What a column of the record holds."""
_FACT: TypeAdapter[Fact] = TypeAdapter(Fact)
LOST_BY_QUARANTINE = "its last fact could not be settled"


def read_batch(payload: bytes) -> FactBatch:
    """Return a batch of facts; one that cannot be read takes its place in the log as `Unreadable`.

    A fact of a newer type, or a broken one, must not keep the rest of its node's log from being applied. Raises
    ValueError (pydantic's ValidationError among them) where not even the batch can be read.
    """
    try:
        return envelope.unwrap(FactBatch, payload)
    except ValidationError:
        data = json.loads(payload).get("data", {})
        facts = data.pop("facts", ())
        batch = FactBatch.model_validate({**data, "facts": ()})
        return batch.model_copy(update={"facts": tuple(_read_fact(fact) for fact in facts)})


def _read_fact(raw: object) -> Fact:
    try:
        return _FACT.validate_python(raw)
    except ValidationError:
        return Unreadable(raw=json.dumps(raw)[:KEPT_CHARACTERS])


def keep_unreadable(builder: ChangesBuilder, node_id: str, facts: Sequence[Fact]) -> None:
    """Write what could not be read into the audit."""
    for fact in facts:
        if isinstance(fact, Unreadable):
            details = {"node_id": node_id, "execution_id": "", "error": "the fact cannot be read", "fact": fact.raw}
            builder.audit(AuditNew(actor=node_id, action=FACT_QUARANTINED, object=node_id, details=details))


def settle_apart(builder: ChangesBuilder, observed: Sequence[tuple[str, ExecutionObserved]]) -> None:
    """Settle facts in order, leaving out those that raise: they go to the audit.

    Halves are tried until single facts are left, so that one among a thousand costs ten more tries. An execution whose
    end was left out is lost, and its unit is tried again: nobody would tell of it any more.
    """
    saved = builder.saved()
    try:
        for _, fact in observed:
            _check(fact)
        settle_into(builder, observed)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not end this leader and the next
        builder.back_to(saved)
        if len(observed) == 1:
            _keep_aside(builder, *observed[0], error)
            return
        half = len(observed) // 2
        settle_apart(builder, observed[:half])
        settle_apart(builder, observed[half:])


def _check(fact: ExecutionObserved) -> None:
    """Raise what the record's own refusal would come to: there it would end the leader."""
    numbers = {"revision": fact.revision, "starts": fact.starts, "exit code": fact.exit_code or 0}
    if fact.result is not None:
        numbers["result size"] = fact.result.size
        base64.b64decode(fact.result.inline or "")
    for name, number in numbers.items():
        if abs(number) > LARGEST:
            raise Invalid(f"the {name} of a fact is too large: {number}", execution_id=fact.execution_id)
    for step in fact.steps:
        step.at.astimezone(UTC)


def _keep_aside(builder: ChangesBuilder, node_id: str, fact: ExecutionObserved, error: Exception) -> None:
    row = builder.row(fact.execution_id)
    if fact.state.is_terminal and row is not None and row.node_id == node_id:
        saved = builder.saved()
        try:
            lose_into(builder, [row.id], LOST_BY_QUARANTINE)
        except Exception as again:  # noqa: BLE001 - the execution itself is what cannot be settled
            builder.back_to(saved)
            error = again
    details = {
        "node_id": node_id,
        "execution_id": fact.execution_id,
        "error": f"{type(error).__name__}: {error}",
        "fact": fact.model_dump_json()[:KEPT_CHARACTERS],
    }
    builder.audit(AuditNew(actor=node_id, action=FACT_QUARANTINED, object=fact.execution_id, details=details))
