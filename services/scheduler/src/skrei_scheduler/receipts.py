"""What nodes say that they uploaded, against what the publisher has signed for: a node cannot claim what nobody holds.

Verifying one takes about a tenth of a millisecond, and only results that are too large for a fact have one. What stays
on its node has none: whether it is there is heard from the node itself, as the publisher has it shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from skrei_domain.bounds import MOST_DESTINATION
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import ExecutionObserved, Problem, ResultRef
from skrei_domain.node_results import LOCAL_DIRECTORY, node_place
from skrei_kit.tokens import Receipt, TokenInvalid
from skrei_scheduling import texts
from skrei_scheduling.changes import AuditNew, Place

Verify = Callable[[str], Receipt]
"""Returns what a publisher signed; raises TokenInvalid."""


def trust_nobody(_: str) -> Receipt:
    """Know no publisher's key: no receipt is good."""
    raise TokenInvalid("this scheduler was given no publisher's key")


@dataclass(slots=True)
class Checked:
    """Facts as they count: those whose receipt is not good have failed.

    `places` of the good ones, by node and execution: no node says where another's result is.
    """

    observed: list[tuple[str, ExecutionObserved]] = field(default_factory=list)
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    audit: list[AuditNew] = field(default_factory=list)


def check(observed: Sequence[tuple[str, ExecutionObserved]], verify: Verify) -> Checked:
    """Return the facts (node id, fact) with their receipts checked."""
    checked = Checked()
    for node_id, fact in observed:
        result = fact.result
        if result is not None and result.left_unseen and result.left_at and verify is not trust_nobody:
            checked.places[node_id, fact.execution_id] = Place(LOCAL_DIRECTORY, result.left_at, node_place(node_id))
        if result is None or result.inline is not None or not fact.state.is_terminal or not result.digest:
            checked.observed.append((node_id, fact))
            continue
        try:
            checked.places[node_id, fact.execution_id] = _place(fact.execution_id, result, verify)
        except TokenInvalid as error:
            checked.observed.append((node_id, _without(fact)))
            details = {"node_id": node_id, "digest": result.digest, "reason": error.message}
            checked.audit.append(AuditNew(node_id, texts.BAD_RECEIPT, fact.execution_id, details))
        else:
            checked.observed.append((node_id, fact))
    return checked


def _place(execution_id: str, result: ResultRef, verify: Verify) -> Place:
    receipt = verify(result.receipt or "")
    if (receipt.execution_id, receipt.digest, receipt.size) != (execution_id, result.digest, result.size):
        raise TokenInvalid(f"the receipt is for {receipt.execution_id}, {receipt.digest}, {receipt.size} bytes")
    return Place(receipt.publisher, receipt.place, receipt.destination[:MOST_DESTINATION])


def _without(fact: ExecutionObserved) -> ExecutionObserved:
    """Return a fact that claims no result; what it would have completed has failed, and is tried elsewhere."""
    if fact.state is not ExecutionState.COMPLETED:
        return fact.model_copy(update={"result": None})
    problem = Problem(code=texts.RECEIPT_REFUSED_CODE, message=texts.RECEIPT_REFUSED)
    return fact.model_copy(update={"state": ExecutionState.FAILED, "result": None, "problem": problem})
