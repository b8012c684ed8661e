"""The collector: what jobs left and may go now goes, page by page of jobs, in the record and at the publisher.

The leader decides, the publisher deletes, and says so as it does of all it drops; only then does what names a result
go. Whatever breaks off is found again: each step is looked for anew in the record, and done twice does nothing more.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from skrei_domain.clock import Clock
from skrei_domain.errors import SkreiError
from skrei_domain.messages import PublisherCommand
from skrei_domain.retention import Policy
from skrei_kit.observability import get_logger
from skrei_store import retention
from skrei_store.db import Connection
from skrei_store.retention import Aged

log = get_logger()

T = TypeVar("T")

JOBS_A_PAGE = 100
"""Jobs looked at together: their specs may have 6 MB, and mostly have 100 KB."""
BREATH_SECONDS = 0.05
"""Between two steps: collecting is nobody's hurry, and the record is others' too."""


class Find(Protocol):
    """A page of executions by id, after one; empty at the end."""

    async def __call__(self, connection: Connection, *, after: str) -> list[str]:
        """Return the page."""


class Record(Protocol):
    """The record in the hands of a leader."""

    async def collect(self, work: Callable[[Connection, int], Awaitable[T]]) -> T:
        """Return what `work` does on a connection, in an epoch. Raises LeadershipLost."""


@dataclass(slots=True)
class Gone:
    """What one walk let go, or asked the publisher to drop."""

    results: int = 0
    logs: int = 0
    old: int = 0
    jobs: int = 0


class Collector:
    """Walks over all jobs; one walk at a time."""

    def __init__(
        self, record: Record, policy: Policy, clock: Clock, *, tell: Callable[[PublisherCommand], Awaitable[None]]
    ) -> None:
        self._record = record
        self._policy = policy
        self._clock = clock
        self._tell = tell
        self._walking = asyncio.Lock()
        self.asked = asyncio.Event()
        """Set by whoever wants a walk at once."""

    async def run_once(self) -> Gone:
        """Walk over all jobs. Raises LeadershipLost, and Unavailable where the record fails."""
        async with self._walking:
            gone, after = Gone(), ""
            while True:
                now = self._clock.now()
                jobs, after = await self._record.collect(partial(self._page, now=now, after=after))
                if jobs:
                    await self._let_go(jobs, gone)
                if not after:
                    break
                await self._breathe()
        if gone != Gone():
            log.info("collected", results=gone.results, logs=gone.logs, old=gone.old, jobs=gone.jobs)
        return gone

    async def try_once(self) -> None:
        """Walk over all jobs; what fails is told, and no reason to stop leading: the next walk goes over it again."""
        try:
            await self.run_once()
        except SkreiError as error:
            log.warning("not_collected", problem=error.message)

    async def when_asked(self) -> None:
        """Walk whenever somebody asks, until cancelled."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            await self.try_once()

    async def _page(self, connection: Connection, _epoch: int, *, now: datetime, after: str) -> tuple[list[Aged], str]:
        return await retention.page(connection, self._policy, now, after=after, limit=JOBS_A_PAGE)

    async def _let_go(self, jobs: list[Aged], gone: Gone) -> None:
        gone.results += await self._drop(partial(retention.results, jobs=jobs))
        await self._logs(jobs, gone)
        while rows := await self._record.collect(lambda db, epoch: retention.forget_old(db, epoch, jobs)):
            gone.old += rows
            await self._breathe()
        for job in await self._record.collect(lambda db, _: retention.whole_jobs(db, jobs)):
            # Nobody names our copies of what lies elsewhere once their job has gone.
            await self._drop(partial(retention.copies, job=job))
            while not await self._record.collect(partial(_forget, job=job)):
                await self._breathe()
            gone.jobs += 1
            log.info("job_forgotten", job_id=job.job_id, namespace=job.namespace)

    async def _drop(self, find: Find) -> int:
        """Ask the publisher to drop what `find` finds, and return how many that are.

        It is asked again with the next walk for what it has not dropped.
        """
        asked, after = 0, ""
        while ids := await self._record.collect(partial(_found, find=find, after=after)):
            await self._tell(PublisherCommand(drop=tuple(ids)))
            asked += len(ids)
            after = ids[-1]
            await self._breathe()
        return asked

    async def _logs(self, jobs: list[Aged], gone: Gone) -> None:
        while ids := await self._record.collect(lambda db, _: retention.logs(db, jobs)):
            await self._tell(PublisherCommand(drop_logs=tuple(ids)))
            await self._record.collect(partial(_forget_logs, ids=ids))
            gone.logs += len(ids)
            await self._breathe()
        after = ""  # nothing in the record tells whether these are there: each walk asks for them again
        while ids := await self._record.collect(
            partial(_found, find=partial(retention.shipped, jobs=jobs), after=after)
        ):
            await self._tell(PublisherCommand(drop_logs=tuple(ids)))
            after = ids[-1]
            await self._breathe()

    async def _breathe(self) -> None:
        await self._clock.sleep(timedelta(seconds=BREATH_SECONDS))


async def _found(connection: Connection, _epoch: int, *, find: Find, after: str) -> list[str]:
    return await find(connection, after=after)


async def _forget_logs(connection: Connection, epoch: int, *, ids: list[str]) -> None:
    await retention.forget_logs(connection, epoch, ids)


async def _forget(connection: Connection, epoch: int, *, job: Aged) -> bool:
    return await retention.forget_job(connection, epoch, job)
