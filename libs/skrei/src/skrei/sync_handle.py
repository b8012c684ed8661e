"""One job for the blocking client; each method does what its asynchronous twin promises."""

import os
from collections.abc import Iterator
from typing import Self

from skrei import calls
from skrei.job_handle import AsyncJobHandle
from skrei.job_parts import Endpoint, Result
from skrei.job_results import AsyncResults
from skrei.loop import Loop
from skrei.progress import Progress
from skrei.results import Fetched, NoMeter
from skrei.views import Event, Execution, HistoryItem, Job, JobDetails, LogLine


class JobHandle:
    """One job. What it says (`state`, `message`, …) is as old as the last look: `refresh` and `wait` look again."""

    def __init__(self, loop: Loop, job: AsyncJobHandle) -> None:
        self._loop = loop
        self._job = job

    def __repr__(self) -> str:
        return repr(self._job)

    @property
    def view(self) -> Job:
        """The job as it was last read."""
        return self._job.view

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the API remarked on the submission, such as a field that it does not know."""
        return self._job.warnings

    @property
    def id(self) -> str:
        """Its id, `j-…`."""
        return self._job.id

    @property
    def name(self) -> str:
        """Its name: what it was given, else its id."""
        return self._job.name

    @property
    def version(self) -> int:
        """Which version this is, from 1."""
        return self._job.version

    @property
    def state(self) -> str:
        """Pending, Queued, Running, Completed, Failed or Stopped."""
        return self._job.state

    @property
    def message(self) -> str:
        """Why it is in this state, where there is more to say: for example what it waits for."""
        return self._job.message

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen to this version."""
        return self._job.is_terminal

    def refresh(self) -> Self:
        """Look again, which costs little where nothing has changed; returns itself."""
        self._loop.do(self._job.refresh)
        return self

    def wait(self, *, timeout: float | None = None, check: bool = False) -> Self:
        """Return itself once it is terminal. Raises WaitTimeout after `timeout` seconds; the job then goes on.

        With `check`, raises JobFailed where it ended otherwise than Completed, as `subprocess.run` does.
        """
        self._loop.do(self._job.wait, timeout=timeout, check=check)
        return self

    def wait_ready(self, *, timeout: float | None = None) -> Self:
        """Return itself once every replica of this version of a service is ready, as its checks say.

        Raises JobFailed where the service ends, has gone back to an earlier version because this one was not ready in
        time, or was updated meanwhile; WaitTimeout after `timeout` seconds.
        """
        self._loop.do(self._job.wait_ready, timeout=timeout)
        return self

    def follow(self) -> Iterator[Progress]:
        """Yield what changed, at least once, until the job is terminal."""
        return self._loop.each(self._job.follow())

    def describe(self) -> JobDetails:
        """Return the job with its executions, the beginning of its history, and where it is reached."""
        return self._loop.do(self._job.describe)

    def executions(self, *, all_versions: bool = False) -> tuple[Execution, ...]:
        """Return every attempt of this version (or of all), oldest first."""
        return self._loop.do(self._job.executions, all_versions=all_versions)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return where its ready executions are reached, `host:port` of each of their ports."""
        return self._loop.do(self._job.endpoints)

    def exit_code(self) -> int | None:
        """Return the program's exit code, of several partitions the highest; None while one has none."""
        return self._loop.do(self._job.exit_code)

    def history(self, *, event_type: str = "all", execution_id: str = "") -> Iterator[HistoryItem]:
        """Yield what has happened until now, oldest first; `follow` goes on with what comes."""
        return self._loop.each(self._job.history(event_type=event_type, execution_id=execution_id))

    def events(self, *, after: int = 0, stay: bool = False) -> Iterator[Event]:
        """Yield what happens as it happens, from the item after number `after` on, until the job has ended.

        With `stay`, goes on with what a later version brings. A stream that breaks off is taken up where it was.
        """
        return self._loop.each(self._job.events(after=after, stay=stay))

    def logs(
        self,
        *,
        follow: bool = False,
        execution_id: str = "",
        only_new: bool = False,
        lines: int | None = None,
        task: str = "",
        partition: int | None = None,
    ) -> Iterator[LogLine]:
        """Yield the output of all partitions and tasks; `follow` goes on until the job ends.

        Each piece says whose it is: `task`, `partition`, `execution_id`. `task`, `partition` and `execution_id` choose;
        `only_new` leaves out what was said before, `lines` all of it but so many lines of each stream.

        Raises LogsFailed, for example for a job that has not begun, and at the end where a node could not be asked.
        """
        return self._loop.each(
            self._job.logs(
                follow=follow,
                execution_id=execution_id,
                only_new=only_new,
                lines=lines,
                task=task,
                partition=partition,
            )
        )

    def results(self, *, execution_id: str = "") -> "Results":
        """What it left: of every partition that completed, or of one execution whether it counts or not."""
        return Results(self._loop, self._job.results(execution_id=execution_id))

    def stop(self, *, reason: str = calls.STOPPED) -> Self:
        """Stop it; one that was stopped before stays as it is. Raises Conflict for one that has ended otherwise."""
        self._loop.do(self._job.stop, reason=reason)
        return self

    def versions(self) -> tuple[Job, ...]:
        """Return every version as it was submitted, oldest first."""
        return self._loop.do(self._job.versions)

    def rerun(self, *, version: int = 0, reason: str = "", same_inputs: bool = False) -> Self:
        """Run a version (0: the latest) once more, as a new version; returns itself as that one.

        `same_inputs`: it reads what that version was pinned to, and lists nothing anew.
        """
        self._loop.do(self._job.rerun, version=version, reason=reason, same_inputs=same_inputs)
        return self


class Results:
    """What a job left."""

    def __init__(self, loop: Loop, results: AsyncResults) -> None:
        self._loop = loop
        self._results = results

    def list(self) -> tuple[Result, ...]:
        """Return where each result is, and which partition and node it is of. Raises Conflict for what does not end."""
        return self._loop.do(self._results.list)

    def download(
        self,
        target: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        per_partition: bool = False,
        raw: bool = False,
        meter: NoMeter | None = None,
    ) -> Fetched:
        """Fetch everything below the folder `target`, which is made, checked by size and digest.

        Several partitions lie together with their output joined in order; `per_partition` gives each a folder, as each
        node has of an ops job; `raw` keeps the archives. Whatever goes wrong, `target` is as it was.
        """
        return self._loop.do(
            self._results.download,
            target,
            overwrite=overwrite,
            per_partition=per_partition,
            raw=raw,
            meter=meter,
        )
