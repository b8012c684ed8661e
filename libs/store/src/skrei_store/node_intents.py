"""What users want of nodes: written down by the API, carried out by the leader, which alone changes a node's row."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from skrei_domain.errors import Conflict
from skrei_domain.lifecycle import Membership, NodeAction
from skrei_scheduling.rows import NodeIntent
from skrei_store.db import Connection

Row: TypeAlias = Mapping[str, Any]

MOST_INTENTS = 1_000
"""Intents that wait at once: nobody decides on so many nodes in the second that the leader needs."""

ASK = f"""
WITH asked AS (
    INSERT INTO node_intents (node_id, action, message, params, at)
    SELECT $1, $2, $3, $5, now() WHERE (SELECT count(*) FROM node_intents) < {MOST_INTENTS}
    RETURNING id
), audited AS (
    INSERT INTO audit (at, actor, action, object, details)
    SELECT now(), $4, 'node.' || $2, $1, (jsonb_build_object('Message', $3::text) || $5::jsonb)::text FROM asked
)
SELECT id FROM asked
"""

_ALREADY = {NodeAction.APPROVE: Membership.APPROVED, NodeAction.REJECT: Membership.REJECTED}


class NodeStateConflict(Conflict):
    """The node is already what it is asked to become."""

    code = "node-state-conflict"


def check(action: NodeAction, node_id: str, membership: Membership) -> None:
    """Refuse what is so already. Raises NodeStateConflict."""
    if _ALREADY.get(action) is membership:
        raise NodeStateConflict(
            f"node {node_id} is {membership.value.lower()} already", component="NodeManager", node_id=node_id
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a node: how long a drain may take (None: as long as it takes), labels (None: to take back)."""

    action: NodeAction
    message: str = ""
    seconds: float | None = None
    labels: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def params(self) -> str:
        """What belongs to the action, as JSON."""
        told: dict[str, object] = {} if self.seconds is None else {"Seconds": self.seconds}
        return json.dumps(told | ({"Labels": dict(self.labels)} if self.labels else {}))


async def ask(connection: Connection, node_id: str, wanted: Wanted, *, actor: str) -> int | None:
    """Write down what is wanted of a node, with its audit; return the intent's number, None where too many wait."""
    number: int | None = await connection.fetchval(
        ASK, node_id, wanted.action.value, wanted.message, actor, wanted.params
    )
    return number


async def waits(connection: Connection, number: int) -> bool:
    """Whether an intent has not been carried out yet."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM node_intents WHERE id = $1)", number))


async def pending(connection: Connection, limit: int) -> list[NodeIntent]:
    """Return what is wanted of nodes, in the order in which it was asked for."""
    rows = await connection.fetch(
        "SELECT id, node_id, action, message, params FROM node_intents ORDER BY id LIMIT $1", limit
    )
    return [_intent(row, json.loads(row["params"])) for row in rows]


def _intent(row: Row, params: Row) -> NodeIntent:
    return NodeIntent(
        number=row["id"],
        node_id=row["node_id"],
        action=NodeAction(row["action"]),
        message=row["message"],
        seconds=params.get("Seconds"),
        labels=params.get("Labels", {}),
    )
