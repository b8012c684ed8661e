"""An update that finds no place because the old version is in it: which old execution makes way for a new one.

One at a time, and only where no other node could ever do: it is the one moment in which fewer than `Count` are ready.
"""

from collections.abc import Iterable, Sequence, Set

import numpy as np

from skrei_scheduling import texts
from skrei_scheduling.rollout import going_back
from skrei_scheduling.rows import ExecutionRow, JobRow, Requirement, TaskPlan
from skrei_scheduling.view import ClusterView
from skrei_scheduling.waiting import fits, turn


def making_way(
    view: ClusterView, job: JobRow, waiting: Iterable[TaskPlan], old: Sequence[ExecutionRow]
) -> tuple[ExecutionRow, str] | None:
    """Return which of `old`, that are still wanted, is stopped for a task of which a unit has no place; None for none.

    It makes way by its ports, where each node that could run the task lacks one of them, and nobody before the job in
    line waits for them; by its room too where it is not ready, so that nobody has anything of it, or where the job goes
    back from a version. What is being stopped already is waited for, but not on a silent node: it may hold its room
    for ever.
    """
    if any(row.revoked and row.holds and view.hears(row.node_id) for row in view.of_job(job.id)):
        return None
    for task in waiting:
        need = task.requirement
        ports = bool(need.ports) and not _has_ports_somewhere(view, need)
        any_room = ports or going_back(job)
        for row in sorted(old, key=lambda row: (row.is_ready, row.task != task.name, row.job_version, row.id)):
            if (row.is_ready and not any_room) or not _would_do(view, need, row):
                continue
            held = {port.port for port in row.ports} & set(need.ports)
            if row.is_ready and held and _others_wait_for(view, job, row.node_id, held):
                continue  # it would be theirs
            named = "port " + ", ".join(map(str, sorted(held))) if held else "room"
            return row, texts.STOP_MADE_WAY.format(what=named)
    return None


def _others_wait_for(view: ClusterView, job: JobRow, node_id: str, ports: Set[int]) -> bool:
    """Whether somebody who waits for these ports, and could have them on that node, is before the job in line."""
    node = view.matrix.row_of[node_id]
    for need in view.waiting.classes():
        if ports.isdisjoint(need.ports) or not view.feasibility.of(need).candidates[node]:
            continue
        first = next((each for each in view.waiting.line(need) if each != job.id), "")
        if first and turn(view.jobs[first]) < turn(job):
            return True
    return False


def _has_ports_somewhere(view: ClusterView, need: Requirement) -> bool:
    """Whether some node that could run a task has the ports for it, and lacks room alone."""
    mask = view.feasibility.of(need).candidates.copy()
    view.matrix.ports.close(mask, need.ports)
    return bool(mask.any())


def _would_do(view: ClusterView, need: Requirement, row: ExecutionRow) -> bool:
    """Whether a node has a place once an execution has ended there."""
    matrix = view.matrix
    node = matrix.row_of.get(row.node_id)
    if node is None or not row.holds or not view.feasibility.of(need).candidates[node]:
        return False
    mine = {port.port for port in row.ports}
    if any(port not in mine and not matrix.ports.free(node, (port,)) for port in need.ports):
        return False
    if not all(matrix.reaches(service, node) for service in need.uses):
        return False
    if not all(matrix.cached.has(node, *each.keys) for each in need.cached):
        return False
    free = matrix.free[:, node] + np.array(row.reserved.vector())
    return fits(need.resources.vector(), free.tolist())
