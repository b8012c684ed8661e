"""The order of a job's tasks: which units may begin, and which of them become free when others are won."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator

from skrei_domain.job_depends import Dependency
from skrei_scheduling.rows import TaskPlan, Unit


class Graph:
    """The tasks of one version of a job that has an order, and how far they are; it learns of units by `win` alone."""

    def __init__(self, tasks: Iterable[TaskPlan], won: Iterable[Unit] = ()) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._followers: defaultdict[str, list[TaskPlan]] = defaultdict(list)
        for task in self._tasks.values():
            for need in task.needs:
                self._followers[need.task].append(task)
        self._left = Counter({task.name: task.count for task in self._tasks.values()})
        self._won: set[Unit] = set()
        self._add(won)

    def ready(self, unit: Unit) -> bool:
        """Whether all that a unit waits for is won."""
        return self._is_ready(unit, frozenset(), {})

    def win(self, units: Iterable[Unit]) -> list[Unit]:
        """Take in that units are won; return those that may begin from now on, in the order of tasks."""
        fresh = self._add(units)
        return list(self._freed(fresh, frozenset(), {}))

    def frees(self, units: Collection[Unit]) -> bool:
        """Whether there are units that may begin once these, too, are won."""
        fresh = {unit for unit in units if unit not in self._won}
        return next(self._freed(fresh, fresh, Counter(task for task, _ in fresh)), None) is not None

    def _add(self, units: Iterable[Unit]) -> set[Unit]:
        fresh = {unit for unit in units if unit not in self._won and unit[0] in self._tasks}
        self._won |= fresh
        self._left.subtract(task for task, _ in fresh)
        return fresh

    def _freed(
        self, fresh: Collection[Unit], also: Collection[Unit], less: Counter[str] | dict[str, int]
    ) -> Iterator[Unit]:
        """Yield each unit that waited for one of `fresh`, and for nothing any more where `also` is won too."""
        touched = {task for task, _ in fresh}
        for task in self._tasks.values():
            needs = [need for need in task.needs if need.task in touched]
            for partition in self._perhaps(task, needs, fresh, less):
                if self._is_ready((task.name, partition), also, less):
                    yield task.name, partition

    def _perhaps(
        self, task: TaskPlan, needs: list[Dependency], fresh: Collection[Unit], less: Counter[str] | dict[str, int]
    ) -> Iterable[int]:
        """Return the partitions of a task that something new has happened for: none while a whole task is awaited."""
        if not needs or any(self._awaited(need, less) for need in task.needs):
            return ()
        if all(need.same for need in needs):
            names = {need.task for need in needs}
            return sorted({partition for name, partition in fresh if name in names})
        return range(task.count)

    def _awaited(self, need: Dependency, less: Counter[str] | dict[str, int]) -> bool:
        return not need.same and self._left[need.task] > less.get(need.task, 0)

    def _is_ready(self, unit: Unit, also: Collection[Unit], less: Counter[str] | dict[str, int]) -> bool:
        for need in self._tasks[unit[0]].needs:
            if need.same:
                wanted = (need.task, unit[1])
                if wanted not in self._won and wanted not in also:
                    return False
            elif self._awaited(need, less):
                return False
        return True
