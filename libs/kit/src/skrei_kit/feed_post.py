"""What is told in the feed, gathered for a moment: the commits of a busy moment share their messages.

Nobody waits for the feed, but each of its messages is written, stored and handed on like one that somebody waits for.
So what happens on a job's way is told a little later, in one message for each namespace and kind, and what somebody
does wait for, its end, at once and with all that had gathered.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from skrei_domain.feed import Change, messages
from skrei_kit.bus import Bus, offer

GATHER_SECONDS = 0.02
"""How long a change waits for company: no eye sees it, and a small job is through in less."""
MOST_GATHERED = 10_000
"""Changes that wait: about a megabyte. More are told at once."""

Publish = Callable[[str, bytes], Awaitable[None]]


class FeedPost:
    """Tells of changes in the order of commits; of each job the last one of a kind that gathered. Runs until cancelled.

    What has not been told when the process ends is lost, as any message of the feed may be: the record has it.
    """

    def __init__(self, publish: Publish, source: str) -> None:
        self._publish = publish
        self._source = source
        self._changes: list[Change] = []
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def on(cls, bus: Bus, source: str) -> "FeedPost":
        """Tell over a bus, at once where it is told; what the bus does not take is not kept."""
        return cls(partial(offer, bus, now=True), source)

    def add(self, changes: Iterable[Change], *, at_once: bool = False) -> None:
        """Have these told: soon, or as soon as the loop gets there. Never waits."""
        self._changes += changes
        if not self._changes:
            return
        loop = asyncio.get_running_loop()
        if at_once or len(self._changes) > MOST_GATHERED:
            self._due.set()
        elif self._timer is None:
            self._timer = loop.call_later(GATHER_SECONDS, self._due.set)

    async def run(self) -> None:
        """Tell, until cancelled; then what is left."""
        try:
            while True:
                await self._due.wait()
                await self.tell()
        finally:
            await self.tell()

    async def tell(self) -> None:
        """Tell what has gathered, for who waits for it."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changes, self._changes = self._changes, []
        for subject, payload in messages(changes, source=self._source):
            await self._publish(subject, payload)
