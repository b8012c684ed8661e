"""Nodes that drain, once a second: what has to be stopped there by now is, piece by piece."""

from datetime import datetime

from skrei_scheduler.lead import Lead
from skrei_scheduler.work import Commit
from skrei_scheduling import draining
from skrei_scheduling.builder import ChangesBuilder


class Drains:
    """Looks at draining nodes after each tick, until nothing of them is due."""

    def __init__(self, lead: Lead) -> None:
        self._lead = lead
        self._look = False

    def tick(self) -> None:
        """Time has passed."""
        self._look = True

    def next(self, wall: datetime) -> Commit | None:
        """Return the next commit; `wall` is the record's time."""
        due = draining.due(self._lead.view, wall) if self._look else []
        self._look = bool(due)
        if not due:
            return None
        some = due[: self._lead.piece]

        def add(builder: ChangesBuilder) -> None:
            draining.end_into(builder, some)

        return self._lead.of_rows("drain", some, add)
