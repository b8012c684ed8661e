"""Poison facts: those that cannot be settled, or that the record cannot hold, are kept aside and confirmed too.

A node repeats a fact until it is confirmed. If one that raises were not, every leader in turn would end by it, and
nothing else of any node would ever be settled again.
"""

import json
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from skrei_domain import envelope, subjects
from skrei_domain.bounds import HIGHEST, is_id, wrong_with_fact, wrong_with_info
from skrei_domain.errors import Invalid
from skrei_domain.lifecycle import TERMINAL
from skrei_domain.messages import ExecutionObserved, Fact, FactBatch, NodeChanged, Unreadable
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import AuditNew
from skrei_scheduling.membership import lose_into
from skrei_scheduling.settle import settle_into

FACT_QUARANTINED = "fact-quarantined"
"""The action in the audit, and the event in the log."""
KEPT_CHARACTERS = 64 * 1024
"""Of a fact's JSON: all but the inline result, which is what makes a fact large."""
MOST_FACTS = 1_024
"""Of one batch: a node sends 256. A message of empty ones would be a commit of a hundred thousand."""
ENDS = frozenset(state.value for state in TERMINAL)
_FACT: TypeAdapter[Fact] = TypeAdapter(Fact)
LOST_BY_QUARANTINE = "its last fact could not be settled"


def read_batch(payload: bytes, node: str) -> FactBatch:
    """Return a batch of facts that came on the subject of `node` (its token).

    A fact of a newer type, or a broken one, takes its place in the log as `Unreadable`: it must not keep the rest of
    its node's log from being applied. Raises ValueError (pydantic's ValidationError among them) where not even the
    batch can be read, or is not one that a node may send.
    """
    try:
        batch = envelope.unwrap(FactBatch, payload)
    except ValidationError:
        batch = _read_apart(payload)
    if subjects.token(batch.node_id) != node:
        raise ValueError("a batch of facts in the name of another node")
    if len(batch.facts) > MOST_FACTS:
        raise ValueError(f"a batch of {len(batch.facts)} facts, of {MOST_FACTS} at most")
    if not (1 <= batch.first <= HIGHEST and is_id(batch.boot_id) and (not batch.writer or is_id(batch.writer))):
        raise ValueError("a batch of facts whose place or writer is none")
    if all(_is_fine(fact) for fact in batch.facts):
        return batch
    facts = (fact if _is_fine(fact) else _unreadable(fact.model_dump(mode="json")) for fact in batch.facts)
    return batch.model_copy(update={"facts": tuple(facts)})


def _read_apart(payload: bytes) -> FactBatch:
    """Read fact by fact."""
    try:
        data = json.loads(payload)["data"]
        raw = data.pop("facts")
        batch = FactBatch.model_validate({**data, "facts": ()})
        facts = [_read_fact(fact) for fact in raw[: MOST_FACTS + 1]]
    except (TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"this is no batch of facts: {type(error).__name__}") from error
    return batch.model_copy(update={"facts": tuple(facts)})


def _read_fact(raw: object) -> Fact:
    try:
        return _FACT.validate_python(raw)
    except ValidationError:
        return _unreadable(raw)


def _unreadable(raw: object) -> Unreadable:
    ended = ""
    if isinstance(raw, dict) and raw.get("state") in ENDS:
        execution_id = raw.get("execution_id")
        ended = execution_id if isinstance(execution_id, str) and is_id(execution_id) else ""
    return Unreadable(raw=json.dumps(raw)[:KEPT_CHARACTERS], ended=ended)


def _is_fine(fact: Fact) -> bool:
    """Whether a fact may be looked at; what is wrong inside an execution's own fact is found when it is settled."""
    match fact:
        case ExecutionObserved():
            return is_id(fact.execution_id)
        case NodeChanged():
            return not wrong_with_info(fact.info)
        case Unreadable():
            return len(fact.raw) <= KEPT_CHARACTERS and (not fact.ended or is_id(fact.ended))


def keep_unreadable(builder: ChangesBuilder, node_id: str, facts: Sequence[Fact]) -> None:
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
            builder.audit(
                AuditNew(actor=node_id, action=FACT_QUARANTINED, object=fact.ended or node_id, details=details)
            )


def settle_apart(builder: ChangesBuilder, observed: Sequence[tuple[str, ExecutionObserved]]) -> None:
    """Settle facts in order, leaving out those that are out of bounds, or raise: they go to the audit.

    An execution whose end was left out is lost, and its unit is tried again: nobody would tell of it any more. All of
    this happens under the locks of one commit, which Postgres ends after a second: a thousand poison facts may not
    cost their square.
    """
    fine: list[tuple[str, ExecutionObserved]] = []
    for node_id, fact in observed:
        # What the record's own refusal would come to: there it would end the leader.
        if wrong := wrong_with_fact(fact):
            _settle(builder, fine)
            fine = []
            _keep_aside(builder, node_id, fact, Invalid(f"a fact is out of bounds: {wrong}"))
        else:
            fine.append((node_id, fact))
    _settle(builder, fine)


def _settle(builder: ChangesBuilder, observed: Sequence[tuple[str, ExecutionObserved]]) -> None:
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
            _keep_aside(builder, *observed[0], error)
            return
        half = len(observed) // 2
        _settle(builder, observed[:half])
        _settle(builder, observed[half:])


def _keep_aside(builder: ChangesBuilder, node_id: str, fact: ExecutionObserved, error: Exception) -> None:
    again = _lose(builder, node_id, fact.execution_id) if fact.state.is_terminal else None
    error = again or error
    details = {
        "node_id": node_id,
        "execution_id": fact.execution_id,
        "error": f"{type(error).__name__}: {error}",
        "fact": json.dumps(fact.model_dump(mode="json"))[:KEPT_CHARACTERS],
    }
    builder.audit(AuditNew(actor=node_id, action=FACT_QUARANTINED, object=fact.execution_id, details=details))


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
