"""A hello that was accepted, on its way into the record: in commits of a bounded size, however much the node holds.

In order: what the node's journal has lost, piece by piece; then the node's own row, which answers the hello; then what
was Unknown or has ended there, piece by piece. Each piece can be the last one of a leader. Before the node's row has
moved, the next hello finds what is left of the first part; after it, a new leader asks for a hello and finds the rest.
A node that falls silent, or says hello again, ends it: what is left belongs to that.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from skrei_domain.lifecycle import Connection, ExecutionState, Membership
from skrei_domain.messages import Hello
from skrei_domain.sync import Greeting, NodeLog
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.membership import gone_from, lose_into, revive_into, revive_rows_into, to_revive
from skrei_scheduling.memory import renewed
from skrei_scheduling.rows import NodeRow
from skrei_scheduling.view import ClusterView

LOST_BY_JOURNAL = "its node's journal was replaced"


@dataclass(slots=True)
class Welcome:
    """One node's hello. `lost` are executions to give up before its row moves, `left` those to revive after."""

    hello: Hello
    reply_to: str
    greeting: Greeting
    log: NodeLog
    listed: Mapping[str, tuple[ExecutionState, int]]
    lost: deque[str] = field(default_factory=deque)
    left: deque[str] = field(default_factory=deque)
    answered: bool = False

    @classmethod
    def of(cls, hello: Hello, reply_to: str, greeting: Greeting, log: NodeLog) -> "Welcome":
        """Return the welcome of a hello that came to `greeting`, with the node's log from now on."""
        listed = {item.execution_id: (item.state, item.revision) for item in greeting.listed.values()}
        return cls(hello, reply_to, greeting, log, listed, deque(greeting.lost))

    @property
    def done(self) -> bool:
        """Whether nothing is left to commit."""
        return self.answered and not self.left

    def begin(self, view: ClusterView) -> list[str]:
        """Look at what the node holds now, when its row is about to move; return what else it has lost."""
        lost = gone_from(view, self.hello.node_id, self.listed, self.log.incarnation)
        given_up = set(lost)
        self.left = deque(each for each in to_revive(view, self.hello.node_id, self.listed) if each not in given_up)
        self.lost.clear()
        return lost

    def register_into(
        self,
        builder: ChangesBuilder,
        lost: list[str],
        some: list[str],
        *,
        keep: timedelta,
        newcomers: Membership = Membership.APPROVED,
    ) -> None:
        """Move the node's row to what it said, with the last of what it lost and the first of what is back."""
        hello, log = self.hello, self.log
        base = builder.node(hello.node_id) or NodeRow(hello.node_id, hello.info, newcomers)
        joined = base.connection is Connection.DISCONNECTED or base.boot_id != hello.boot_id
        same = base.incarnation == log.incarnation  # facts may have been taken since the hello was looked at
        fresh = replace(
            renewed(base, hello.info, builder.locked.now, keep=keep),
            connection=Connection.CONNECTED,
            boot_id=log.boot_id,
            incarnation=log.incarnation,
            confirmed=base.confirmed if same else log.confirmed,
            confirmed_by=base.confirmed_by if same else log.confirmed_by,
            connected_since=builder.locked.now if joined else base.connected_since,
            disconnected_since=None,
            error="",
        )
        lose_into(builder, lost, LOST_BY_JOURNAL)
        revive_into(builder, fresh, self.listed, some)

    def revive_into(self, builder: ChangesBuilder, some: list[str]) -> None:
        """Bring back some more, unless the node has meanwhile left or is another one."""
        node = builder.node(self.hello.node_id)
        if node is None or node.connection is not Connection.CONNECTED:
            return
        if (node.boot_id, node.incarnation) == (self.log.boot_id, self.log.incarnation):
            revive_rows_into(builder, node, self.listed, some)


def take(ids: deque[str], most: int) -> list[str]:
    """Take up to `most` ids out, the first ones."""
    return [ids.popleft() for _ in range(min(most, len(ids)))]
