"""What a heartbeat sums up: every execution that is not terminal, as far as facts (or a hello) have told.

It is a sum, so that either side may keep it as it goes: what one execution adds is taken away again when it ends.
"""

from collections.abc import Iterable
from hashlib import blake2b

from skrei_domain.lifecycle import ExecutionState


def digest(told: Iterable[tuple[str, int, ExecutionState]]) -> str:
    """Return 16 hex digits over (execution id, revision, state); the order does not matter."""
    return shown(sum(weight_of(*each) for each in told))


def weight_of(execution_id: str, revision: int, state: ExecutionState) -> int:
    """Return what one execution adds to the sum."""
    item = blake2b(f"{execution_id}:{revision}:{state.value}".encode(), digest_size=8).digest()
    return int.from_bytes(item, "big")


def wrapped(total: int) -> int:
    """Return a sum as it is kept: 64 bits of it."""
    return total & 0xFFFFFFFFFFFFFFFF


def shown(total: int) -> str:
    """Return a sum as it is said."""
    return f"{wrapped(total):016x}"
