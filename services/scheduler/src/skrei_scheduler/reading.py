"""Reading what a node says of its executions: a batch of facts, with a place kept for what nothing can be made of."""

import json
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from skrei_domain import envelope, subjects
from skrei_domain.bounds import HIGHEST, is_id, wrong_with_info
from skrei_domain.lifecycle import TERMINAL
from skrei_domain.messages import ExecutionObserved, Fact, FactBatch, NodeChanged
from skrei_domain.sync.received import AnyBatch, ReadBatch, ReadFact, Unreadable

KEPT_CHARACTERS = 64 * 1024
"""Of a fact's JSON: all but the inline result, which is what makes a fact large."""
MOST_FACTS = 1_024
"""Of one batch: a node sends 256. A message of empty ones would be a commit of a hundred thousand."""
ENDS = frozenset(state.value for state in TERMINAL)
_FACT: TypeAdapter[Fact] = TypeAdapter(Fact)


def read_batch(payload: bytes, node: str) -> AnyBatch:
    """Return a batch of facts that came on the subject of `node` (its token).

    A fact of a newer type, or a broken one, takes its place in the log as `Unreadable`: it must not keep the rest of
    its node's log from being applied. Raises ValueError (pydantic's ValidationError among them) where not even the
    batch can be read, or is not one that a node may send.
    """
    batch: AnyBatch
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
    facts = tuple(fact if _is_fine(fact) else _unreadable(_raw(fact)) for fact in batch.facts)
    return ReadBatch.of(batch, facts) if isinstance(batch, FactBatch) else replace(batch, facts=facts)


def _read_apart(payload: bytes) -> ReadBatch:
    """Read fact by fact."""
    try:
        data = json.loads(payload)["data"]
        raw = data.pop("facts")
        batch = FactBatch.model_validate({**data, "facts": ()})
        facts = tuple(_read_fact(fact) for fact in raw[: MOST_FACTS + 1])
    except (TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"this is no batch of facts: {type(error).__name__}") from error
    return ReadBatch.of(batch, facts)


def _read_fact(raw: object) -> ReadFact:
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


def _raw(fact: ReadFact) -> object:
    return fact.raw if isinstance(fact, Unreadable) else fact.model_dump(mode="json")


def _is_fine(fact: ReadFact) -> bool:
    """Whether a fact may be looked at; what is wrong inside an execution's own fact is found when it is settled."""
    match fact:
        case ExecutionObserved():
            return is_id(fact.execution_id)
        case NodeChanged():
            return not wrong_with_info(fact.info)
        case Unreadable():
            return True  # it was made here
