"""Ephemeral nodes that are gone: replicas that were scaled away, boxes that were thrown out. They are forgotten.

A node says that it is one with the label `ephemeral` (anything but `false`), or its operator does. It goes once it has
been away for long enough and nothing is left on it that anybody waits for; what it did stays in history and audit.
"""

from datetime import datetime, timedelta

from skrei_domain.lifecycle import Connection
from skrei_scheduler.lead import Lead
from skrei_scheduler.work import Commit
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import AuditNew
from skrei_scheduling.rows import NodeRow

LABEL = "ephemeral"
"""What says that a node does not come back once it is gone."""
_NO = frozenset({"", "0", "false", "no"})

KEPT = timedelta(hours=24)
"""How long one that is away is kept: who scales down for a night and up again finds it."""
LOOK_SECONDS = 60.0
"""Between two looks: a minute is nothing beside a day."""
AT_ONCE = 100
"""Nodes that one commit forgets: each is a row, its events and a line of the audit."""
ACTION, ACTOR = "node.delete", "scheduler"


class Departed:
    """Looks for ephemeral nodes that are gone. `kept` zero: they are never forgotten."""

    def __init__(self, lead: Lead, now: float, kept: timedelta) -> None:
        self._lead = lead
        self._kept = kept
        self._looked = now
        self._look = False

    def tick(self, now: float) -> None:
        """Time has passed."""
        if now - self._looked >= LOOK_SECONDS:
            self._looked, self._look = now, bool(self._kept)

    def next(self, wall: datetime) -> Commit | None:
        """Return the commit that forgets some, if there are any; `wall` is the record's time."""
        gone = self._gone(wall) if self._look else []
        self._look = bool(gone)
        if not gone:
            return None
        some = gone[:AT_ONCE]

        def add(builder: ChangesBuilder) -> None:
            for node in some:
                builder.remove_node(node.id)
                builder.audit(AuditNew(ACTOR, ACTION, node.id, {"Message": _why(node), "Name": node.info.name}))

        return self._lead.of_rows("departed", (), add)

    def _gone(self, wall: datetime) -> list[NodeRow]:
        view = self._lead.view
        return [
            node
            for node in view.nodes.values()
            if node.connection is Connection.DISCONNECTED
            and node.offers.labels.get(LABEL, "").lower() not in _NO
            and node.disconnected_since is not None
            and node.disconnected_since + self._kept <= wall
            and next(view.of_node(node.id), None) is None
        ]


def _why(node: NodeRow) -> str:
    return f"ephemeral, away since {node.disconnected_since:%Y-%m-%d %H:%M:%S} UTC, and nothing was left on it"
