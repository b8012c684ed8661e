"""Nodes that joined: which key speaks for which node, and the audit of who let it in and from where."""

import json
from dataclasses import asdict, dataclass
from datetime import timedelta

from skrei_domain.errors import Conflict
from skrei_store.db import Connection
from skrei_store.values import storable

TAKEN = "node {node_id} is in use: another key than this machine's speaks for it"
REVOKED = "this machine's key was revoked: it is let in no more"
AGAIN = (
    "remove keys/node.seed and keys/node.creds from its data folder, so that it makes another, and join again by "
    "`skrei node join-line` with --take-over"
)
SUPERSEDED = "another machine renewed what lets node {node_id} in: this machine's key is a former one of it"
UNKNOWN = "no node {node_id} joined here, or it was revoked"
BACK = (
    "if this machine should be the node, join again by `skrei node join-line` with --take-over, which revokes the "
    "other's key"
)
HOW = (
    "a copied data folder: give this machine one of its own (--data-dir); "
    "the same node on a new disk: add --take-over to the command"
)


ENDS_SOON = timedelta(minutes=1)
"""A former key that ends within it is let end: what is signed says whole seconds, by another machine's clock."""

_ENDS = "coalesce(now() + {}::interval, 'infinity')"
"""When what is signed for so long ends."""


@dataclass(frozen=True, slots=True)
class Joining:
    """Who asks: a node by its id, the public key that it made, its name for people, and the address it came from.

    `lifetime` is for how long it is let in by what is signed for that key now; None: without end.
    """

    node_id: str
    key: str
    name: str
    address: str
    take_over: bool = False
    lifetime: timedelta | None = None


async def join_node(connection: Connection, wanted: Joining) -> None:
    """Let a node in and write that down, in one transaction; the same node with the same key may come again.

    Raises Conflict where another key speaks for the node, or a node of that id is known that never joined, unless it
    is to be taken over: then the key that spoke for it is revoked. One that was revoked never comes back.
    """
    async with connection.transaction():
        if await connection.fetchval("SELECT EXISTS (SELECT 1 FROM revoked_keys WHERE key = $1)", wanted.key):
            raise Conflict(REVOKED, hint=AGAIN, component="NodeManager", Reason="key-revoked")
        known = await connection.fetchval("SELECT EXISTS (SELECT 1 FROM nodes WHERE id = $1)", wanted.node_id)
        fresh = await connection.fetchval(
            "INSERT INTO node_keys (node_id, key, name, address, joined_at, ends_at)"
            f" VALUES ($1, $2, $3, $4, now(), {_ENDS.format('$5')})"
            " ON CONFLICT (node_id) DO NOTHING RETURNING true",
            *(wanted.node_id, wanted.key, wanted.name, wanted.address, wanted.lifetime),
        )
        held, former = await connection.fetchrow(
            "SELECT key, former_key FROM node_keys WHERE node_id = $1 FOR UPDATE", wanted.node_id
        )
        another = held != wanted.key or (fresh and known)
        if another and not wanted.take_over:
            raise Conflict(TAKEN.format(node_id=wanted.node_id), hint=HOW, component="NodeManager")
        for key in _others(held, former, but=wanted.key) if another else ():
            await _revoke(connection, key, wanted.node_id, actor="joining", reason="taken over")
        if not fresh:
            await connection.execute(
                "UPDATE node_keys SET key = $2, name = $3, address = $4, joined_at = now(), former_key = $5,"
                f" ends_at = greatest(CASE WHEN key = $2 THEN ends_at END, {_ENDS.format('$6')}) WHERE node_id = $1",
                *(wanted.node_id, wanted.key, wanted.name, wanted.address, None if another else former),
                wanted.lifetime,
            )
        action = "node.take-over" if another else "node.join" if fresh else "node.rejoin"
        details = asdict(wanted) | {"former_key": held if held != wanted.key else ""}
        del details["lifetime"]
        await connection.execute(
            "INSERT INTO audit (at, actor, action, object, details) VALUES (now(), 'joining', $1, $2, $3)",
            *(action, wanted.node_id, json.dumps(details)),
        )


@dataclass(frozen=True, slots=True)
class Renewal:
    """A node that joined wants to be let in with the next key instead of the one that it has; both were proven.

    `lifetime` is as in `Joining`.
    """

    node_id: str
    key: str
    next_key: str
    address: str
    lifetime: timedelta | None = None


async def renew_node(connection: Connection, wanted: Renewal) -> bool:
    """Let a node in with its next key, and no more renew with its former one; asked twice, no more changes than for
    how long. Returns whether a key was revoked: the one before the former, where what was signed for it goes on. Only
    two can be taken back later.

    Raises Conflict for a key that was revoked, that is a former one of its node, or of a node that is not known:
    whoever copied a node's folder has such a key once the node itself has renewed.
    """
    async with connection.transaction():
        if await connection.fetchval(
            "SELECT EXISTS (SELECT 1 FROM revoked_keys WHERE key = ANY($1))", [wanted.key, wanted.next_key]
        ):
            raise Conflict(REVOKED, hint=AGAIN, component="NodeManager", Reason="key-revoked")
        row = await connection.fetchrow(
            "SELECT key, former_key, former_ends_at > now() + $2::interval AS goes_on"
            " FROM node_keys WHERE node_id = $1 FOR UPDATE",
            *(wanted.node_id, ENDS_SOON),
        )
        held = None if row is None else row["key"]
        if held == wanted.next_key:  # the answer was lost
            await connection.execute(
                f"UPDATE node_keys SET ends_at = greatest(ends_at, {_ENDS.format('$2')}) WHERE node_id = $1",
                *(wanted.node_id, wanted.lifetime),
            )
            return False
        if held != wanted.key:
            said = UNKNOWN if held is None else SUPERSEDED
            raise Conflict(said.format(node_id=wanted.node_id), hint=BACK, component="NodeManager")
        oldest = row["former_key"] if row["goes_on"] and row["former_key"] != wanted.next_key else None
        if oldest is not None:
            await _revoke(connection, oldest, wanted.node_id, actor="node", reason="renewed again before it ended")
        await connection.execute(
            "UPDATE node_keys SET key = $2, former_key = key, address = $3,"
            " former_ends_at = ends_at,"
            f" ends_at = greatest(CASE WHEN former_key = $2 THEN former_ends_at END, {_ENDS.format('$4')})"
            " WHERE node_id = $1",
            *(wanted.node_id, wanted.next_key, wanted.address, wanted.lifetime),
        )
        details = {"key": wanted.next_key, "former_key": wanted.key, "address": wanted.address}
        await connection.execute(
            "INSERT INTO audit (at, actor, action, object, details) VALUES (now(), 'node', 'node.renew', $1, $2)",
            *(wanted.node_id, json.dumps(details)),
        )
    return oldest is not None


async def revoke_node(connection: Connection, node_id: str, *, actor: str, reason: str) -> None:
    """Let a node in no more with the key that it joined with, and write that down, in one transaction.

    Raises Conflict where no key was signed for it here.
    """
    async with connection.transaction():
        row = await connection.fetchrow("DELETE FROM node_keys WHERE node_id = $1 RETURNING key, former_key", node_id)
        if row is None:
            raise Conflict(
                f"node {node_id} did not join, or was revoked before: no key of it is let in that could be taken back",
                hint="the control plane's own node ends with `skrei down`; a node with a --nats-creds file is revoked "
                "by its key, as a line in keys/revoked",
                component="NodeManager",
            )
        keys = _others(row["key"], row["former_key"])
        for key in keys:
            await _revoke(connection, key, node_id, actor=actor, reason=reason)
        details = {"key": keys[0], "reason": reason}
        await connection.execute(
            "INSERT INTO audit (at, actor, action, object, details) VALUES (now(), $1, 'node.revoke', $2, $3)",
            *(actor, node_id, json.dumps(details)),
        )


def _others(held: str, former: str | None, *, but: str = "") -> list[str]:
    """Return the keys for which something may be signed that has not ended."""
    return [key for key in (held, former) if key and key != but]


async def _revoke(connection: Connection, key: str, node_id: str, *, actor: str, reason: str) -> None:
    await connection.execute(
        "INSERT INTO revoked_keys (key, node_id, actor, reason, revoked_at) VALUES ($1, $2, $3, $4, now())"
        " ON CONFLICT (key) DO NOTHING",
        *(key, node_id, actor, storable(reason)),
    )
