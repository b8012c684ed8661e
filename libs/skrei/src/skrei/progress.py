"""How far a job is: one look at it, and which attempt speaks for a partition."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from skrei.views import Execution, HistoryItem, Job

FIRST_LOOK_SECONDS = 0.05
"""The pause after the first look: a short job is told at once."""
LONGEST_PAUSE_SECONDS = 0.5
"""Pauses grow to this: what a person takes for live, and two requests a second for the API."""
PATIENCE_SECONDS = 60.0
"""How long an API that went away during a follow is asked again: longer than a restart of the whole stack."""
PAGE = 200
"""History items for one request: small enough to be fast, large enough that a wide job is read in a few."""
WIDEST = 500
"""Jobs with more partitions are followed by their history alone: their executions are too much for each look."""
_SHOWN_ID = 10
"""Characters of a node's id where it stands for its partition."""
MOST_STAGING = 32
"""Executions that are read with each look while one is being prepared; of a job with more, those that moved last."""


_TELLING = frozenset({"Staging", "Publishing"})
"""States in which an execution says what is being done for it."""
_SOON_TELLING = _TELLING | {"Offered"}


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a job. `events` are new since the last look; `executions` is the latest known, one per attempt.

    `moved` are those of a wide job that changed last, as of this look: they say how far the preparation is.
    """

    job: Job
    events: tuple[HistoryItem, ...]
    executions: tuple[Execution, ...]
    moved: tuple[Execution, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """How far the executions that are being prepared are, and what results wait for, each saying once."""
        told = self.moved or self.executions
        return tuple(dict.fromkeys(one.message for one in told if one.state in _TELLING and one.message))

    @property
    def partitions(self) -> Counter[str]:
        """How many partitions are in which state, each told by its best attempt.

        Those without one are Waiting while the job lives, and Unplaced once it has ended.
        """
        states = Counter(best.state for best in best_attempts(self.executions))
        waiting = self.job.units - states.total()
        if waiting > 0:
            states["Unplaced" if self.job.is_terminal else "Waiting"] = waiting
        return states


def stages(executions: Collection[Execution]) -> bool:
    """Whether to read executions again although nothing happened: how far a preparation is makes no history."""
    return len(executions) <= MOST_STAGING and any(one.state in _SOON_TELLING for one in executions)


def asks_who_moved(job: Job, executions: Collection[Execution]) -> bool:
    """Whether to read the executions of a wide job that changed last: all of them are too much for each look."""
    if job.is_terminal or max(job.count, len(executions)) <= MOST_STAGING:
        return False
    return job.count > WIDEST or any(one.state in _SOON_TELLING for one in executions)


def best_attempts(executions: Iterable[Execution]) -> tuple[Execution, ...]:
    """Return one execution for each partition: the one that counts (completed), else the newest.

    Those of several tasks come task by task, as the tasks began.
    """
    best: dict[tuple[str, int], Execution] = {}
    begun: dict[str, int] = {}
    for execution in executions:
        unit = (execution.task, execution.partition)
        begun.setdefault(execution.task, len(begun))
        known = best.get(unit)
        if known is None or _rank(execution) >= _rank(known):
            best[unit] = execution
    return tuple(best[unit] for unit in sorted(best, key=lambda unit: (begun[unit[0]], unit[1])))


def of_several_tasks(executions: Iterable[Execution]) -> bool:
    """Whether executions are of more than one task, so that what is told of one names its own."""
    return len({execution.task for execution in executions}) > 1


def unit_name(execution: Execution, *, named: bool, by_node: bool = False) -> str:
    """Return what an execution is an attempt of: `partition 3`, or `task test, partition 3`.

    Of a job that runs on every node (`by_node`) the partition is told as that node.
    """
    unit = f"node {execution.node_id[:_SHOWN_ID]}" if by_node else f"partition {execution.partition}"
    return f"task {execution.task}, {unit}" if named else unit


def _rank(execution: Execution) -> tuple[bool, bool, int]:
    completed = execution.state == "Completed"
    return completed, not execution.is_terminal, execution.document.get("CreateTime") or 0
