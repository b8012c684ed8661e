"""Who waits for room, in which order, and whom a change on a node should wake.

Waiting jobs are grouped by their class of work. Within a class the order is priority, then age, then id; a class is
asked only about the nodes that changed, and only as many of its jobs are woken as those nodes may have room for.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from datetime import datetime
from heapq import nsmallest
from typing import TypeAlias

from skrei_scheduling.feasibility import accepts
from skrei_scheduling.nodes import NodeMatrix
from skrei_scheduling.rows import NOTHING, JobRow, Requirement
from skrei_scheduling.services import Service

Turn: TypeAlias = tuple[int, datetime, str]
"""Where a job stands in line: (-priority, since when its version is wanted, id)."""


def turn(job: JobRow) -> Turn:
    """Return where `job` stands in line."""
    return (-job.priority, job.since, job.id)


class WaitingLine:
    """The waiting jobs by class of work, each with how many of its units wait. A job of several tasks may wait in the
    lines of several classes.
    """

    def __init__(self) -> None:
        self._classes: dict[Requirement, list[Turn]] = {}
        self._places: dict[str, tuple[Turn, Mapping[Requirement, int]]] = {}
        self._units: dict[Requirement, int] = {}
        self._last: Mapping[Requirement, int] = NOTHING

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def put(self, job: JobRow, classes: Mapping[Requirement, int]) -> None:
        """Let so many units of the job wait in each class, in place of what waited of it before."""
        if classes != self._last:  # a long line is mostly of jobs that wait alike: they share what is kept of that
            self._last = dict(classes)
        place = (turn(job), self._last)
        if self._places.get(job.id) == place:
            return
        self.drop(job.id)
        for requirement, count in classes.items():
            insort(self._classes.setdefault(requirement, []), place[0])
            self._units[requirement] = self._units.get(requirement, 0) + count
        if classes:
            self._places[job.id] = place

    def drop(self, job_id: str) -> None:
        """The job waits no more."""
        place = self._places.pop(job_id, None)
        if place is None:
            return
        for requirement, count in place[1].items():
            line = self._classes[requirement]
            del line[bisect_left(line, place[0])]
            self._units[requirement] -= count
            if not line:
                del self._classes[requirement]
                del self._units[requirement]

    def units(self, job_id: str) -> int:
        """How many units of the job wait."""
        return sum(self.of_job(job_id).values())

    def all_units(self) -> Mapping[Requirement, int]:
        """How many units wait in each class that something waits of."""
        return self._units

    def lengths(self) -> dict[Requirement, int]:
        """How many jobs wait in each class, first in line first."""
        return {requirement: len(line) for requirement, line in sorted(self._classes.items(), key=_first)}

    def of_job(self, job_id: str) -> Mapping[Requirement, int]:
        """How many units of the job wait in each class."""
        place = self._places.get(job_id)
        return NOTHING if place is None else place[1]

    def position(self, job: JobRow, requirement: Requirement) -> int:
        """Return the job's place in its class's line, from 1, whether it stands there yet or not."""
        return bisect_left(self._classes.get(requirement, []), turn(job)) + 1

    def firsts(self, most: int) -> list[tuple[Requirement, str]]:
        """Return the first job of each class, first in line first, of at most so many classes."""
        first = nsmallest(most, ((line[0], requirement) for requirement, line in self._classes.items()), key=_place)
        return [(requirement, job_id) for (_, _, job_id), requirement in first]

    def classes(self) -> list[Requirement]:
        """Return every class that something waits of."""
        return list(self._classes)

    def line(self, requirement: Requirement) -> list[str]:
        """Return the jobs of one class, in their order; none where nothing of it waits."""
        return [job_id for _, _, job_id in self._classes.get(requirement, ())]

    def heads(self, picky: Callable[[str], bool]) -> Iterator[tuple[Requirement, list[str]]]:
        """Yield every class with its first jobs, in order: up to the first that is not picky."""
        for requirement, line in sorted(self._classes.items(), key=_first):
            heads: list[str] = []
            for _, _, job_id in line:
                heads.append(job_id)
                if not picky(job_id):
                    break
            yield requirement, heads

    def woken(
        self,
        matrix: NodeMatrix,
        touched: Collection[str],
        *,
        picky: Callable[[str], bool],
        using: Set[Service] = frozenset(),
        cached: bool = False,
    ) -> list[str]:
        """Return the jobs, first in line first, that the nodes of `touched` may have room for now; with `using` only
        those that use one of these services, with `cached` those whose inputs have to be in a node's cache.

        Room is counted as it is handed out, so that one freed place wakes one job and not a whole line. A `picky`
        job, which may not want that room, is woken without it, so that it never hides the one behind it.
        """
        classes = [
            each
            for each in self._classes.items()
            if not (using and using.isdisjoint(each[0].uses)) and not (cached and not each[0].cached)
        ]
        if not classes:
            return []  # before any node is looked at: `touched` may be all of them
        rows = [row for row in (matrix.row_of.get(node) for node in sorted(touched)) if row is not None]
        room = {row: matrix.free[:, row].tolist() for row in rows if matrix.ready[row]}
        if not room:
            return []
        woken: dict[str, None] = {}
        ports = _Ports(matrix)
        for requirement, line in sorted(classes, key=_first):
            need = requirement.resources.vector()
            # Room is asked for first: there may be thousands of classes, and mostly none for any of them.
            open_rows = [row for row, free in room.items() if fits(need, free) and accepts(requirement, matrix, row)]
            if requirement.ports:
                open_rows = [row for row in open_rows if ports.free(row, requirement.ports)]
            for wanted in requirement.cached:
                open_rows = [row for row in open_rows if matrix.cached.has(row, *wanted.keys)]
            for service in requirement.uses:
                open_rows = [row for row in open_rows if matrix.reaches(service, row)]
            if not open_rows:
                continue
            for _, _, job_id in line:
                if not any(fits(need, room[row]) for row in open_rows):
                    break
                if not picky(job_id):
                    units = self._places[job_id][1][requirement]
                    if requirement.ports:
                        open_rows = ports.hand_out(requirement, units, open_rows, room)
                    else:
                        _take(need, units, open_rows, room)
                woken[job_id] = None
        return list(woken)


class _Ports:
    """The ports that are handed out while it is found out whom to wake."""

    def __init__(self, matrix: NodeMatrix) -> None:
        self._matrix = matrix
        self._gone: set[tuple[int, int]] = set()

    def free(self, row: int, ports: tuple[int, ...]) -> bool:
        """Whether a node has all of these for one more unit."""
        return self._matrix.ports.free(row, ports) and not any((row, port) in self._gone for port in ports)

    def hand_out(self, requirement: Requirement, units: int, rows: list[int], room: dict[int, list[int]]) -> list[int]:
        """Hand out room for up to `units` units, one on each node that has it; return the nodes that are left."""
        need = requirement.resources.vector()
        taken = [row for row in rows if fits(need, room[row])][:units]
        for row in taken:
            _take(need, 1, [row], room)
            self._gone.update((row, port) for port in requirement.ports)
        return [row for row in rows if row not in taken]


def fits(need: Sequence[int], free: Sequence[int]) -> bool:
    """Whether so much is free of each kind of resource; what is not needed may even be overdrawn."""
    return not any(amount > have and amount for amount, have in zip(need, free, strict=True))


def _first(line: tuple[Requirement, list[Turn]]) -> Turn:
    return line[1][0]


def _place(first: tuple[Turn, Requirement]) -> Turn:
    return first[0]


def _take(need: tuple[int, int, int, int], units: int, rows: list[int], room: dict[int, list[int]]) -> None:
    """Hand out room for up to `units` units; what asks for nothing takes nothing."""
    left = units if any(need) else 0
    for row in rows:
        free = room[row]
        while left and fits(need, free):
            left -= 1
            for kind, amount in enumerate(need):
                free[kind] -= amount
