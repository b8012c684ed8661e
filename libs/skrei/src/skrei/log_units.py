"""Whose output is meant: one execution of each task and partition. Pure."""

from collections.abc import Iterable

from skrei.log_query import LogQuery
from skrei.views import Execution
from skrei_domain.lifecycle import NUMBERS, ExecutionState


def chosen(executions: Iterable[Execution], query: LogQuery) -> tuple[Execution, ...]:
    """Return the newest execution of each unit that a query means, in the order of tasks and partitions."""
    newest: dict[tuple[str, int], Execution] = {}
    for one in executions:  # oldest first
        unit = (one.task, one.partition)
        meant = query.task in ("", unit[0]) and query.partition in (None, unit[1])
        before = newest.get(unit)
        if meant and not (before is not None and before.state == "Completed"):
            newest[unit] = one
    return tuple(newest[unit] for unit in sorted(newest))


def speaks(execution: Execution) -> bool:
    """Return whether an execution has output to follow: it runs, or did when its node was last heard of."""
    return (
        execution.state in ("Running", "Stopping", "Unknown")
        and execution.state_number >= NUMBERS[ExecutionState.RUNNING]
    )
