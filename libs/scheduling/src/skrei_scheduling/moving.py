"""Executions of a service whose node drains: others take their places first, and only then are they stopped.

One that is `leaving` goes on serving and stands for its unit no more, so that the planner places another elsewhere. Per
task at most as many are leaving at once as an update may add (`Update.Surge`). Where no other finds a place it serves
until the drain's deadline, and stays where the drain ends before anybody has come.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from skrei_domain.lifecycle import ExecutionState
from skrei_scheduling import texts
from skrei_scheduling.rows import ExecutionRow, JobRow, Unit
from skrei_scheduling.view import ClusterView


@dataclass(slots=True)
class Moving:
    """What a look does about them. `left` stand for their units once this is written."""

    left: list[ExecutionRow] = field(default_factory=list)
    leave: list[ExecutionRow] = field(default_factory=list)
    stay: list[ExecutionRow] = field(default_factory=list)
    stop: list[tuple[ExecutionRow, str]] = field(default_factory=list)

    @property
    def more(self) -> bool:
        """Whether there is more to decide once this is written."""
        return bool(self.leave or self.stay)


def moving(view: ClusterView, job: JobRow, current: Iterable[ExecutionRow], now: datetime) -> Moving:
    """Return what becomes of those of `current`, wanted and of one version, that are leaving or have to."""
    found = Moving()
    leaving: list[ExecutionRow] = []
    for row in current:
        (leaving if row.leaving else found.left).append(row)
    if not leaving and not any(view.drains(row.node_id) for row in found.left):
        return found
    stands: dict[Unit, ExecutionRow] = {}
    for row in found.left:
        if row.state is not ExecutionState.UNKNOWN or row.unit not in stands:
            stands[row.unit] = row
    going: Counter[str] = Counter()
    for row in leaving:
        other = stands.get(row.unit)
        if other is not None and (other.settled(now, job.update.min_ready) or not row.serves):
            found.stop.append((row, texts.STOP_MOVED))
        elif other is None and not view.drains(row.node_id):
            found.stay.append(row)
            stands[row.unit] = row
        else:
            going[row.task] += 1
    for row in list(found.left):
        if view.drains(row.node_id) and going[row.task] < max(job.update.surge, 1):
            going[row.task] += 1
            found.leave.append(row)
            found.left.remove(row)
    found.left += found.stay
    return found
