"""Who listens to which job: the feed wakes them, and they read the record.

There is one subscription for all, and only while somebody listens. What a message says is no more than that it is time
to look; whoever is not woken (the transport was away) looks now and then by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.subscription import Subscription
from pydantic import ValidationError

from skrei_domain import subjects
from skrei_domain.envelope import unwrap
from skrei_domain.errors import Exhausted
from skrei_domain.feed import FeedBatch
from skrei_kit.bus import Bus, BusUnavailable, Message
from skrei_kit.observability import get_logger

log = get_logger()


class Listeners:
    """At most `most` listeners at once, over one subscription."""

    def __init__(self, bus: Bus, most: int) -> None:
        self._bus = bus
        self._most = most
        self._count = 0
        self._of_job: dict[str, set[asyncio.Event]] = {}
        self._subscription: Subscription | None = None
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        return self._count

    @asynccontextmanager
    async def listening(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set when a job has new history. Raises Exhausted where too many listen."""
        if self._count >= self._most:
            raise Exhausted(
                f"{self._most:,} listen already", hint="read the job's history instead", component="APIServer"
            )
        self._count += 1
        woken = asyncio.Event()
        self._of_job.setdefault(job_id, set()).add(woken)
        try:
            await self._subscribe()
            yield woken
        finally:
            self._count -= 1
            self._of_job[job_id].discard(woken)
            if not self._of_job[job_id]:
                del self._of_job[job_id]
            await self._unsubscribe()

    async def _subscribe(self) -> None:
        async with self._lock:
            if self._subscription is None:
                try:
                    self._subscription = await self._bus.subscribe(subjects.ALL_FEED, self._take)
                except BusUnavailable as error:
                    log.debug("feed_not_heard", reason=error.message)  # they look by themselves

    async def _unsubscribe(self) -> None:
        async with self._lock:
            if self._count == 0 and self._subscription is not None:
                subscription, self._subscription = self._subscription, None
                await self._bus.unsubscribe(subscription)

    async def _take(self, message: Message) -> None:
        try:
            batch = unwrap(FeedBatch, message.data)
        except ValidationError as error:
            log.warning("message_skipped", subject=message.subject, error=str(error).splitlines()[0])
            return
        for job_id, _ in batch.jobs:
            for woken in self._of_job.get(job_id, ()):
                woken.set()
