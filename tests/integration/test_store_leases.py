"""The lease: one holder, a higher epoch for each, by the database's clock."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from skrei_store import leases
from tests.support.record import connection as connected


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as opened:
        yield opened


@pytest.mark.row("4.1/workers")
async def test_a_held_lease_is_nobody_elses(db: asyncpg.Connection) -> None:
    assert await leases.acquire(db, "a", 60.0) == 1
    assert await leases.acquire(db, "b", 60.0) is None
    assert await leases.acquire(db, "a", 60.0) is None, "a holder that forgot it was one waits like anybody"


async def test_an_expired_lease_goes_to_the_next_in_a_new_epoch(db: asyncpg.Connection) -> None:
    await leases.acquire(db, "a", 0.0)
    assert await leases.acquire(db, "b", 60.0) == 2
    assert not await leases.renew(db, 1, "a", 60.0)
    assert await leases.renew(db, 2, "b", 60.0)


async def test_a_lease_that_expired_unnoticed_can_be_renewed(db: asyncpg.Connection) -> None:
    await leases.acquire(db, "a", 0.0)
    assert await leases.renew(db, 1, "a", 60.0)
    assert await leases.acquire(db, "b", 60.0) is None


async def test_a_released_lease_is_free_at_once(db: asyncpg.Connection) -> None:
    await leases.acquire(db, "a", 60.0)
    assert await leases.release(db, 1, "a")
    assert await leases.acquire(db, "b", 60.0) == 2
    assert not await leases.release(db, 1, "a"), "what is another's is not given away"
    assert await leases.renew(db, 2, "b", 60.0)
