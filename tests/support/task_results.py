"""What earlier tasks left, as a storage asks for it, without a network."""

import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from skrei_plugin_api.storage import StageFailed, StageProblem, TaskResult


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz of these files, after a folder for each, as results are packed."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        folders = sorted({parent for name in files for parent in Path(name).parents if parent != Path()}, key=str)
        for folder in folders:
            entry = tarfile.TarInfo(str(folder))
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


class Results:
    """Results of tasks by name: one of a single partition, or one of each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tasks: dict[str, list[TaskResult]] = {}

    def put(self, task: str, *partitions: Mapping[str, bytes] | bytes) -> None:
        found = []
        for number, files in enumerate(partitions):
            data = files if isinstance(files, bytes) else packed(files)
            path = self._folder / f"{hashlib.sha256(data).hexdigest()}.tar.gz"
            path.write_bytes(data)
            found.append(TaskResult(path, str(number) if len(partitions) > 1 else ""))
        self._tasks[task] = found

    def beside(self, task: str, files: Mapping[str, bytes]) -> None:
        """Let each partition of a task have left these too, in an archive of its own."""
        path = self._folder / "beside.tar.gz"
        path.write_bytes(packed(files))
        folders = dict.fromkeys(each.folder for each in self._tasks[task])
        more = [TaskResult(path, folder) for folder in folders]
        self._tasks[task] = sorted([*self._tasks[task], *more], key=lambda each: each.folder)

    async def results(self, task: str) -> AsyncIterator[TaskResult]:
        if task not in self._tasks:
            raise StageFailed(StageProblem.MISSING, f"the result of task {task!r} is not kept any more")
        for result in self._tasks[task]:
            yield result

    async def fetch(self, digest: str) -> Path:
        raise StageFailed(StageProblem.MISSING, f"there is no {digest}")

    def keep(self, data: bytes) -> Path:
        raise AssertionError("nothing is kept here")
