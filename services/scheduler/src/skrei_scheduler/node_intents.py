"""What users want of nodes, carried out, one commit of bounded size after the other: approved, rejected, deleted,
closed, drained, labelled.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

from skrei_domain.lifecycle import Connection, Intake, Membership, NodeAction
from skrei_scheduler.lead import Lead
from skrei_scheduler.work import Commit, Outgoing, Report, SendConfirm
from skrei_scheduling import texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes
from skrei_scheduling.membership import abandon_into, live_on, lose_into
from skrei_scheduling.memory import relabelled
from skrei_scheduling.rows import NodeIntent, NodeRow

_ENDS = frozenset({NodeAction.REJECT, NodeAction.DELETE})
_MOVES = frozenset({NodeAction.CORDON, NodeAction.UNCORDON, NodeAction.DRAIN})

REJECTED = "node rejected"
"""What stands at a rejected node as its last error where nobody said why."""


class NodeIntents:
    """Intents that wait for a commit. `gone` is called with a node that is not to be heard any further, `look_at` with
    one of which the services are to move, or to stay after all.
    """

    def __init__(self, lead: Lead, gone: Callable[[str], None], look_at: Callable[[str], None]) -> None:
        self._lead = lead
        self._gone = gone
        self._look_at = look_at
        self._waiting: dict[int, NodeIntent] = {}

    def __bool__(self) -> bool:
        """Whether something is wanted of a node."""
        return bool(self._waiting)

    def take(self, intents: Iterable[NodeIntent]) -> None:
        """Take what the record holds; a repeat is the same intent."""
        for intent in intents:
            self._waiting[intent.number] = intent

    def next(self) -> Commit:
        """Return the next commit of the oldest intent: what lives on the node piece by piece, then the node."""
        intent = self._waiting[min(self._waiting)]
        node = self._lead.view.nodes.get(intent.node_id)
        left = [] if node is None else self._concerned(intent)
        some = left[: self._lead.piece]
        if len(some) < len(left):
            return self._lead.of_rows("node-intent", some, lambda builder: self._rows_into(builder, intent, some))
        return self._last(intent, some, node)

    def _concerned(self, intent: NodeIntent) -> list[str]:
        """Return the executions that the intent concerns and that it has not dealt with."""
        view = self._lead.view
        match intent.action:
            case NodeAction.DELETE:
                return [row.id for row in view.of_node(intent.node_id) if not row.staged]
            case NodeAction.REJECT:
                return live_on(view, intent.node_id)
            case _:
                return []

    def _rows_into(self, builder: ChangesBuilder, intent: NodeIntent, execution_ids: list[str]) -> None:
        if intent.action is NodeAction.DELETE:
            lose_into(builder, execution_ids, texts.NODE_DELETED)
            return
        # Who was told to stop already ends with that; the others are told now, and their units go elsewhere.
        rows = [row for each in execution_ids if (row := builder.row(each)) is not None]
        lose_into(builder, [row.id for row in rows if row.revoked], texts.NODE_REJECTED)
        abandon_into(
            builder, [row.id for row in rows if not row.revoked], texts.STOP_NODE_REJECTED, texts.REJECTED_CODE
        )

    def _last(self, intent: NodeIntent, some: list[str], node: NodeRow | None) -> Commit:
        lead = self._lead

        def add(builder: ChangesBuilder) -> None:
            self._rows_into(builder, intent, some)
            known = builder.node(intent.node_id)
            if known is not None:
                _node_into(builder, intent, known, keep=lead.keep)
            builder.carried_out(intent.number)

        def after(changes: Changes, now: float) -> list[Outgoing]:
            out = lead.advance(changes, now)  # before the node is forgotten: it is told to stop what it runs
            self._waiting.pop(intent.number, None)
            if intent.action in _ENDS:
                self._gone(intent.node_id)
            elif intent.action in _MOVES:
                self._look_at(intent.node_id)
            elif node is not None and node.connection is Connection.DISCONNECTED:
                out.append(SendConfirm(intent.node_id, lead.side.ask_hello()))
            told = {"node_id": intent.node_id, "action": intent.action.value, "message": intent.message}
            out.append(Report("node_changed", told))
            return out

        return lead.of_rows("node-intent", some, add, after)


def _node_into(builder: ChangesBuilder, intent: NodeIntent, node: NodeRow, *, keep: timedelta) -> None:
    now = builder.locked.now
    match intent.action:
        case NodeAction.APPROVE:
            builder.put_node(replace(node, membership=Membership.APPROVED, error=""))
        case NodeAction.REJECT:
            away = node.connection is Connection.CONNECTED
            builder.put_node(
                replace(
                    node,
                    membership=Membership.REJECTED,
                    connection=Connection.DISCONNECTED,
                    connected_since=None,
                    disconnected_since=builder.locked.now if away else node.disconnected_since,
                    error=f"{REJECTED}: {intent.message}" if intent.message else REJECTED,
                )
            )
        case NodeAction.DELETE:
            builder.remove_node(node.id)
        case NodeAction.CORDON:
            builder.put_node(replace(node, intake=Intake.CORDONED, drain_until=None))
        case NodeAction.UNCORDON:
            builder.put_node(replace(node, intake=Intake.OPEN, drain_until=None))
        case NodeAction.DRAIN:
            until = None if intent.seconds is None else now + timedelta(seconds=intent.seconds)
            builder.put_node(replace(node, intake=Intake.DRAINING, drain_until=until))
        case NodeAction.LABEL:
            kept = {key: value for key, value in node.labels.items() if key not in intent.labels}
            given = {key: value for key, value in intent.labels.items() if value is not None}
            builder.put_node(relabelled(node, kept | given, now, keep=keep))
