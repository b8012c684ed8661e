"""Nodes that joined: which key speaks for which node, and the audit of who let it in and from where."""

import json
from dataclasses import asdict, dataclass

from skrei_domain.errors import Conflict
from skrei_store.db import Connection

TAKEN = "node {node_id} is in use: another key than this machine's speaks for it"
HOW = (
    "a copied data folder: give this machine one of its own (--data-dir); "
    "the same node on a new disk: add --take-over to the command"
)


@dataclass(frozen=True, slots=True)
class Joining:
    """Who asks: a node by its id, the public key that it made, its name for people, and the address it came from."""

    node_id: str
    key: str
    name: str
    address: str
    take_over: bool = False


async def join_node(connection: Connection, wanted: Joining) -> None:
    """Let a node in and write that down, in one transaction; the same node with the same key may come again.

    Raises Conflict where another key speaks for the node, or a node of that id is known that never joined, unless it
    is to be taken over.
    """
    async with connection.transaction():
        known = await connection.fetchval("SELECT EXISTS (SELECT 1 FROM nodes WHERE id = $1)", wanted.node_id)
        fresh = await connection.fetchval(
            "INSERT INTO node_keys (node_id, key, name, address, joined_at) VALUES ($1, $2, $3, $4, now())"
            " ON CONFLICT (node_id) DO NOTHING RETURNING true",
            *(wanted.node_id, wanted.key, wanted.name, wanted.address),
        )
        held = await connection.fetchval("SELECT key FROM node_keys WHERE node_id = $1 FOR UPDATE", wanted.node_id)
        another = held != wanted.key or (fresh and known)
        if another and not wanted.take_over:
            raise Conflict(TAKEN.format(node_id=wanted.node_id), hint=HOW, component="NodeManager")
        if not fresh:
            await connection.execute(
                "UPDATE node_keys SET key = $2, name = $3, address = $4, joined_at = now() WHERE node_id = $1",
                *(wanted.node_id, wanted.key, wanted.name, wanted.address),
            )
        action = "node.take-over" if another else "node.join" if fresh else "node.rejoin"
        details = asdict(wanted) | {"former_key": held if held != wanted.key else ""}
        await connection.execute(
            "INSERT INTO audit (at, actor, action, object, details) VALUES (now(), 'joining', $1, $2, $3)",
            *(action, wanted.node_id, json.dumps(details)),
        )
