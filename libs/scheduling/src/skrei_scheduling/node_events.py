"""What a commit's new row of a node means to a person: it joined, came back, fell silent, or can do something else."""

from skrei_domain.lifecycle import Connection, Intake, Membership
from skrei_domain.node_changes import changes
from skrei_scheduling.changes import NodeEventNew
from skrei_scheduling.rows import NodeRow

EVENTS_A_CHANGE = 20
"""Sentences of one change: a whole machine that changes needs no more, and a node gone wild gets no more."""
MESSAGE_CHARACTERS = 500
"""Of one sentence: a plugin's reason may be long."""

JOINED, CONNECTED, DISCONNECTED, CHANGED = "Joined", "Connected", "Disconnected", "Changed"
MEMBERSHIP, INTAKE, LABELS = "Membership", "Intake", "Labels"


def node_events(old: NodeRow | None, new: NodeRow) -> list[NodeEventNew]:
    """Return the events of one node in one commit, in order; mostly none."""
    if old is None:
        return [_event(new, JOINED, f"joined with {_offer(new)}")]
    if (
        old.info is new.info
        and old.connection is new.connection
        and old.boot_id == new.boot_id
        and old.membership is new.membership
        and old.labels is new.labels
        and (old.intake, old.drain_until) == (new.intake, new.drain_until)
    ):
        return []
    events = []
    if old.membership is not new.membership:
        why = new.error.partition(": ")[2] if new.membership is Membership.REJECTED else ""
        events.append(_event(new, MEMBERSHIP, new.membership.value.lower() + (f": {why}" if why else "")))
    if (old.intake, old.drain_until) != (new.intake, new.drain_until):
        events.append(_event(new, INTAKE, stands(new)))
    if labels := _relabelled(old, new):
        events.append(_event(new, LABELS, labels))
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


def stands(node: NodeRow) -> str:
    """Return what may be placed on a node, in words."""
    match node.intake:
        case Intake.CORDONED:
            return "cordoned: nothing new is placed on it, and what runs stays"
        case Intake.DRAINING if node.drain_until is not None:
            return f"draining: what still runs at {node.drain_until:%Y-%m-%d %H:%M:%S} UTC is stopped"
        case Intake.DRAINING:
            return "draining: batch jobs may run to their end, services move"
        case _:
            return "open: work is placed on it again"


def _relabelled(old: NodeRow, new: NodeRow) -> str:
    """Return what its operator did to a node's labels; empty for nothing."""
    given = [f"{key}={value}" for key, value in sorted(new.labels.items()) if old.labels.get(key) != value]
    taken = [f"{key}-" for key in sorted(old.labels.keys() - new.labels.keys())]
    return f"labelled by its operator: {' '.join([*given, *taken])}" if given or taken else ""


def _event(node: NodeRow, topic: str, message: str) -> NodeEventNew:
    return NodeEventNew(node.id, topic, message[:MESSAGE_CHARACTERS])


def _offer(node: NodeRow) -> str:
    engines = ", ".join(f"{plugin.name} {plugin.version}".strip() for plugin in node.info.engines)
    return f"engines {engines}" if engines else "no engine"
