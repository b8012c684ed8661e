"""The `task` storage: what an earlier task of the same job left, unpacked where a later one reads it.

A task of one partition is there as it left it; of several, each lies in a folder named by its index. `Path` names a
file or folder of each result, such as `stdout` or `outputs/model`; without it the whole result is taken.
"""

import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path, PurePosixPath

from skrei_domain.job_depends import is_inside
from skrei_domain.job_reading import FieldProblem, show
from skrei_plugin_api.engine import Mount
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginInfo, param
from skrei_plugin_api.storage import BlobReader, SourceSpec, StageFailed, StageLimits, StageProblem, Storage, TaskResult
from skrei_plugin_basic.unpack import Unpacked, unpack_aside

_TASK = "the name of another task of the job"
_PATH = "a path inside of that task's result, such as `stdout` or `outputs/a.csv`"


class TaskStorage(Storage):
    """Stages the results of the task that `Task` names, as far as the one that reads them waits for them."""

    plugin_api = PLUGIN_API
    name = "task"
    version = "0.5.0"

    async def describe(self) -> PluginInfo:
        """Say that it works everywhere."""
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every wrong parameter."""
        problems = []
        task, path = param(params, "Task"), param(params, "Path")
        if not (isinstance(task, str) and task.strip()):
            problems.append(FieldProblem("Task", show(task), _TASK))
        if path is not None and not is_inside(path):
            problems.append(FieldProblem("Path", show(path), _PATH))
        return problems

    async def size(self, source: SourceSpec) -> int | None:
        """Return None: the results are not known before they are asked for."""
        del source
        return None

    async def stage(self, source: SourceSpec, folder: Path, limits: StageLimits, blobs: BlobReader) -> Mount:
        """Unpack the results. Raises StageFailed; SkreiError when one cannot be had."""
        if problems := self.validate(source.params):
            raise StageFailed(StageProblem.INVALID, "; ".join(str(problem) for problem in problems))
        task: str = param(source.params, "Task")
        inside = PurePosixPath(param(source.params, "Path") or ".")
        whole = folder / "whole"
        whole.mkdir(parents=True)
        taken: _Taken | None = None
        async with aclosing(_results(blobs, task)) as results:
            async for result in results:
                if taken is None or taken.folder != result.folder:
                    _put(taken, inside, task, whole)
                    taken = _Taken(result.folder, folder / f"aside-{result.folder}")
                done = await taken.add(result, inside, limits)
                limits = _less(limits, done)
        if taken is None:
            raise StageFailed(StageProblem.MISSING, f"task {task!r} left no result")
        if not taken.folder:
            return Mount(taken.found(inside, task), source.target)
        _put(taken, inside, task, whole)
        return Mount(whole, source.target)


async def _results(blobs: BlobReader, task: str) -> AsyncGenerator[TaskResult, None]:
    async for result in blobs.results(task):
        yield result


class _Taken:
    """What came of one partition, which may be in several archives: its paths may have gone to several places."""

    def __init__(self, folder: str, aside: Path) -> None:
        self.folder = folder
        self._aside = aside
        self._names: set[str] = set()

    async def add(self, result: TaskResult, inside: PurePosixPath, limits: StageLimits) -> Unpacked:
        """Unpack what is wanted of an archive, beside what there is of others."""
        if not self._aside.exists():
            done = await unpack_aside(result.archive, self._aside, limits, inside)
        else:
            more = self._aside.with_name(f"{self._aside.name}-more")
            done = await unpack_aside(result.archive, more, limits, inside)
            for each in list(more.iterdir()):
                if (self._aside / each.name).exists():
                    raise StageFailed(StageProblem.INVALID, f"a result has {each.name!r} twice")
                each.rename(self._aside / each.name)
            more.rmdir()
        self._names |= set(done.names)
        return done

    def found(self, inside: PurePosixPath, task: str) -> Path:
        """Return where what is wanted lies. Raises StageFailed."""
        place = self._aside / inside
        if place.exists():
            return place
        which = f"partition {self.folder} of task {task!r}" if self.folder else f"task {task!r}"
        raise StageFailed(
            StageProblem.MISSING,
            f"the result of {which} has no {str(inside)!r}; it holds {', '.join(sorted(self._names)) or 'nothing'}",
        )

    def drop(self) -> None:
        """Remove what was not moved."""
        shutil.rmtree(self._aside, ignore_errors=True)


def _put(taken: _Taken | None, inside: PurePosixPath, task: str, whole: Path) -> None:
    """Move a partition's folder to its new name; a file keeps its own, in a folder of that name."""
    if taken is None:
        return
    place, into = taken.found(inside, task), whole / taken.folder
    if not place.is_dir():
        into.mkdir()
        into = into / place.name
    place.rename(into)
    taken.drop()


def _less(limits: StageLimits, done: Unpacked) -> StageLimits:
    """Return what is left for the results to come: all of them are one input."""
    return replace(
        limits, max_bytes=max(limits.max_bytes - done.total_bytes, 0), max_files=max(limits.max_files - done.entries, 0)
    )
