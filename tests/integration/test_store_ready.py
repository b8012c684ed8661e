"""The pool that keeps connections at hand: nobody waits for one that is, none is trusted after anything went wrong."""

import asyncio
from collections import UserList

import asyncpg
import pytest

from skrei_store import arrays
from skrei_store.db import connect, open_pool

PID = "SELECT pg_backend_pid()"
SECONDS = 20.0


async def test_statements_one_after_another_share_a_connection(postgres_url: str) -> None:
    async with open_pool(postgres_url, size=4) as pool:
        first = await pool.fetchval(PID)
        assert (await pool.fetchrow(PID))[0] == first
        assert [tuple(row) for row in await pool.fetch(PID)] == [(first,)]
        await pool.execute("SELECT 1")
        async with pool.acquire(timeout=SECONDS) as connection:
            assert await connection.fetchval(PID) == first
        assert pool.get_size() == 1


@pytest.mark.parametrize("size", [1, 3])
async def test_many_share_few_connections_and_nobody_waits_for_ever(postgres_url: str, size: int) -> None:
    async def one(number: int) -> int:
        if number % 3:
            return int(await pool.fetchval("SELECT $1::int FROM pg_sleep(0.001)", number))
        async with pool.acquire() as connection, connection.transaction():
            return int(await connection.fetchval("SELECT $1::int", number))

    async with open_pool(postgres_url, size=size) as pool, asyncio.timeout(SECONDS):
        assert await asyncio.gather(*map(one, range(60))) == list(range(60))
        assert await pool.fetchval("SELECT 7") == 7
        assert pool.get_size() == size


async def test_a_pool_closes_once_what_is_in_use_is_back(postgres_url: str) -> None:
    async with open_pool(postgres_url, size=2) as pool, open_pool(postgres_url, size=1) as other:
        async with asyncio.timeout(SECONDS), other.acquire() as holder:
            await holder.execute("SELECT pg_advisory_lock(7)")
            await asyncio.gather(pool.execute("SELECT 1"), pool.execute("SELECT 1"))
            asking = asyncio.create_task(pool.execute("SELECT pg_advisory_lock(7)"))
            async with pool.acquire() as connection:
                await connection.execute("SELECT 1")
                closing = asyncio.create_task(pool.close())
                await connection.execute("SELECT 1")
                assert not closing.done()
            await holder.execute("SELECT pg_advisory_unlock(7)")
            await asyncio.gather(asking, closing)
        assert pool.get_size() == 0


async def test_who_waits_too_long_is_told_so(postgres_url: str) -> None:
    async with open_pool(postgres_url, size=1) as pool:
        async with pool.acquire():
            with pytest.raises(TimeoutError):
                async with pool.acquire(timeout=0.01):
                    pytest.fail("there is no second one")
        assert await pool.fetchval("SELECT 1") == 1


async def test_what_went_wrong_with_a_connection_stays_with_it(postgres_url: str) -> None:
    async with open_pool(postgres_url, size=1) as pool, asyncio.timeout(SECONDS):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await pool.fetchval("SELECT 1 / 0")
        sleeping = asyncio.create_task(pool.fetchval("SELECT pg_sleep(60)"))
        await asyncio.sleep(0)
        sleeping.cancel()
        await asyncio.gather(sleeping, return_exceptions=True)
        async with pool.acquire() as connection:
            await connection.execute("BEGIN; CREATE TEMPORARY TABLE left_behind ()")
        assert await pool.fetchval("SELECT to_regclass('left_behind')") is None, "a transaction ends with its block"


async def test_a_connection_that_the_record_closed_is_replaced(postgres_url: str) -> None:
    async with open_pool(postgres_url, size=2) as pool, open_pool(postgres_url, size=1) as other:
        first = await pool.fetchval(PID)
        ended = asyncio.Event()
        async with pool.acquire() as connection:
            connection.add_termination_listener(lambda _: ended.set())
        assert await other.fetchval("SELECT pg_terminate_backend($1, 10000)", first)
        async with asyncio.timeout(SECONDS):
            await ended.wait()
        assert await pool.fetchval(PID) != first


async def test_an_array_is_told_by_its_type_alone(postgres_url: str) -> None:
    async with open_pool(postgres_url, size=1) as pool:
        for given in (["a", None], ("a", None), {"a"}, frozenset({"a"})):
            assert await pool.fetchval("SELECT $1::text[]", given) == list(given)
        assert await pool.fetchval("SELECT $1::int[]", [[1, 2], [3, 4]]) == [[1, 2], [3, 4]]
        with pytest.raises(asyncpg.DataError):  # else the driver asks an abstract class about each element again
            await pool.fetchval("SELECT $1::text[]", UserList(["a"]))


async def test_the_types_of_arrays_are_what_the_record_calls_them(postgres_url: str) -> None:
    async with open_pool(postgres_url, size=1) as pool:
        rows = await pool.fetch(
            "SELECT typname, oid, typarray FROM pg_type WHERE typname = ANY($1::text[])", list(arrays.TYPES)
        )
    assert {name: (oid, array) for name, oid, array in rows} == arrays.TYPES


async def test_no_session_asks_for_the_types_of_arrays(postgres_url: str) -> None:
    casts = ", ".join(f"${number}::{name}[]" for number, name in enumerate(arrays.TYPES, start=1))
    empty: list[list[str]] = [[] for _ in arrays.TYPES]
    alone = await connect(postgres_url)
    try:
        async with open_pool(postgres_url, size=1) as pool:
            for each in (alone, pool):
                assert list(await each.fetchrow(f"SELECT {casts}", *empty)) == empty
                kept = await each.fetch("SELECT statement FROM pg_prepared_statements")
                assert not [text for (text,) in kept if "pg_type" in text]
    finally:
        await alone.close()
