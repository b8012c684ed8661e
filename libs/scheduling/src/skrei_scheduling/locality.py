"""How much of what a task reads lies on each node already, how near the rest is, and what that is worth to rankings.

What lies in place (data sets, paths that nodes hand out) counts with the size that its node has measured; what is
fetched with the size that a node which has it told, or the list that the job is pinned to; else like the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from skrei_domain.amounts import amount
from skrei_scheduling import texts
from skrei_scheduling.labels import Mask
from skrei_scheduling.nodes import FULL, NodeMatrix
from skrei_scheduling.rows import JobRow, KeyedInput, TaskPlan

HEAVY_BYTES = 16 * 1024**2
"""From here on inputs that are there outweigh everything but room; of less, so much less. A tenth of a second on a
fast line, a second on a slow one: what is moved sooner than that is no reason to leave other nodes idle."""


HALF_MICROS = 10_000
"""A server that is so far away is half as near as one beside the node: ten milliseconds are another region."""

_Keys: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Nearness:
    """What nodes have of a task's inputs, and how near they are to where the rest comes from, by row.

    `share` is what `ranking` takes: thousandths of what is wanted, less where that is little. `moves`: a node that
    lacks some of it would have to fetch what another one has. `close` are thousandths too, 1000 beside the servers of
    all that is wanted; None where that tells no node from another.
    """

    share: NDArray[np.int64]
    moves: bool
    close: NDArray[np.int64] | None = None


def nearness(job: JobRow, task: TaskPlan, matrix: NodeMatrix, partition: int | None = None) -> Nearness | None:
    """Return what nodes have of the inputs of a partition, or of what all partitions read (None), and how near they
    are to the servers of others; None where that tells no node from another.
    """
    rows = matrix.rows
    told = _sizes(job, task, matrix, partition)
    there = [keys for keys in told if matrix.cached.anywhere(keys)]
    placed = [found[:rows] for found in _in_place(task, matrix) if found.size]
    far = _far(job, task, matrix) if partition is None else None
    if not rows or not (there or placed or far is not None):
        return None
    sizes = _guessed(told)
    have = np.zeros(rows)
    moves = False
    for keys in there:
        mask = matrix.cached.having(keys, rows)
        moves = moves or bool(mask.any())
        have += mask * sizes[keys]
    wanted = sum(sizes.values())
    for found in placed:
        have += found
        wanted += float(found.max())
    if far is None and (wanted <= 0 or not have.any()):
        return None
    share = have * (_weight(wanted) * FULL / max(wanted, 1.0))
    return Nearness(share.astype(np.int64), moves, far)


def why(job: JobRow, task: TaskPlan, matrix: NodeMatrix, node_id: str, partition: int) -> str:
    """Return what a node has of a partition's inputs, or how near it is to them, as a reason to choose it; empty where
    that is none.
    """
    row = matrix.row_of[node_id]
    told = _sizes(job, task, matrix, partition)
    there = [keys for keys in told if matrix.cached.has(row, *keys)]
    placed = [int(found[row]) for found in _in_place(task, matrix) if found.size]
    if not there and not any(placed):
        return _reaches(task, matrix, row)
    if None in told.values():
        return texts.HAS_INPUTS.format(have=len(there) + len(placed), wanted=len(told) + len(placed))
    have = sum(placed) + sum(told[keys] or 0 for keys in there)
    wanted = sum(placed) + sum(size or 0 for size in told.values())
    return texts.HAS_BYTES.format(have=amount(have), wanted=amount(wanted))


def reached(task: TaskPlan, number: int, matrix: NodeMatrix) -> Mask | None:
    """Return which nodes have measured how far the server of a task's input is; None where no node has."""
    for each in task.inputs:
        if each.place == number and (micros := _micros(each, matrix)) is not None:
            return micros[: matrix.rows] > 0
    return None


def _reaches(task: TaskPlan, matrix: NodeMatrix, row: int) -> str:
    """Return how far the server of a task's first input is from a node; empty where no node has measured one."""
    for each in task.inputs:
        for name in each.servers:
            if found := matrix.said[row].near.get(name):
                return texts.REACHES.format(server=name or texts.ITS_OWN, millis=f"{found / 1000:.3g}")
    return ""


def _far(job: JobRow, task: TaskPlan, matrix: NodeMatrix) -> NDArray[np.int64] | None:
    """Return how near each node is to where its inputs come from; None where no two are known that differ.

    A node that does not know a server counts as the nearest that does: it is to find out, and not to stay idle.
    """
    rows, total, wanted = matrix.rows, np.zeros(matrix.rows), 0.0
    for each in task.inputs:
        micros = _micros(each, matrix)
        if micros is None:
            continue
        near = HALF_MICROS / (HALF_MICROS + micros[:rows].astype(float))
        nearest = float(np.where(micros[:rows] > 0, near, 0.0).max(initial=0.0))
        size = _told(job, task, each, matrix, 0)
        size = HEAVY_BYTES if size is None else size
        total += np.where(micros[:rows] > 0, near, nearest) * size
        wanted += size
    if wanted <= 0 or total.min(initial=0.0) == total.max(initial=0.0) == 0.0:
        return None
    close: NDArray[np.int64] = (total * (_weight(wanted) * FULL / wanted)).astype(np.int64)
    return close if close.min() != close.max() else None


def _micros(wanted: KeyedInput, matrix: NodeMatrix) -> NDArray[np.int64] | None:
    """Return how far nodes are from where an input comes from, by the first name that they know; 0 for none."""
    found: NDArray[np.int64] | None = None
    for name in wanted.servers:
        micros = matrix.near.of(name, matrix.rows)
        if micros is not None:
            found = micros if found is None else np.where(found > 0, found, micros)
    return found


def _weight(wanted: float) -> float:
    return min(wanted / HEAVY_BYTES, 1.0)


def _sizes(job: JobRow, task: TaskPlan, matrix: NodeMatrix, partition: int | None) -> dict[_Keys, int | None]:
    """Return the keys of what is fetched for a partition, or for any (None), each with its size: as a node told that
    has it, else as the list says that the job is pinned to; None where neither does.
    """
    return {
        each.keys_of(partition or 0, task.count): _told(job, task, each, matrix, partition or 0)
        for each in task.inputs
        if partition is not None or not (each.dealt_out and task.count > 1)
    }


def _told(job: JobRow, task: TaskPlan, wanted: KeyedInput, matrix: NodeMatrix, partition: int) -> int | None:
    size = matrix.cached.size(wanted.keys_of(partition, task.count)[0])
    if size is None and (listed := job.manifests.get((task.name, wanted.place))) is not None:
        size = listed.size_bytes // listed.parts
    return size


def _guessed(told: Mapping[_Keys, int | None]) -> dict[_Keys, float]:
    """Return sizes for all: what nobody has told is like the others on average."""
    known = [size for size in told.values() if size is not None]
    usual = sum(known) / len(known) if known else float(HEAVY_BYTES)
    return {keys: usual if size is None else float(size) for keys, size in told.items()}


def _in_place(task: TaskPlan, matrix: NodeMatrix) -> list[NDArray[np.int64]]:
    """Return, for each input that lies in place, how large it is on each node; empty where nobody has measured it."""
    nothing = np.zeros(0, dtype=np.int64)
    told = (matrix.data_bytes.of(each.name, matrix.rows) for each in task.requirement.data)
    sets = [nothing if each is None else each for each in told]
    # Where a result is to stay, or a folder is made and written, nothing has to lie before.
    read = [each.path for each in task.requirement.local if not (each.writes and each.creates)]
    return [*sets, *(_size_of(path, matrix) for path in read)]


def _size_of(path: str, matrix: NodeMatrix) -> NDArray[np.int64]:
    """Return how much lies at a path on each node, or below the nearest path above it that was measured."""
    while path:
        found = matrix.path_bytes.of(path, matrix.rows)
        if found is not None:
            return found
        path = path.rstrip("/").rpartition("/")[0]
    return np.zeros(0, dtype=np.int64)
