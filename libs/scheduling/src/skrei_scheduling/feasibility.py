"""Which nodes can run a class of work, and why the others cannot.

Each filter answers twice: for all nodes at once (a mask), and in a sentence for one node. Filters that refuse *for
good* look at what a node is; those that refuse *for now* look at what it is doing. Masks of the first kind are kept
per class of work and brought up to date by the rows that changed since.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from skrei_domain.constraints import Constraint, satisfied
from skrei_domain.paths import hands_out, missing_root
from skrei_domain.resources import Resources
from skrei_scheduling import reasons
from skrei_scheduling.labels import Mask, meeting_absent
from skrei_scheduling.nodes import NodeMatrix, Said
from skrei_scheduling.ranking import BYTES_POINTS, FAVOUR_POINTS, favour, hardened, is_soft
from skrei_scheduling.rows import NodeRow, Requirement, TaskPlan

CLASSES_KEPT = 1024
"""Masks kept, least recently used first out: at 10,000 nodes one class costs about 100 KB."""

CLASSES_SEEN = 50_000
"""Classes of which one node is remembered that could run them: 150 bytes each. More than that are looked at afresh."""

REFRESH_ROWS = 32
"""With more changed rows than this, computing a mask anew is cheaper than row by row."""

Passing: TypeAlias = Callable[[Requirement, NodeMatrix], Mask]
Reason: TypeAlias = Callable[[Requirement, NodeRow, NodeMatrix], str]


@dataclass(frozen=True, slots=True)
class Filter:
    """One question to a node. `passing` is a mask of those that pass; `reason` says why a node that does not."""

    name: str
    for_good: bool
    passing: Passing
    reason: Reason


# ---------------------------------------------------------------- what a node is


def _engine(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    return _having(matrix.engines, requirement.engine, matrix)


def _storages(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    mask = np.ones(matrix.rows, dtype=np.bool_)
    for storage in requirement.storages:
        mask &= _having(matrix.storages, storage, matrix)
    return mask


def _publisher(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    if not requirement.publisher:
        return np.ones(matrix.rows, dtype=np.bool_)
    return _having(matrix.publishers, requirement.publisher, matrix)


def _labels(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    mask = np.ones(matrix.rows, dtype=np.bool_)
    for constraint in requirement.constraints:
        if not is_soft(constraint):
            mask &= meeting(constraint, matrix)
    return mask


def _capacity(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    return _fitting(requirement.resources, matrix.capacity, matrix.rows)


def _local(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    if not requirement.local:
        return np.ones(matrix.rows, dtype=np.bool_)
    return np.fromiter((_hands_out(requirement, said) for said in matrix.said), dtype=np.bool_, count=matrix.rows)


def _hands_out(requirement: Requirement, said: Said) -> bool:
    if said.missing_paths and any(missing_root(path, said.missing_paths) for path in requirement.local):
        return False
    if not (requirement.owner or requirement.handed_out):
        return True
    trusts = requirement.owner and said.owner_paths
    return all(hands_out(path, said.local, owner_paths=trusts) for path in requirement.local)


def bonus(requirement: Requirement, said: Said) -> int:
    """Return the points that a node earns: by its labels, and by the wanted paths that it hands out."""
    points = favour(requirement, said.labels)
    if requirement.local:
        there = sum(hands_out(path, said.local, owner_paths=False) for path in requirement.local)
        points += BYTES_POINTS * there // len(requirement.local)
    return points


def _data(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    if not requirement.data:
        return np.ones(matrix.rows, dtype=np.bool_)
    return np.fromiter((holds(requirement, said) for said in matrix.said), dtype=np.bool_, count=matrix.rows)


def holds(requirement: Requirement, said: Said) -> bool:
    """Whether a node has all the data that a class of work wants, and lets it be written where that is wanted."""
    return all(name in said.data and (said.data[name] or not writes) for name, writes in requirement.data)


# ---------------------------------------------------------------- what a node is doing


def _member(_requirement: Requirement, matrix: NodeMatrix) -> Mask:
    return matrix.approved[: matrix.rows]


def _connected(_requirement: Requirement, matrix: NodeMatrix) -> Mask:
    return matrix.connected[: matrix.rows]


def _open(_requirement: Requirement, matrix: NodeMatrix) -> Mask:
    return matrix.open[: matrix.rows]


def _room(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    return _fitting(requirement.resources, matrix.free, matrix.rows)


def _ports(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    mask = np.ones(matrix.rows, dtype=np.bool_)
    matrix.ports.close(mask, requirement.ports)
    return mask


def _uses(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    mask = np.ones(matrix.rows, dtype=np.bool_)
    matrix.close_unreached(mask, requirement.uses)
    return mask


def _cached(requirement: Requirement, matrix: NodeMatrix) -> Mask:
    mask = np.ones(matrix.rows, dtype=np.bool_)
    matrix.cached.close(mask, (each.keys for each in requirement.cached))
    return mask


USES = "uses"
"""The filter of services: of one that nobody reaches is told once, not by every node."""

DATA = "data"
"""The filter of data sets: what a node has is part of what it is, and yet a data set may come to any node."""

HERE = Filter(DATA, False, _data, reasons.data)

FOR_GOOD = (
    Filter("engine", True, _engine, reasons.engine),
    Filter("storages", True, _storages, reasons.storages),
    Filter("publisher", True, _publisher, reasons.publisher),
    Filter("labels", True, _labels, reasons.labels),
    Filter("local", True, _local, reasons.local),
    Filter("capacity", True, _capacity, reasons.capacity),
)

FOR_NOW = (
    Filter("membership", False, _member, lambda *_: "node is not approved yet"),
    Filter("connection", False, _connected, lambda *_: "node is disconnected"),
    Filter("intake", False, _open, reasons.intake),
    Filter(USES, False, _uses, reasons.uses),
    Filter("cached", False, _cached, reasons.cached),
    Filter("room", False, _room, reasons.room),
    Filter("ports", False, _ports, reasons.ports),
)

FILTERS = (*FOR_NOW[:3], *FOR_GOOD, HERE, *FOR_NOW[3:])
"""In the order in which reasons are given: a node that is away, or closed, says only that."""


# ---------------------------------------------------------------- classes of work


@dataclass(slots=True)
class ClassMask:
    """What is known of one class of work: the rows that can run it some day, and the bonus that rows earn."""

    requirement: Requirement
    possible: Mask
    candidates: Mask  # possible, approved, connected and open
    bonus: NDArray[np.int64] | None  # see `bonus`
    needs: tuple[tuple[int, int], ...]  # (kind of resource, amount) where the amount is not zero
    version: int

    def open(self, matrix: NodeMatrix) -> Mask:
        """Return the candidates that lack nothing but room, if anything."""
        mask = self.candidates.copy()
        if self.requirement.ports:
            matrix.ports.close(mask, self.requirement.ports)
        if self.requirement.uses:
            matrix.close_unreached(mask, self.requirement.uses)
        if self.requirement.cached:
            matrix.cached.close(mask, (each.keys for each in self.requirement.cached))
        return mask

    def with_room(self, matrix: NodeMatrix) -> Mask:
        """Return the rows that can run one more unit now."""
        rows = matrix.rows
        mask = self.open(matrix)
        for kind, amount in self.needs:
            mask &= matrix.free[kind, :rows] >= amount
        return mask


class Feasibility:
    """The masks of the classes of work, each computed once and then only for the rows that changed."""

    def __init__(self, matrix: NodeMatrix) -> None:
        self.computed = 0
        """How often all nodes were looked at for one class."""
        self._matrix = matrix
        self._classes: OrderedDict[Requirement, ClassMask] = OrderedDict()
        self._seen: OrderedDict[Requirement, tuple[int, int]] = (
            OrderedDict()
        )  # (a row that can, else -1; as of version)

    def of(self, requirement: Requirement) -> ClassMask:
        """Return the class's masks as of now."""
        found = self._classes.get(requirement)
        if found is not None and found.version == self._matrix.version and len(found.possible) == self._matrix.rows:
            self._classes.move_to_end(requirement)
            return found
        fresh = self._refreshed(found) if found is not None else None
        if fresh is None:
            self.computed += 1
            fresh = compute(requirement, self._matrix)
        self._note(requirement, _first(fresh.possible))
        self._classes[requirement] = fresh
        self._classes.move_to_end(requirement)
        if len(self._classes) > CLASSES_KEPT:
            self._classes.popitem(last=False)
        return fresh

    def able(self, tasks: Sequence[TaskPlan]) -> list[str]:
        """Return the nodes that could run each of these tasks, approved and connected, by id; busy ones too."""
        mask = self.of(tasks[0].requirement).candidates.copy()
        for task in tasks[1:]:
            mask &= self.of(task.requirement).candidates
        return sorted(self._matrix.ids[row] for row in mask.nonzero()[0].tolist())

    def could(self, requirement: Requirement) -> bool:
        """Whether some node can run the class some day: what `of(requirement).possible` says, for many more classes.

        Asked again it costs a look at one node that could, or at those that have changed since none could.
        """
        matrix = self._matrix
        row, version = self._seen.get(requirement, (-1, -1))
        if version == matrix.version:
            return row >= 0
        if row >= 0 and self._can(requirement, row):
            self._note(requirement, row)
            return True
        if row < 0 <= version:
            changed = np.flatnonzero(matrix.changed[: matrix.rows] > version)
            if len(changed) <= REFRESH_ROWS:
                row = next((each for each in changed.tolist() if self._can(requirement, each)), -1)
                self._note(requirement, row)
                return row >= 0
        return bool(self.of(requirement).possible.any())

    def _can(self, requirement: Requirement, row: int) -> bool:
        return bool(self._matrix.known[row]) and accepts(requirement, self._matrix, row)

    def _note(self, requirement: Requirement, row: int) -> None:
        self._seen[requirement] = (row, self._matrix.version)
        self._seen.move_to_end(requirement)
        if len(self._seen) > CLASSES_SEEN:
            self._seen.popitem(last=False)

    def _refreshed(self, found: ClassMask) -> ClassMask | None:
        """Bring `found` up to date row by row, or return None where computing anew is cheaper."""
        matrix = self._matrix
        if len(found.possible) != matrix.rows:
            return None
        stale = np.flatnonzero(matrix.changed[: matrix.rows] > found.version)
        if len(stale) > REFRESH_ROWS:
            return None
        for row in stale.tolist():
            possible = bool(matrix.known[row]) and accepts(found.requirement, matrix, row)
            found.possible[row] = possible
            found.candidates[row] = possible and matrix.ready[row]
            if found.bonus is not None:
                found.bonus[row] = bonus(found.requirement, matrix.said[row])
        found.version = matrix.version
        return found


def _first(mask: Mask) -> int:
    """Return the first row of a mask; -1 where there is none."""
    row = int(mask.argmax()) if len(mask) else 0
    return row if len(mask) and mask[row] else -1


def compute(requirement: Requirement, matrix: NodeMatrix) -> ClassMask:
    """Compute a class's masks for every node."""
    rows = matrix.rows
    possible = matrix.known[:rows].copy()
    for check in (*FOR_GOOD, HERE):
        possible &= check.passing(requirement, matrix)
    return ClassMask(
        requirement=requirement,
        possible=possible,
        candidates=possible & matrix.ready[:rows],
        bonus=_earned(requirement, matrix),
        needs=tuple((kind, amount) for kind, amount in enumerate(requirement.resources.vector()) if amount),
        version=matrix.version,
    )


def _earned(requirement: Requirement, matrix: NodeMatrix) -> NDArray[np.int64] | None:
    """Return the `bonus` of every node; None where there is none to be had."""
    if requirement.local:
        return np.fromiter((bonus(requirement, said) for said in matrix.said), dtype=np.int64, count=matrix.rows)
    earned: NDArray[np.int64] | None = None
    for constraint in requirement.constraints:
        if is_soft(constraint):
            points = FAVOUR_POINTS * meeting(hardened(constraint), matrix).astype(np.int64)
            earned = points if earned is None else earned + points
    return earned


def accepts(requirement: Requirement, matrix: NodeMatrix, row: int) -> bool:
    """Whether one node passes every filter that looks at what it is: what `compute` says of its row."""
    said = matrix.said[row]
    return (
        requirement.engine in said.engines
        and requirement.storages <= said.storages
        and (not requirement.publisher or requirement.publisher in said.publishers)
        and (not requirement.local or _hands_out(requirement, said))
        and (not requirement.data or holds(requirement, said))
        and all(satisfied(each, said.labels) for each in requirement.constraints if not is_soft(each))
        and all(
            amount <= room
            for amount, room in zip(requirement.resources.vector(), matrix.capacity[:, row].tolist(), strict=True)
            if amount
        )
    )


def meeting(constraint: Constraint, matrix: NodeMatrix) -> Mask:
    """Which nodes meet one label condition."""
    column = matrix.labels.get(constraint.key)
    return meeting_absent(constraint, matrix.rows) if column is None else column.meeting(constraint, matrix.rows)


def _having(masks: dict[str, Mask], name: str, matrix: NodeMatrix) -> Mask:
    mask = masks.get(name)
    return np.zeros(matrix.rows, dtype=np.bool_) if mask is None else mask[: matrix.rows]


def _fitting(amounts: Resources, room: NDArray[np.int64], rows: int) -> Mask:
    mask = np.ones(rows, dtype=np.bool_)
    for kind, amount in enumerate(amounts.vector()):
        if amount:
            mask &= room[kind, :rows] >= amount
    return mask
