"""How things are named: typed ids, their short forms, and where new ones come from."""

import uuid
from collections.abc import Callable
from typing import NewType

JobId = NewType("JobId", str)
ExecutionId = NewType("ExecutionId", str)
EvaluationId = NewType("EvaluationId", str)
NodeId = NewType("NodeId", str)

IdSource = Callable[[str], str]
"""Returns a fresh id for a prefix (`j`, `e`, `n`); injected wherever pure code must name something new."""


def new_id(prefix: str) -> str:
    """Return `<prefix>-<uuid4>`."""
    return f"{prefix}-{uuid.uuid4()}"


def new_job_id() -> JobId:
    """Return a fresh job id, `j-<uuid4>`."""
    return JobId(new_id("j"))


def new_execution_id() -> ExecutionId:
    """Return a fresh execution id, `e-<uuid4>`."""
    return ExecutionId(new_id("e"))


def new_node_id() -> NodeId:
    """Return a fresh node id, `n-<uuid4>`."""
    return NodeId(new_id("n"))


def new_evaluation_id() -> EvaluationId:
    """Return a fresh evaluation id: a plain uuid4, as API clients know it."""
    return EvaluationId(str(uuid.uuid4()))


def short(identifier: str) -> str:
    """Return prefix and first 8 characters: `j-1a2b3c4d`; an id of another shape comes back unchanged."""
    head, dash, tail = identifier.partition("-")
    return f"{head}-{tail[:8]}" if dash and len(head) == 1 else identifier
