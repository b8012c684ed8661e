"""What the parts of the leader share: the view, its half of the protocol, and how a commit about executions is made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from skrei_domain.ids import IdSource
from skrei_domain.lifecycle import Membership
from skrei_domain.sync import LeaderSide, NodeLog
from skrei_scheduler.receipts import Verify, trust_nobody
from skrei_scheduler.work import Commit, Outgoing, SendConfirm
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, Locked
from skrei_scheduling.settle import jobs_of
from skrei_scheduling.view import ClusterView

A_PIECE = 500
"""Executions of a node that one commit makes Unknown, lost or known again: about 20 ms."""

After = Callable[[Changes, float], list[Outgoing]]


@dataclass(slots=True)
class Lead:
    """One epoch of leadership. `advance` moves the view by what was committed and returns what to send."""

    view: ClusterView
    side: LeaderSide
    epoch: int
    ids: IdSource
    keep: timedelta
    piece: int
    advance: After
    verify: Verify = trust_nobody
    newcomers: Membership = Membership.APPROVED  # what a node is that nobody knew

    def log_of(self, node_id: str) -> NodeLog | None:
        """Return how far a node's log is applied; None for one that nobody knows."""
        node = self.view.nodes.get(node_id)
        return None if node is None else NodeLog(node.incarnation, node.confirmed, node.boot_id, node.confirmed_by)

    def ask_all(self) -> list[Outgoing]:
        """Ask every node to say hello."""
        return [SendConfirm(node_id, self.side.ask_hello()) for node_id in self.view.nodes]

    def of_rows(
        self, name: str, execution_ids: Iterable[str], add: Callable[[ChangesBuilder], None], after: After | None = None
    ) -> Commit:
        """Return a commit about these executions, with their jobs locked."""

        def decide(locked: Locked) -> Changes:
            builder = ChangesBuilder(self.view, locked, self.ids)
            add(builder)
            return builder.build()

        jobs = frozenset(jobs_of(self.view, execution_ids))
        return Commit(name, jobs, frozenset(), decide, after or self.advance)
