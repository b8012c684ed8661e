"""What a heartbeat sums up: every execution that is not terminal, as far as facts (or a hello) have told."""

from collections.abc import Iterable
from hashlib import blake2b

from skrei_domain.lifecycle import ExecutionState


def digest(told: Iterable[tuple[str, int, ExecutionState]]) -> str:
    """Return 16 hex digits over (execution id, revision, state); the order does not matter."""
    total = 0
    for execution_id, revision, state in told:
        item = blake2b(f"{execution_id}:{revision}:{state.value}".encode(), digest_size=8).digest()
        total = (total + int.from_bytes(item, "big")) & 0xFFFFFFFFFFFFFFFF
    return f"{total:016x}"
