"""Commands that their nodes have not been seen to apply: repeated, asked about, and given up in the end."""

from dataclasses import dataclass

from skrei_domain.lifecycle import Want
from skrei_scheduler.lead import Lead
from skrei_scheduler.work import Commit, Outgoing, SendCommands, SendConfirm
from skrei_scheduling.membership import unanswered_into
from skrei_scheduling.rows import ExecutionRow

REPEAT_AFTER_SECONDS = 1.0
"""A command that stays unseen for so long is sent again."""

ASK_AFTER_SECONDS = 10.0
"""An offer unanswered while its node heartbeats: ask the node to say hello."""

GIVE_UP_AFTER_SECONDS = 30.0
"""Then revoke it and try elsewhere."""


@dataclass(slots=True)
class _Offer:
    """A command that its node has not been seen to apply."""

    revision: int
    since: float
    asked: bool = False


class Offers:
    """The open commands of a leader; a new one knows them from the record, and counts from its takeover."""

    def __init__(self, lead: Lead) -> None:
        self._lead = lead
        self._offers: dict[str, _Offer] = {}
        self._overdue: list[str] = []

    @property
    def overdue(self) -> bool:
        """Whether there are offers to give up, as of the last look."""
        return bool(self._overdue)

    def note(self, row: ExecutionRow, now: float) -> None:
        """Take in what an execution has become."""
        if row.revision > row.seen_revision and (row.live or row.holds):
            offer = self._offers.get(row.id)
            if offer is None or offer.revision != row.revision:
                self._offers[row.id] = _Offer(row.revision, now)
        else:
            self._offers.pop(row.id, None)

    def restart(self, node_id: str, now: float) -> None:
        """A node that was away has had no time to answer: its offers wait from now on."""
        for row in self._lead.view.of_node(node_id):
            if offer := self._offers.get(row.id):
                offer.since, offer.asked = now, False

    def repeat(self, now: float) -> list[Outgoing]:
        """Repeat what stayed unseen for a second; after ten, ask the node what it knows."""
        by_node: dict[str, list[ExecutionRow]] = {}
        ask: set[str] = set()
        for execution_id, offer in self._offers.items():
            row = self._row(execution_id)
            if row is None or now - offer.since < REPEAT_AFTER_SECONDS:
                continue
            if now - offer.since > ASK_AFTER_SECONDS and not offer.asked:
                offer.asked = True
                ask.add(row.node_id)
            if self._lead.side.greeted(row.node_id):
                by_node.setdefault(row.node_id, []).append(row)
        out: list[Outgoing] = [SendCommands(node_id, tuple(rows)) for node_id, rows in by_node.items()]
        return out + [SendConfirm(node_id, self._lead.side.ask_hello()) for node_id in sorted(ask)]

    def look(self, now: float) -> None:
        """Find what has waited too long."""
        found = []
        for execution_id, offer in self._offers.items():
            if now - offer.since > GIVE_UP_AFTER_SECONDS:
                row = self._row(execution_id)
                if row is not None and row.live and row.want is Want.RUN:
                    found.append(execution_id)
        self._overdue = found[: self._lead.piece]

    def give_up(self) -> Commit:
        """Return the commit that revokes what is overdue."""
        overdue = [each for each in self._overdue if each in self._offers and each in self._lead.view.executions]
        self._overdue = []
        for execution_id in overdue:
            self._offers.pop(execution_id, None)
        return self._lead.of_rows("unanswered", overdue, lambda builder: unanswered_into(builder, overdue))

    def _row(self, execution_id: str) -> ExecutionRow | None:
        """Return an execution whose node is there."""
        view = self._lead.view
        row = view.executions.get(execution_id)
        return row if row is not None and view.hears(row.node_id) else None
