"""How each task of a job of several stands, from what its executions and results add up to. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skrei_domain.lifecycle import LIVE, ExecutionState, JobState
from skrei_domain.spec import JobSpec, TaskSpec


@dataclass(slots=True)
class Sums:
    """What there is of one task: its partitions that have a result, those that were ever tried, executions by state."""

    won: int = 0
    partitions: int = 0
    states: dict[ExecutionState, int] = field(default_factory=dict)
    failure: str = ""
    """What the last execution that failed said."""

    @property
    def live(self) -> int:
        """How many executions have not ended."""
        return sum(count for state, count in self.states.items() if state in LIVE)


def summed(states: Iterable[Mapping[str, Any]], units: Iterable[Mapping[str, Any]]) -> dict[str, Sums]:
    """Return what rows of the record come to: executions by task and state, and the units of each task."""
    sums = {row["task"]: Sums(row["won"], row["partitions"]) for row in units}
    for row in states:
        state = ExecutionState(row["state"])
        sums[row["task"]].states[state] = row["count"]
        if state is ExecutionState.FAILED:
            sums[row["task"]].failure = row["message"] or ""
    return sums


def counts_of(spec: JobSpec, holders: int | None) -> dict[str, int]:
    """Return how many partitions each task has; one that is split has as many as there are holders of its data."""
    return {task.name: (holders or 0) if task.split is not None else spec.count_of(task) for task in spec.tasks}


def task_states(
    spec: JobSpec, state: JobState, planned: Mapping[str, int], sums: Mapping[str, Sums]
) -> list[dict[str, Any]]:
    """Return the tasks in their order, each with its state and why; nothing for a job of one task."""
    if len(spec.tasks) < 2:
        return []
    counts = {name: count or sums.get(name, Sums()).partitions for name, count in planned.items()}
    return [_told(task, state, counts, sums) for task in spec.tasks]


def _told(task: TaskSpec, job: JobState, counts: Mapping[str, int], all_sums: Mapping[str, Sums]) -> dict[str, Any]:
    sums, count = all_sums.get(task.name, Sums()), counts[task.name]
    waits = [] if sums.states else _waits_for(task, counts, all_sums)
    state = _state(sums, count, job, waits=bool(waits))
    told: dict[str, Any] = {
        "Name": task.name,
        "State": state,
        "Count": count,
        "Completed": sums.won,
        "Running": sums.live,
        "DependsOn": [need.task for need in task.needs],
    }
    message = sums.failure if state == "Failed" else f"waits for {', '.join(waits)}" if state == "Pending" else ""
    return told | ({"Message": message} if message else {})


def _state(sums: Sums, count: int, job: JobState, *, waits: bool) -> str:
    if count and sums.won >= count:
        return "Completed"
    if not job.is_terminal:
        return "Running" if sums.live or sums.won else "Pending" if waits else "Queued"
    if sums.states.get(ExecutionState.FAILED):
        return "Failed"
    if not sums.states:
        return "Completed" if job is JobState.COMPLETED else "Skipped"
    return "Stopped"


def _waits_for(task: TaskSpec, counts: Mapping[str, int], all_sums: Mapping[str, Sums]) -> Sequence[str]:
    """Return the tasks that are not done, each with how far it is."""
    found = []
    for need in task.needs:
        won = all_sums.get(need.task, Sums()).won
        if won < counts[need.task]:
            found.append(f"{need.task} ({won} of {counts[need.task]})")
    return found
