"""A node held for the first in line: small jobs may overtake a large one, but not for ever.

What fits is placed, whoever stands before it; so a job that needs most of a node could wait for as long as smaller ones
keep coming. Once the first in line has waited `HOLD_AFTER`, one node is held for it: nobody behind it in line is placed
there, so what runs there ends and nothing takes its place. For a job of which a unit runs none is held: it gets on, one
unit after the other, and small jobs may have what is left beside it. At any time one node of the cluster is held at
most: that is what this rule can cost.

The node is the one that lacks the least. That is worked out anew for every plan and needs no memory: on a held node
the lack only shrinks, and another one is chosen only where it lacks less still, so some node comes to have room.
"""

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from skrei_domain.ids import short
from skrei_domain.lifecycle import ExecutionState
from skrei_scheduling.feasibility import ClassMask
from skrei_scheduling.labels import Mask
from skrei_scheduling.nodes import TIE_BITS, NodeMatrix
from skrei_scheduling.rows import JobRow
from skrei_scheduling.view import ClusterView, covers
from skrei_scheduling.waiting import Turn, turn

HOLD_AFTER = timedelta(minutes=1)
"""How long the first in line is overtaken before a node is held for it: most of what runs ends within that."""

LINES_READ = 16
"""Classes of work whose first job is looked at, in order: those further back are not the first in line for long."""

_TIES = (1 << TIE_BITS) - 1


@dataclass(frozen=True, slots=True)
class Held:
    """The node that is held, and for which job."""

    node_id: str
    job_id: str
    turn: Turn

    def closed_to(self, job: JobRow) -> bool:
        """Whether `job` may not be placed on the node: it stands behind the one for which it is held."""
        return turn(job) > self.turn

    @property
    def reason(self) -> str:
        """What is told to those who may not have the node."""
        return f"is held for job {short(self.job_id)}, which is before this one in line"


def closed_to(kept_back: Held | None, job: JobRow) -> Held | None:
    """Return what is held for somebody before `job` in line, if anything is."""
    return kept_back if kept_back is not None and kept_back.closed_to(job) else None


def held(
    view: ClusterView, now: datetime, evaluated: Container[str] = (), *, after: timedelta = HOLD_AFTER
) -> Held | None:
    """Return which node is held, or None where nobody has waited long enough for one.

    One who fits now and is `evaluated` by this very plan needs none: it is placed before those behind it.
    """
    for requirement, job_id in view.waiting.firsts(LINES_READ):
        job = view.jobs[job_id]
        if now - job.since < after or job.by_node or _gets_on(view, job):
            continue
        work = view.feasibility.of(requirement)
        open_rows = _open(work, view.matrix, job)
        fits = (work.with_room(view.matrix) & open_rows).any()
        if open_rows.any() and not (fits and job_id in evaluated):
            return Held(view.matrix.ids[_nearest(work, view.matrix, open_rows)], job.id, turn(job))
    return None


def _gets_on(view: ClusterView, job: JobRow) -> bool:
    """Whether a unit of the job runs: when it ends, its room is there for the next one, whoever stands behind."""
    return any(covers(row, job) and row.state is not ExecutionState.UNKNOWN for row in view.of_job(job.id))


def _open(work: ClassMask, matrix: NodeMatrix, job: JobRow) -> Mask:
    """Return the candidates that no unit of the job avoids; all of them where there are no such.

    One on which a port is taken that the job wants is none: to hold its room would not help.
    """
    avoided = frozenset[str]().union(*job.refused_by.values())
    candidates = work.open(matrix)
    others = candidates.copy()
    others[[matrix.row_of[each] for each in avoided if each in matrix.row_of]] = False
    return others if others.any() else candidates


def _nearest(work: ClassMask, matrix: NodeMatrix, open_rows: Mask) -> int:
    """Return the row that lacks the least."""
    rows = matrix.rows
    lack = np.zeros(rows, dtype=np.int64)
    for kind, amount in work.needs:
        lack = np.maximum(lack, np.maximum(amount - matrix.free[kind, :rows], 0) * 1000 // amount)
    found = np.flatnonzero(open_rows)
    return int(found[np.lexsort((matrix.order[found] & _TIES, lack[found]))[0]])
