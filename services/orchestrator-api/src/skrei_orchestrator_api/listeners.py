"""Who listens to which job: the feed wakes them, and they read the record.

There is one subscription for all, while somebody listens and for a while after. What a message says is no more than
that it is time to look; whoever is not woken (the transport was away) looks now and then by itself.
"""

import asyncio
from collections import OrderedDict
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

LINGER_SECONDS = 10.0
"""How long the feed is heard after the last listener has left: who polls listens again within milliseconds, and what
happened between was heard."""
HEARD = 4_096
"""Jobs of which it is known how far their history was told, the longest silent forgotten first: half a megabyte."""


class Listeners:
    """At most `most` listeners at once, over one subscription."""

    def __init__(self, bus: Bus, most: int) -> None:
        self._bus = bus
        self._most = most
        self._count = 0
        self._of_job: dict[str, set[asyncio.Event]] = {}
        self._subscription: Subscription | None = None
        self._lock = asyncio.Lock()
        self._heard: OrderedDict[str, int] = OrderedDict()
        self._lingering: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def hears(self) -> bool:
        """Whether the feed is heard already."""
        return self._subscription is not None

    def heard(self, job_id: str) -> int:
        """Return how far a job's history was told, as far as the feed was heard; 0 where nothing was."""
        return self._heard.get(job_id, 0)

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
            if not self._count and self._lingering is None:
                self._lingering = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._leave)

    async def _subscribe(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        async with self._lock:
            if self._subscription is None:
                try:
                    self._subscription = await self._bus.subscribe(subjects.ALL_FEED, self._take)
                except BusUnavailable as error:
                    log.debug("feed_not_heard", reason=error.message)  # they look by themselves

    def _leave(self) -> None:
        self._lingering = None
        self._leaving = asyncio.get_running_loop().create_task(self._unsubscribe())

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
        for job_id, seq in batch.jobs:
            self._heard[job_id] = max(seq, self._heard.pop(job_id, 0))
            for woken in self._of_job.get(job_id, ()):
                woken.set()
        while len(self._heard) > HEARD:
            self._heard.popitem(last=False)
