"""How much of what a task reads lies on each node already, and what that is worth to whoever ranks nodes.

What lies in place (data sets, paths that nodes hand out) counts with the size that its node has measured; what is
fetched with the size that a node which has it told, or the list that the job is pinned to; else like the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skrei_domain.amounts import amount
from skrei_scheduling import texts
from skrei_scheduling.nodes import FULL, NodeMatrix
from skrei_scheduling.rows import JobRow, TaskPlan

HEAVY_BYTES = 16 * 1024**2
"""From here on inputs that are there outweigh everything but room; of less, so much less. A tenth of a second on a
fast line, a second on a slow one: what is moved sooner than that is no reason to leave other nodes idle."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """What nodes have of a task's inputs, by row.

    `share` is what `ranking` takes: thousandths of what is wanted, less where that is little. `moves`: a node that
    lacks some of it would have to fetch what another one has.
    """

    share: NDArray[np.int64]
    moves: bool


def nearness(job: JobRow, task: TaskPlan, matrix: NodeMatrix, partition: int | None = None) -> Nearness | None:
    """Return what nodes have of the inputs of a partition, or of what all partitions read (None); None where none has
    any.
    """
    rows = matrix.rows
    told = _sizes(job, task, matrix, partition)
    there = [key for key in told if matrix.cached.anywhere(key)]
    placed = [found[:rows] for found in _in_place(task, matrix) if found.size]
    if not rows or not (there or placed):
        return None
    sizes = _guessed(told)
    have = np.zeros(rows)
    moves = False
    for key in there:
        mask = matrix.cached.having(key, rows)
        moves = moves or bool(mask.any())
        have += mask * sizes[key]
    wanted = sum(sizes.values())
    for found in placed:
        have += found
        wanted += float(found.max())
    if wanted <= 0 or not have.any():
        return None
    share = have * (FULL * min(wanted / HEAVY_BYTES, 1.0) / wanted)
    return Nearness(share.astype(np.int64), moves)


def why(job: JobRow, task: TaskPlan, matrix: NodeMatrix, node_id: str, partition: int) -> str:
    """Return what a node has of a partition's inputs, as a reason to choose it; empty where that is none."""
    row = matrix.row_of[node_id]
    told = _sizes(job, task, matrix, partition)
    there = [key for key in told if matrix.cached.has(row, key)]
    placed = [int(found[row]) for found in _in_place(task, matrix) if found.size]
    if not there and not any(placed):
        return ""
    if None in told.values():
        return texts.HAS_INPUTS.format(have=len(there) + len(placed), wanted=len(told) + len(placed))
    have = sum(placed) + sum(told[key] or 0 for key in there)
    wanted = sum(placed) + sum(size or 0 for size in told.values())
    return texts.HAS_BYTES.format(have=amount(have), wanted=amount(wanted))


def _sizes(job: JobRow, task: TaskPlan, matrix: NodeMatrix, partition: int | None) -> dict[str, int | None]:
    """Return the keys of what is fetched for a partition, or for any (None), each with its size: as a node told that
    has it, else as the list says that the job is pinned to; None where neither does.
    """
    found: dict[str, int | None] = {}
    for each in task.inputs:
        if partition is None and each.dealt_out and task.count > 1:
            continue
        key = each.key_of(partition or 0, task.count)
        size = matrix.cached.size(key)
        if size is None and (listed := job.manifests.get((task.name, each.place))) is not None:
            size = listed.size_bytes // listed.parts
        found[key] = size
    return found


def _guessed(told: Mapping[str, int | None]) -> dict[str, float]:
    """Return sizes for all: what nobody has told is like the others on average."""
    known = [size for size in told.values() if size is not None]
    usual = sum(known) / len(known) if known else float(HEAVY_BYTES)
    return {key: usual if size is None else float(size) for key, size in told.items()}


def _in_place(task: TaskPlan, matrix: NodeMatrix) -> list[NDArray[np.int64]]:
    """Return, for each input that lies in place, how large it is on each node; empty where nobody has measured it."""
    nothing = np.zeros(0, dtype=np.int64)
    sets = [matrix.data_bytes.get(wanted.name, nothing) for wanted in task.requirement.data]
    # Where a result is to stay, or a folder is made and written, nothing has to lie before.
    read = [each.path for each in task.requirement.local if not (each.writes and each.creates)]
    return [*sets, *(_size_of(path, matrix) for path in read)]


def _size_of(path: str, matrix: NodeMatrix) -> NDArray[np.int64]:
    """Return how much lies at a path on each node, or below the nearest path above it that was measured."""
    while path:
        found = matrix.path_bytes.get(path)
        if found is not None:
            return found
        path = path.rstrip("/").rpartition("/")[0]
    return np.zeros(0, dtype=np.int64)
