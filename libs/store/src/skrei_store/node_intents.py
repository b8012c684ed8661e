"""What users want of nodes: written down by the API, carried out by the leader, which alone changes a node's row."""

from collections.abc import Mapping
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
    INSERT INTO node_intents (node_id, action, message, at)
    SELECT $1, $2, $3, now() WHERE (SELECT count(*) FROM node_intents) < {MOST_INTENTS}
    RETURNING id
), audited AS (
    INSERT INTO audit (at, actor, action, object, details)
    SELECT now(), $4, 'node.' || $2, $1, json_build_object('Message', $3::text)::text FROM asked
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


async def ask(connection: Connection, node_id: str, action: NodeAction, *, message: str, actor: str) -> int | None:
    """Write down what is wanted of a node, with its audit; return the intent's number, None where too many wait."""
    number: int | None = await connection.fetchval(ASK, node_id, action.value, message, actor)
    return number


async def waits(connection: Connection, number: int) -> bool:
    """Whether an intent has not been carried out yet."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM node_intents WHERE id = $1)", number))


async def pending(connection: Connection, limit: int) -> list[NodeIntent]:
    """Return what is wanted of nodes, in the order in which it was asked for."""
    rows = await connection.fetch("SELECT id, node_id, action, message FROM node_intents ORDER BY id LIMIT $1", limit)
    return [NodeIntent(row["id"], row["node_id"], NodeAction(row["action"]), row["message"]) for row in rows]
