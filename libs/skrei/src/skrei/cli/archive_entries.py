"""The files of a job's stored results, entry by entry, as they stream in: nothing is unpacked to disk."""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import IO

from skrei import calls
from skrei.cli.ask import Ask
from skrei.cli.doors import opened
from skrei.cli.references import node_named, task_named
from skrei.cli.texts import capital, short
from skrei.errors import DownloadFailed, Rejected
from skrei.job_parts import Result
from skrei.views import Job

SILENCE_SECONDS = 30.0
"""Between two pieces of a download."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whose results are meant; what is not said means all."""

    task: str = ""
    partition: int | None = None
    node: str = ""

    def of(self, job: Job, found: Sequence[Result]) -> list[Result]:
        """Return those of a job's results that are meant. Raises Rejected for a task or node that there is none of."""
        task = task_named(self.task, job) if self.task else ""
        node = node_named(self.node, found) if self.node else ""
        return [
            one
            for one in found
            # Of a job of one task the API does not say which.
            if (not task or one.task in (task, ""))
            and self.partition in (None, one.partition)
            and node in ("", one.node_id)
        ]

    def __str__(self) -> str:
        told = [f"task {self.task}"] if self.task else []
        told += [f"partition {self.partition}"] if self.partition is not None else []
        told += [f"node {self.node}"] if self.node else []
        return ", ".join(told) or "the job"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a result."""

    of: Result
    path: str
    size: int
    is_folder: bool
    content: IO[bytes] | None


def kept_results(ask: Ask, job: Job, choice: Choice) -> list[Result]:
    """Return where the results of a job lie, in the order of tasks and partitions. Raises Rejected for none.

    What stays on its node is among them, whether it can be looked into from here or not.
    """
    there = [one for one in choice.of(job, ask.send(calls.results(job.id)).items) if one.url or one.left_at]
    if not there:
        raise Rejected(
            f"{capital(str(choice))} has no results to look into.",
            hint=f"How it stands: skrei describe {short(job.id)}",
        )
    return there


def entries(endpoint: str, result: Result, path: str = "") -> Iterator[Entry]:
    """Yield what a result holds; the content of one is read before the next is asked for. Raises DownloadFailed.

    Where only what lies at or below `path` can be had, that is all; of what stays on its node, what is told of it.
    """
    if not result.url:
        return
    try:
        with (
            opened(endpoint, result.url_of(path), silence_seconds=SILENCE_SECONDS) as response,
            tarfile.open(fileobj=response, mode="r|gz") as archive,
        ):
            for member in archive:
                path = member.name.removeprefix("./")
                if path not in ("", ".") and (member.isfile() or member.isdir()):
                    content = archive.extractfile(member) if member.isfile() else None
                    yield Entry(result, path, member.size, member.isdir(), content)
                archive.members = []  # type: ignore[attr-defined]  # the library keeps every entry that it has passed
    except BrokenPipeError:
        raise  # whoever reads our output has gone
    except (OSError, HTTPException, tarfile.TarError, EOFError) as error:
        raise DownloadFailed(
            f"The result could not be read: {error}.", hint="Ask again; `skrei get` resumes."
        ) from error
