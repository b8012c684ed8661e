"""One job as a thing that one waits for, reads and stops."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

from skrei import calls, job_logs
from skrei.errors import JobFailed, WaitTimeout
from skrei.follow import follow
from skrei.job_parts import Endpoint
from skrei.job_results import AsyncResults
from skrei.log_query import LogQuery
from skrei.progress import Progress, best_attempts
from skrei.rollout import Rollout
from skrei.tagged import Tagged
from skrei.views import Event, Execution, HistoryItem, Job, JobDetails, LogLine

if TYPE_CHECKING:
    from skrei.client import AsyncClient

PAGE = 100
"""Events in one request of an iterator: few requests, and no page that takes long."""


class AsyncJobHandle:
    """One job. What it says (`state`, `message`, …) is as old as the last look: `refresh` and `wait` look again."""

    def __init__(self, client: "AsyncClient", view: Job, warnings: tuple[str, ...] = ()) -> None:
        self._client = client
        self.view = view
        """The job as it was last read."""
        self.warnings = warnings
        """What the API remarked on the submission, such as a field that it does not know."""
        self._etag = ""

    def __repr__(self) -> str:
        return f"<Job {self.name!r} {self.id} version {self.version}: {self.state}>"

    @property
    def id(self) -> str:
        """Its id, `j-…`."""
        return self.view.id

    @property
    def name(self) -> str:
        """Its name: what it was given, else its id."""
        return self.view.name

    @property
    def version(self) -> int:
        """Which version this is, from 1."""
        return self.view.version

    @property
    def state(self) -> str:
        """Pending, Queued, Running, Completed, Failed or Stopped."""
        return self.view.state

    @property
    def message(self) -> str:
        """Why it is in this state, where there is more to say: for example what it waits for."""
        return self.view.message

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen to this version."""
        return self.view.is_terminal

    async def refresh(self) -> Self:
        """Look again, which costs little where nothing has changed; returns itself."""
        told = await self._client.read(calls.job(self.id), etag=self._etag)
        if isinstance(told, Tagged):
            self.view, self._etag = told.value, told.etag
        return self

    async def wait(self, *, timeout: float | None = None, check: bool = False) -> Self:
        """Return itself once it is terminal. Raises WaitTimeout after `timeout` seconds; the job then goes on.

        With `check`, raises JobFailed where it ended otherwise than Completed, as `subprocess.run` does.
        """
        try:
            async with asyncio.timeout(timeout):
                async for look in self.follow():
                    self.view = look.job
        except TimeoutError as error:
            raise _too_long(self, timeout) from error
        if check and self.state != "Completed":
            why = f": {self.message}" if self.message else "."
            raise JobFailed(
                f"{self.name} ended as {self.state}{why}",
                job_id=self.id,
                state=self.state,
                hint=f"What happened: history(), executions(), logs(); or skrei describe {self.id}",
            )
        return self

    async def wait_ready(self, *, timeout: float | None = None) -> Self:
        """Return itself once every replica of this version of a service is ready, as its checks say.

        Raises JobFailed where the service ends, has gone back to an earlier version because this one was not ready in
        time, or was updated meanwhile; WaitTimeout after `timeout` seconds.
        """
        rollout = Rollout(self.version)
        try:
            async with asyncio.timeout(timeout):
                async for look in self.follow():
                    self.view = look.job
                    rollout.take(look.events)
                    rollout.look(look.job.version)
                    if rollout.settled:
                        break
        except TimeoutError as error:
            raise _too_long(self, timeout) from error
        if not rollout.ready:
            raise JobFailed(
                rollout.problem or f"{self.name} ended as {self.state}.",
                job_id=self.id,
                state=self.state,
                hint="What happened: history(), executions(), logs().",
            )
        return self

    def follow(self) -> AsyncIterator[Progress]:
        """Yield what changed, at least once, until the job is terminal."""
        return follow(self._client, self.id)

    async def describe(self) -> JobDetails:
        """Return the job with its executions, the beginning of its history, and where it is reached."""
        return await self._client.send(calls.describe(self.id))

    async def executions(self, *, all_versions: bool = False) -> tuple[Execution, ...]:
        """Return every attempt of this version (or of all), oldest first."""
        return await self._client.every(calls.executions(self.id, all_versions=all_versions))

    async def endpoints(self) -> tuple[Endpoint, ...]:
        """Return where its ready executions are reached, `host:port` of each of their ports."""
        return (await self._client.send(calls.endpoints(self.id))).items

    async def exit_code(self) -> int | None:
        """Return the program's exit code, of several partitions the highest; None while one has none."""
        codes = [one.exit_code for one in best_attempts(await self.executions())]
        known = [code for code in codes if code is not None]
        return max(known) if known and len(known) == len(codes) else None

    async def history(self, *, event_type: str = "all", execution_id: str = "") -> AsyncIterator[HistoryItem]:
        """Yield what has happened until now, oldest first; `follow` goes on with what comes."""
        token = ""
        while True:
            page = await self._client.send(
                calls.history(self.id, next_token=token, limit=PAGE, event_type=event_type, execution_id=execution_id)
            )
            for item in page.items:
                yield item
            token = page.next_token
            if not token or len(page.items) < PAGE:
                return

    def events(self, *, after: int = 0, stay: bool = False) -> AsyncIterator[Event]:
        """Yield what happens as it happens, from the item after number `after` on, until the job has ended.

        With `stay`, goes on with what a later version brings. A stream that breaks off is taken up where it was.
        """
        return self._client.events(self.id, after=after, stay=stay)

    def logs(
        self,
        *,
        follow: bool = False,
        execution_id: str = "",
        only_new: bool = False,
        lines: int | None = None,
        task: str = "",
        partition: int | None = None,
    ) -> AsyncIterator[LogLine]:
        """Yield the output of all partitions and tasks; `follow` goes on until the job ends.

        Each piece says whose it is: `task`, `partition`, `execution_id`. `task`, `partition` and `execution_id` choose;
        `only_new` leaves out what was said before, `lines` all of it but so many lines of each stream.

        Raises LogsFailed, for example for a job that has not begun, and at the end where a node could not be asked.
        """
        query = LogQuery(
            self.id, execution_id, follow=follow, tail=only_new, lines=lines, task=task, partition=partition
        )
        return job_logs.of_all(self._client, query)

    def results(self, *, execution_id: str = "") -> "AsyncResults":
        """What it left: of every partition that completed, or of one execution whether it counts or not."""
        by_node = self.view.type == "ops" and not execution_id
        return AsyncResults(self._client, self.id, execution_id, by_node=by_node)

    async def stop(self, *, reason: str = calls.STOPPED) -> Self:
        """Stop it; one that was stopped before stays as it is. Raises Conflict for one that has ended otherwise."""
        await self._client.send(calls.stop(self.id, reason=reason))
        return await self.refresh()

    async def versions(self) -> tuple[Job, ...]:
        """Return every version as it was submitted, oldest first."""
        return await self._client.every(calls.versions(self.id))

    async def rerun(self, *, version: int = 0, reason: str = "", same_inputs: bool = False) -> Self:
        """Run a version (0: the latest) once more, as a new version; returns itself as that one.

        `same_inputs`: it reads what that version was pinned to, and lists nothing anew.
        """
        again = calls.rerun(self.id, version=version, reason=reason, same_inputs=same_inputs)
        submitted = await self._client.send(again)
        self.warnings = submitted.warnings
        return await self.refresh()


def _too_long(job: AsyncJobHandle, timeout: float | None) -> WaitTimeout:
    return WaitTimeout(
        f"{job.name} is {job.state} after {timeout or 0:g} s; it goes on.",
        hint=job.message or "wait() waits on, stop() stops it.",
        job_id=job.id,
    )
