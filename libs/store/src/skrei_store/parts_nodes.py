"""What a commit of the leader writes of nodes: their rows, and what happened to them."""

from collections import Counter
from collections.abc import Callable, Sequence

from skrei_scheduling.changes import NodeEventNew
from skrei_scheduling.rows import NodeRow
from skrei_store.bulk import Part
from skrei_store.values import dump, dump_gone, storable

NODES = Part(
    "nodes_written",
    (
        "id text",
        "info text",
        "membership text",
        "connection text",
        "boot_id text",
        "incarnation int8",
        "confirmed int8",
        "confirmed_by text",
        "connected_since timestamptz",
        "disconnected_since timestamptz",
        "error text",
        "gone text",
        "intake text",
        "drain_until timestamptz",
        "labels text",
    ),
    """
    INSERT INTO nodes ({names}, modified_at) SELECT new.*, {at} FROM {new}
    ON CONFLICT (id) DO UPDATE
    SET info = excluded.info, membership = excluded.membership, connection = excluded.connection,
        boot_id = excluded.boot_id, incarnation = excluded.incarnation, confirmed = excluded.confirmed,
        confirmed_by = excluded.confirmed_by, connected_since = excluded.connected_since,
        disconnected_since = excluded.disconnected_since, error = excluded.error, gone = excluded.gone,
        intake = excluded.intake, drain_until = excluded.drain_until, labels = excluded.labels,
        modified_at = excluded.modified_at
    """,
)

NODE_EVENTS_KEPT = 100
"""Events kept of each node: days of an ordinary one, and a bound on one whose engine comes and goes each minute."""

NODE_EVENTS = Part(
    "node_events_told",
    ("node_id text", "place int8", "topic text", "message text"),
    """
    INSERT INTO node_events (node_id, seq, at, topic, message)
    SELECT node_id, place + coalesce((SELECT max(e.seq) FROM node_events e WHERE e.node_id = new.node_id), 0), {at},
           topic, message
    FROM {new}
    """,
)

NODE_EVENTS_OLD = Part(
    "node_events_dropped",
    ("node_id text", "kept int8"),
    """
    DELETE FROM node_events AS e USING {new}
    WHERE e.node_id = new.node_id AND e.node_id = ANY ({ids})
      AND e.seq <= (SELECT max(x.seq) FROM node_events x WHERE x.node_id = new.node_id) - new.kept
    """,
)


NODES_GONE = Part(
    "nodes_gone",
    ("id text",),
    """
    DELETE FROM nodes AS n USING {new} WHERE n.id = new.id AND n.id = ANY ({ids})
    """,
)

NODE_EVENTS_GONE = Part(
    "node_events_gone",
    ("id text",),
    """
    DELETE FROM node_events AS e USING {new} WHERE e.node_id = new.id AND e.node_id = ANY ({ids})
    """,
)

NODE_INTENTS_DONE = Part(
    "node_intents_done",
    ("id int8",),
    """
    DELETE FROM node_intents AS i USING {new} WHERE i.id = new.id AND i.id = ANY ({ids})
    """,
)


def node_row(node: NodeRow, node_json: Callable[[NodeRow], str]) -> tuple[object, ...]:
    """Return the row for NODES."""
    return (
        node.id,
        node_json(node),
        node.membership,
        node.connection,
        node.boot_id,
        node.incarnation,
        node.confirmed,
        node.confirmed_by,
        node.connected_since,
        node.disconnected_since,
        storable(node.error),
        dump_gone(node.gone),
        node.intake,
        node.drain_until,
        dump(node.labels),
    )


def node_event_rows(events: Sequence[NodeEventNew]) -> list[tuple[object, ...]]:
    """Return the rows for NODE_EVENTS: with their places after the last one of each node."""
    places: Counter[str] = Counter()
    rows: list[tuple[object, ...]] = []
    for new in events:
        places[new.node_id] += 1
        rows.append((new.node_id, places[new.node_id], new.topic, storable(new.message)))
    return rows
