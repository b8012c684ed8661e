"""The record's time on this machine."""

from datetime import datetime, timedelta

from skrei_domain.clock import Clock


class RecordClock:
    """The record's time: what waits and timeouts are compared with, whatever this machine's clock says."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = timedelta()

    def set(self, now: datetime) -> None:
        """Learn the record's time; every commit tells it."""
        self._ahead = now - self._clock.now()

    def now(self) -> datetime:
        """Return the record's time, as far as this machine can tell."""
        return self._clock.now() + self._ahead

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic()

    async def sleep(self, delay: timedelta) -> None:
        """Wait for `delay`."""
        await self._clock.sleep(delay)
