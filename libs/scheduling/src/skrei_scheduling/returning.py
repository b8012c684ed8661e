"""An execution whose node is back: whether it is again what it was, or the one that took its place goes on.

Where nobody stands for its unit it is what it was. Of a batch the first result decides (`Offline.OnReturn`), and until
then it stays Unknown. A service has no results: whoever is ready goes on, its replacement first.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ExecutionState
from skrei_scheduling import texts
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, OnReturn, Unit, timed
from skrei_scheduling.view import ClusterView

_ASKS = frozenset({texts.TRIGGER_NODE_BACK, texts.TRIGGER_RETRY})


@dataclass(slots=True)
class Returning:
    """What a look does about Unknown executions whose nodes are connected."""

    again: list[ExecutionRow]  # are what they were, from now on
    stop: list[tuple[ExecutionRow, str]]
    swapped: bool = False  # there is more to decide once this is written

    def left(self, rows: Iterable[ExecutionRow], now: datetime) -> list[ExecutionRow]:
        """Return the rows as they are after it; what became ready where nobody heard it is ready since `now`."""
        again, stopped = {row.id for row in self.again}, {row.id for row, _ in self.stop}
        stay = (row for row in rows if row.id not in stopped)
        return [timed(row, replace(row, state=row.observed), now) if row.id in again else row for row in stay]


def silent(rows: Iterable[ExecutionRow]) -> dict[Unit, list[ExecutionRow]]:
    """Return the executions of every unit that has an Unknown one."""
    units: dict[Unit, list[ExecutionRow]] = {}
    for row in rows:
        units.setdefault(row.unit, []).append(row)
    return {unit: rows for unit, rows in units.items() if any(row.state is ExecutionState.UNKNOWN for row in rows)}


def returning(
    view: ClusterView, job: JobRow, current: Iterable[ExecutionRow], evaluations: Iterable[Evaluation]
) -> Returning:
    """Return what becomes of those of `current`, wanted and of one version, that are Unknown and can be heard.

    Of a batch only where somebody asks for that: a large node that returns is known again piece by piece.
    """
    found = Returning([], [])
    if job.kind is not Kind.SERVICE and all(each.trigger not in _ASKS for each in evaluations):
        return found
    for rows in silent(current).values():
        others = [row for row in rows if row.state is not ExecutionState.UNKNOWN]
        heard = [row for row in rows if row.state is ExecutionState.UNKNOWN and view.hears(row.node_id)]
        heard.sort(key=lambda row: (not row.serves, row.attempt))
        if not heard:
            continue
        if not others:
            found.again.append(heard[0])
            found.swapped |= len(heard) > 1 and job.kind is Kind.SERVICE  # the rest is decided about with the next look
        elif job.kind is Kind.SERVICE:
            _of_a_service(job, heard, others, found)
    return found


def _of_a_service(job: JobRow, heard: list[ExecutionRow], others: list[ExecutionRow], found: Returning) -> None:
    """Decide between executions of one unit that are `heard` again and `others` that stand for it."""
    oldest = min(row.attempt for row in heard) < min(row.attempt for row in others)
    wanted = job.offline.on_return is OnReturn.KEEP_ORIGINAL and oldest
    if not wanted and any(row.is_ready for row in others):
        found.stop += [(row, texts.STOP_REPLACED) for row in heard]
    elif heard[0].serves:
        found.stop += [(row, texts.STOP_ORIGINAL_BACK) for row in others]
        found.swapped = True
