"""What a node reads of a command: its task, parsed once, and why this node would not take it."""

from functools import lru_cache

from pydantic import ValidationError

from skrei_domain.errors import SkreiError
from skrei_domain.node import NodeInfo
from skrei_domain.resources import Resources
from skrei_domain.spec import TaskSpec

KEPT_TASKS = 32
"""Texts of tasks that are kept read: some megabytes where all are as long as a spec may be."""


class InvalidTask(SkreiError):
    """The task of a command cannot be read: nothing of it can run."""

    code = "invalid-task"


@lru_cache(KEPT_TASKS)
def read_task(task_json: str) -> tuple[TaskSpec, Resources]:
    """Return the task of a command and exactly what it reserves. Raises InvalidTask naming what is wrong.

    The partitions of a job, and the jobs of a burst, have one text, which is read once: nobody changes what it says.
    """
    try:
        task = TaskSpec.model_validate_json(task_json)
        return task, task.resources.amounts()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise InvalidTask(f"the task cannot be read: {wrong}") from error
    except ValueError as error:
        raise InvalidTask(f"the task cannot be read: {error}") from error


def why_not(task: TaskSpec, needs: Resources, info: NodeInfo, free: Resources) -> str:
    """Return why a node that is `info` with `free` room refuses the task; empty when it takes it."""
    engines = {plugin.name.casefold() for plugin in info.engines}
    if task.engine.type.casefold() not in engines:
        return f"this node has no engine {task.engine.type!r}, only {_names(engines)}"
    storages = {plugin.name.casefold() for plugin in info.storages}
    for source in task.input_sources:
        if source.source.type.casefold() not in storages:
            return f"this node has no storage {source.source.type!r}, only {_names(storages)}"
    if not needs.fits(free):
        return f"this node has no room: needs {_amounts(needs)}, free are {_amounts(free)}"
    return ""


def stages_at_once(task: TaskSpec) -> bool:
    """Whether every input comes with the command (or by digest, from us): then the start is journaled with it."""
    return all(source.source.type.casefold() == "inline" for source in task.input_sources)


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _amounts(amount: Resources) -> str:
    parts = [
        f"{amount.cpu_milli}m CPU",
        f"{amount.memory_bytes} bytes of memory",
        f"{amount.disk_bytes} bytes of disk",
    ]
    return ", ".join([*parts, f"{amount.gpu} GPUs"] if amount.gpu else parts)
