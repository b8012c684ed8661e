"""When nobody uses a stack any more: a clock that begins anew with every request and with every open job. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Activity:
    """What the API tells of its use: requests since it started, and jobs that have not ended."""

    requests: int
    open_jobs: int


class IdleClock:
    """Says when a stack was idle for `limit_seconds`. Times are of one monotonic clock, in seconds."""

    def __init__(self, limit_seconds: float, now: float) -> None:
        self._limit_seconds = limit_seconds
        self._since = now
        self._last: Activity | None = None

    def is_over(self, seen: Activity | None, now: float) -> bool:
        """Take a look; one that told nothing (the API is being restarted) counts as use."""
        if seen is None or seen.open_jobs or seen != self._last:
            self._since = now
        self._last = seen
        return now - self._since >= self._limit_seconds
