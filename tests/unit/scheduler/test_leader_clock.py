"""What a leader takes for the record's time while its commits go one way or the other."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from skrei_domain.clock import ManualClock
from skrei_scheduler.leader import Leader
from skrei_scheduler.work import Commit
from skrei_scheduling.changes import Changes, Decide, Locked
from tests.support.builders import NOW

AHEAD = timedelta(minutes=10)
"""How far the record's clock is ahead of this machine's."""
WRITING = timedelta(seconds=2)


class Record:
    """Goes one way to commit, and tells the time as the real one does."""

    def __init__(self, clock: ManualClock, *, holds: bool) -> None:
        self.now: datetime | None = None
        self._clock, self._holds = clock, holds

    def believe(self, _jobs: object, evaluations: Collection[str], now: datetime) -> Locked:
        return Locked(now, {}, frozenset(evaluations))

    async def commit(
        self, _lock: object, _evaluations: object, decide: Decide, belief: Locked, *, meanwhile: object
    ) -> Changes:
        del meanwhile
        self.now = None
        changes = decide(belief)
        if self._holds:
            await self._clock.advance(WRITING)
            self.now = self._clock.now() + AHEAD
            return changes
        changes = decide(replace(belief, now=self._clock.now() + AHEAD))
        await self._clock.advance(WRITING)
        return changes


class Quiet:
    """Whoever is told of a commit; of this one there is nothing to tell."""

    view = type("View", (), {"jobs": {}})()
    waiting_evaluations = 0

    def write_ahead(self, _: object) -> None: ...

    async def send_ahead(self, _: object) -> None: ...

    async def send(self, _: object) -> None: ...


@pytest.mark.parametrize("holds", [True, False], ids=["as believed", "the long way"])
async def test_a_commit_never_sets_the_clock_back_by_the_time_that_it_took(holds: bool) -> None:
    clock, nothing, told = ManualClock(NOW), Quiet(), list[datetime]()
    record: Any = Record(clock, holds=holds)
    unused: Any = None
    leader: Any = Leader(record, unused, unused, unused, clock, epoch=1)
    leader._core = leader._departures = leader._sender = nothing

    def decide(locked: Locked) -> Changes:
        told.append(locked.now)
        return Changes()

    for number in range(2):
        began = clock.now()
        work = Commit("any", frozenset(), frozenset(), decide, lambda *_: [], foreseen=True)
        await leader._commit(work)
        assert leader._clock.now() == clock.now() + AHEAD
        if number:
            assert told[-1] == began + AHEAD, "and the next is told the record's time"
