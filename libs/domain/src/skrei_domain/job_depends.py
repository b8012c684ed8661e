"""Which tasks of a job wait for others: `DependsOn`, what inputs from other tasks add to it, and every rule of both.

A task waits for all partitions of what it depends on, or (`Partition: same`) each of its partitions for the one of the
same index. An input of the type `task` is a dependency too, whether `DependsOn` names it or not.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skrei_domain.job_reading import Keys, Reading, given

TASK_INPUT = "task"
"""The type of an input that is another task's result."""

_DEPENDS = Keys("Task", "Partition")
_PARTITIONS = {"all": "all", "same": "same"}
_OTHER = "the name of another task of this job"

Params = Mapping[str, object]


@dataclass(frozen=True, slots=True, order=True)
class Dependency:
    """A task that another one waits for: all of its partitions, or the one of the `same` index."""

    task: str
    same: bool = False

    def document(self) -> object:
        """Return it as people write it: a name, or an object."""
        return {"Task": self.task, "Partition": "same"} if self.same else self.task


def dependency(raw: object) -> object:
    """Return the Dependency that a stored value means; any other value as it is."""
    if isinstance(raw, str):
        return Dependency(raw)
    if isinstance(raw, Mapping):
        return Dependency(str(raw.get("Task", "")), raw.get("Partition") == "same")
    return raw


def all_needs(said: Iterable[Dependency], inputs: Iterable[tuple[str, Params]]) -> tuple[Dependency, ...]:
    """Return what a task waits for, in order: what it says, then what its inputs (type, params) come from."""
    found = {each.task: each for each in said}
    for kind, params in inputs:
        if kind.lower() == TASK_INPUT and isinstance(name := given(params, "Task"), str):
            found.setdefault(name, Dependency(name))
    return tuple(found.values()) if found else ()


def read_depends(reading: Reading, raw: object, path: str) -> list[Dependency] | None:
    """Return what `DependsOn` says, None where it says nothing. Whether there are such tasks is looked at later."""
    if raw is None:
        return None
    found = [
        _read_one(reading, item, f"{path}.DependsOn[{index}]")
        for index, item in enumerate(reading.items(raw, f"{path}.DependsOn"))
    ]
    reading.unique([(f"{path}.DependsOn[{i}]", each.task) for i, each in enumerate(found)], "task")
    return found or None


def _read_one(reading: Reading, raw: object, path: str) -> Dependency:
    if isinstance(raw, str):
        return Dependency(reading.needed(raw, path))
    if not isinstance(raw, Mapping):
        reading.wrong(path, raw, "a task's name, or {Task: name, Partition: same}")
        return Dependency("")
    record = reading.record(raw, path, _DEPENDS)
    name = reading.needed(record.get("Task"), f"{path}.Task")
    return Dependency(name, reading.choice(record.get("Partition"), f"{path}.Partition", _PARTITIONS, "all") == "same")


def check_depends(reading: Reading, tasks: Sequence[Mapping[str, Any]], count: int) -> None:
    """Note every dependency that cannot be: on no task of the job, on itself, in a circle, on another index.

    `tasks` have been read; `count` is the job's own, which a task without one has.
    """
    if not any(task.get("DependsOn") or _takes_from_tasks(task) for task in tasks):
        return
    counts = {task["Name"]: count if task.get("Count") is None else task["Count"] for task in tasks}
    before = len(reading.problems)
    for index, task in enumerate(tasks):
        for place, each in enumerate(task.get("DependsOn") or ()):
            where = f"Tasks[{index}].DependsOn[{place}]"
            if each.task.strip():
                _check_name(reading, task["Name"], each.task, counts, where)
            if each.same and counts.get(each.task, counts[task["Name"]]) != counts[task["Name"]]:
                allowed = (
                    f"all: {each.task!r} has {counts[each.task]} partitions, {task['Name']!r} {counts[task['Name']]}"
                )
                reading.wrong(f"{where}.Partition", "same", allowed)
        for place, (kind, params) in enumerate(_inputs(task)):
            if kind.lower() == TASK_INPUT and isinstance(name := given(params, "Task"), str) and name.strip():
                where = f"Tasks[{index}].InputSources[{place}].Source.Params.Task"
                _check_name(reading, task["Name"], name, counts, where)
    if len(reading.problems) == before:
        needs = {
            task["Name"]: [each.task for each in all_needs(task.get("DependsOn") or (), _inputs(task))]
            for task in tasks
        }
        if circle := find_circle(needs):
            index = list(needs).index(circle[0])
            reading.wrong(f"Tasks[{index}].DependsOn", " -> ".join(circle), "no circle: it would wait for itself")


def find_circle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the first tasks found that wait for each other in a circle, the first one again at the end; else none.

    What is named and not among the keys waits for nothing.
    """
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        stack = [(start, iter(needs[start]))] if start not in done else []
        while stack:
            name, rest = stack[-1]
            if len(path) < len(stack):
                path.append(name)
            following = next((each for each in rest if each not in done), None)
            if following is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            else:
                stack.append((following, iter(needs.get(following, ()))))
    return []


def task_input_params(reading: Reading, params: Params, path: str) -> None:
    """Note every wrong parameter of an input that is another task's result."""
    if (name := given(params, "Task")) is None:
        reading.missing(f"{path}.Task", _OTHER)
    elif not (isinstance(name, str) and name.strip()):
        reading.wrong(f"{path}.Task", name, _OTHER)
    inside = given(params, "Path")
    if inside is not None and not is_inside(inside):
        reading.wrong(
            f"{path}.Path", inside, "a path inside of that task's result, such as `stdout` or `outputs/a.csv`"
        )


def is_inside(path: object) -> bool:
    """Whether a text names a place below the folder that it is looked up in; empty is that folder itself."""
    return isinstance(path, str) and not path.startswith("/") and ".." not in path.split("/") and "\0" not in path


def _check_name(reading: Reading, own: str, name: str, counts: Mapping[str, int], path: str) -> None:
    if name != own and name in counts:
        return
    others = [each for each in counts if each != own]
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.6)
    reading.wrong(path, name, _OTHER + (f"; did you mean {near[0]!r}?" if near and name != own else ""))


def _takes_from_tasks(task: Mapping[str, Any]) -> bool:
    return any(kind.lower() == TASK_INPUT for kind, _ in _inputs(task))


def _inputs(task: Mapping[str, Any]) -> list[tuple[str, Params]]:
    return [(item["Source"]["Type"], item["Source"]["Params"]) for item in task.get("InputSources") or ()]
