"""How many jobs may wait, counted seldom: a counter of our own says at most how many do, and the record is asked when
that bound is reached, or is old.

Other processes admit jobs too, so a limit may be passed by what they admit within `STALE_SECONDS`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from skrei_domain.errors import Exhausted, SkreiError, Unavailable
from skrei_store.db import Connection

WAITING_JOBS = 200_000
"""Jobs that wait in all: the leader holds each in memory, about a kilobyte, and reads them all at a takeover."""
WAITING_JOBS_NAMESPACE = 10_000
"""Jobs of one namespace that wait: nobody's flood fills the cluster's queue."""
STALE_SECONDS = 5.0
"""How old a count may be: short against the time in which others could fill the queue."""
FULL_SECONDS = 0.25
"""How often the record is asked while a limit holds: counting 200,000 takes some 30 ms."""
REMEMBERED = 10_000
"""Namespaces whose counts are kept; more are counted anew."""

_WAITING = "state IN ('Pending', 'Queued')"
COUNT = f"SELECT count(*) FROM (SELECT FROM jobs WHERE {_WAITING} LIMIT $1) AS waiting"
COUNT_NAMESPACE = f"SELECT count(*) FROM (SELECT FROM jobs WHERE {_WAITING} AND namespace = $2 LIMIT $1) AS waiting"


@dataclass(slots=True)
class _Bound:
    """At most `jobs` wait, by a count made at `at` and what we admitted since."""

    jobs: int
    at: float


class Admission:
    """The limits on waiting jobs, as one process keeps them."""

    def __init__(
        self,
        *,
        limit: int = WAITING_JOBS,
        namespace_limit: int = WAITING_JOBS_NAMESPACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._namespace_limit = namespace_limit
        self._clock = clock
        self._bounds: dict[str | None, _Bound] = {}  # None: of all namespaces

    async def admit(self, connection: Connection, namespace: str) -> SkreiError | None:
        """Count one more job in, or return why it may not come: Exhausted (its namespace) or Unavailable (all)."""
        everything = await self._bound(connection, None, self._limit)
        if everything.jobs >= self._limit:
            return Unavailable(f"{self._limit:,} jobs wait already", hint="try again when some of them have started")
        own = await self._bound(connection, namespace, self._namespace_limit)
        if own.jobs >= self._namespace_limit:
            return Exhausted(
                f"{self._namespace_limit:,} jobs wait already in namespace {namespace}",
                hint="try again when some of them have started",
                namespace=namespace,
            )
        everything.jobs += 1
        own.jobs += 1
        return None

    async def _bound(self, connection: Connection, namespace: str | None, limit: int) -> _Bound:
        bound, now = self._bounds.get(namespace), self._clock()
        age = float("inf") if bound is None else now - bound.at
        if bound is None or age > (FULL_SECONDS if bound.jobs >= limit else STALE_SECONDS):
            if len(self._bounds) > REMEMBERED:
                self._bounds.clear()
            if namespace is None:
                jobs = await connection.fetchval(COUNT, limit)
            else:
                jobs = await connection.fetchval(COUNT_NAMESPACE, limit, namespace)
            bound = self._bounds[namespace] = _Bound(jobs, now)
        return bound
