"""Time as something that is handed in: shells take a `Clock`, tests move a `ManualClock`, pure code takes values."""

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What a shell may ask of time."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC: for what is told."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back: for what is measured."""
        ...

    async def sleep(self, delay: timedelta) -> None:
        """Wait for `delay`."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, delay: timedelta) -> None:
        """Wait for `delay`."""
        await asyncio.sleep(delay.total_seconds())


_SETTLE_TURNS = 10  # how many turns of the event loop a woken sleeper gets before the next one


class ManualClock:
    """A clock that moves only when a test calls `advance`."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._now = start
        self._order = itertools.count()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the time that the test has reached."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that the test has moved on by."""
        return (self._now - self._start).total_seconds()

    async def sleep(self, delay: timedelta) -> None:
        """Wait until the test has moved on by `delay`."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + delay, next(self._order), wake))
        await wake

    async def advance(self, delta: timedelta) -> None:
        """Wake every sleeper due within `delta`, in order, letting each run before the next."""
        target = self._now + delta
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            self._now, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)
            await _settle()
        self._now = target


async def _settle() -> None:
    for _ in range(_SETTLE_TURNS):
        await asyncio.sleep(0)
