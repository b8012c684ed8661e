"""Nodes that fall silent or leave: when that is believed, and how it is told, piece by piece."""

from collections import deque

from skrei_domain.lifecycle import Connection
from skrei_scheduler.lead import Lead
from skrei_scheduler.welcome import take
from skrei_scheduler.work import Commit, Outgoing, Report
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes
from skrei_scheduling.membership import HEARTBEAT_TIMEOUT, disconnect_into, half_silent, live_on, quiet_into

SELF_SUSPICION_SECONDS = 120.0
"""When a third of the nodes falls silent at once it is probably us: they get so much longer."""

SELF_SUSPICION_NODES = 3
"""Fewer silent nodes than this are believed to be silent."""


class Silence:
    """Who is not heard, and whose silence is not told to its end."""

    def __init__(self, lead: Lead, now: float) -> None:
        self._lead = lead
        self._since = now  # silence counts from here: takeover, our reconnect, a jump of our clock
        self._suspect_until = float("-inf")
        self._last_tick = now
        self.leaving: dict[str, str] = {}  # node -> why
        self._quieting = {  # silent nodes: why, and what is not Unknown yet; the leader before us may have left some
            node_id: (lead.view.nodes[node_id].error, deque(left)) for node_id, left in half_silent(lead.view).items()
        }

    @property
    def seconds(self) -> float:
        """How long a node may be silent."""
        return self._lead.side.heartbeat_seconds * self._lead.side.missed

    @property
    def pending(self) -> bool:
        """Whether there is something to commit."""
        return bool(self.leaving or self._quieting)

    def count_from(self, now: float) -> None:
        """Nobody was silent until now: we were deaf, stopped, or somebody else."""
        self._since = now

    def leave(self, node_id: str, why: str) -> None:
        """A node said that it leaves."""
        self.leaving[node_id] = why

    def heard_again(self, node_id: str) -> None:
        """What was left of a node's silence is not told any more."""
        self.leaving.pop(node_id, None)
        self._quieting.pop(node_id, None)

    def tick(self, now: float) -> None:
        """Look who is silent; when many are at once, suspect ourselves first."""
        if now - self._last_tick > max(2.0, self._lead.side.heartbeat_seconds):
            self._since = now  # we were stopped, or our clock jumped
        self._last_tick = now
        heard = self._lead.side.heard
        connected = [n.id for n in self._lead.view.nodes.values() if n.connection is Connection.CONNECTED]
        silent = [each for each in connected if now - max(heard(each), self._since) > self.seconds]
        if now < self._suspect_until:
            return
        if not silent:
            self._suspect_until = float("-inf")  # they were back in time: the next silence is looked at afresh
            return
        at_once = len(silent) >= SELF_SUSPICION_NODES and len(silent) * 3 > len(connected)
        if at_once and self._suspect_until == float("-inf"):
            self._suspect_until = now + SELF_SUSPICION_SECONDS
            return
        self._suspect_until = float("-inf")
        for node_id in silent:
            self.leaving.setdefault(node_id, HEARTBEAT_TIMEOUT)

    def disconnect(self) -> Commit:
        """Disconnect the nodes that left, all at once; what lives on them is told piece by piece, here and later."""
        view = self._lead.view
        leaving, self.leaving = self.leaving, {}
        gone = {node_id: why for node_id, why in leaving.items() if node_id in view.nodes}
        for node_id, why in gone.items():
            self._quieting[node_id] = (why, deque(live_on(view, node_id)))
        some: list[str] = []
        for _, left in self._quieting.values():
            some += take(left, self._lead.piece - len(some))

        def add(builder: ChangesBuilder) -> None:
            for node_id, why in gone.items():
                disconnect_into(builder, [node_id], error=why)
            quiet_into(builder, some)

        def after(changes: Changes, now: float) -> list[Outgoing]:
            for node_id in gone:
                self._lead.side.forget(node_id)
            reports: list[Outgoing] = []
            for node_id in [node_id for node_id, (_, left) in self._quieting.items() if not left]:
                reason, _ = self._quieting.pop(node_id)
                reports.append(Report("node_disconnected", {"node_id": node_id, "reason": reason}))
            return reports + self._lead.advance(changes, now)

        return self._lead.of_rows("silence", some, add, after)
