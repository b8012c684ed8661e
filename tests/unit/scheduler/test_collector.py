"""The collector beside a leader: what fails of it is told, and the next walk goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from skrei_domain.clock import SystemClock
from skrei_domain.errors import Unavailable
from skrei_domain.retention import parse_policy
from skrei_kit.supervisor import every
from skrei_scheduler.collector import Collector
from skrei_store.db import Connection

T = TypeVar("T")
WALKS = 12
"""More than a loop may fail in a row before it takes its leader down."""


class Away:
    """A record that fails whenever it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.enough = asyncio.Event()

    async def collect(self, work: Callable[[Connection, int], Awaitable[T]]) -> T:
        self.asked += 1
        if self.asked >= WALKS:
            self.enough.set()
        raise Unavailable("the record failed: it is away")


async def test_a_record_that_cannot_be_walked_over_ends_no_leadership() -> None:
    async def nobody(_: object) -> None:
        raise AssertionError("nothing was found")

    record, clock = Away(), SystemClock()
    collector = Collector(record, parse_policy({}), clock, tell=nobody)
    walking = asyncio.ensure_future(every(timedelta(0), collector.try_once, name="collect", clock=clock))
    await asyncio.wait([walking, waiting := asyncio.ensure_future(record.enough.wait())], return_when="FIRST_COMPLETED")
    assert not walking.done()
    for each in (walking, waiting):
        each.cancel()
    await asyncio.gather(walking, waiting, return_exceptions=True)
    assert record.asked >= WALKS
