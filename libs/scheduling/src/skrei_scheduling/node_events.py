"""What a commit's new row of a node means to a person: it joined, came back, fell silent, or can do something else."""

from skrei_domain.lifecycle import Connection, Membership
from skrei_domain.node_changes import changes
from skrei_scheduling.changes import NodeEventNew
from skrei_scheduling.rows import NodeRow

EVENTS_A_CHANGE = 20
"""Sentences of one change: a whole machine that changes needs no more, and a node gone wild gets no more."""
MESSAGE_CHARACTERS = 500
"""Of one sentence: a plugin's reason may be long."""

JOINED, CONNECTED, DISCONNECTED, CHANGED = "Joined", "Connected", "Disconnected", "Changed"
MEMBERSHIP = "Membership"


def node_events(old: NodeRow | None, new: NodeRow) -> list[NodeEventNew]:
    """Return the events of one node in one commit, in order; mostly none."""
    if old is None:
        return [_event(new, JOINED, f"joined with {_offer(new)}")]
    if (
        old.info is new.info
        and old.connection is new.connection
        and old.boot_id == new.boot_id
        and old.membership is new.membership
    ):
        return []
    events = []
    if old.membership is not new.membership:
        why = new.error.partition(": ")[2] if new.membership is Membership.REJECTED else ""
        events.append(_event(new, MEMBERSHIP, new.membership.value.lower() + (f": {why}" if why else "")))
    if new.connection is not old.connection:
        if new.connection is Connection.CONNECTED:
            events.append(_event(new, CONNECTED, "connected"))
        else:
            events.append(_event(new, DISCONNECTED, f"disconnected: {new.error}"))
    elif new.boot_id != old.boot_id:
        events.append(_event(new, CONNECTED, "its agent was started again"))
    told = changes(old.info, new.info)
    if len(told) > EVENTS_A_CHANGE:
        told = [*told[: EVENTS_A_CHANGE - 1], f"and {len(told) - EVENTS_A_CHANGE + 1} more changes"]
    return events + [_event(new, CHANGED, line) for line in told]


def _event(node: NodeRow, topic: str, message: str) -> NodeEventNew:
    return NodeEventNew(node.id, topic, message[:MESSAGE_CHARACTERS])


def _offer(node: NodeRow) -> str:
    engines = ", ".join(f"{plugin.name} {plugin.version}".strip() for plugin in node.info.engines)
    return f"engines {engines}" if engines else "no engine"
