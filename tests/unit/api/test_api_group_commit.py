import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from skrei_domain.errors import Conflict, Unavailable
from skrei_orchestrator_api.group_commit import GroupCommit


class Record:
    """A record whose commits finish when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail: Exception | None = None

    async def commit(self, items: Sequence[str]) -> list[str | Exception]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        return [Conflict(item) if item.startswith("bad") else item.upper() for item in items]


@asynccontextmanager
async def running(record: Record, **limits: int) -> AsyncIterator[GroupCommit[str, str]]:
    group: GroupCommit[str, str] = GroupCommit(
        record.commit, **({"batch_items": 256, "batch_bytes": 10_000, "waiting_bytes": 10_000} | limits)
    )
    runner = asyncio.create_task(group.run())
    try:
        yield group
    finally:
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_lone_submission_is_committed_at_once() -> None:
    record = Record()
    async with running(record) as group:
        assert await group.submit("a", 1) == "A"
    assert record.batches == [["a"]]


async def test_what_gathered_while_a_commit_ran_is_one_batch_in_order_of_arrival() -> None:
    record = Record()
    async with running(record) as group:
        record.gate.clear()
        first = asyncio.create_task(group.submit("a", 1))
        await settle()
        rest = [asyncio.create_task(group.submit(item, 1)) for item in "bcd"]
        await settle()
        record.gate.set()
        assert await asyncio.gather(first, *rest) == ["A", "B", "C", "D"]
    assert record.batches == [["a"], ["b", "c", "d"]]


async def test_a_refused_submission_fails_alone() -> None:
    record = Record()
    async with running(record) as group:
        results = await asyncio.gather(*(group.submit(item, 1) for item in ("a", "bad", "c")), return_exceptions=True)
    assert [type(result) for result in results] == [str, Conflict, str]


async def test_a_failed_commit_is_told_to_every_sender_and_the_next_one_succeeds() -> None:
    record = Record()
    async with running(record) as group:
        record.fail = ConnectionError("gone")
        results = await asyncio.gather(*(group.submit(item, 1) for item in "ab"), return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionError, ConnectionError]
        record.fail = None
        assert await group.submit("c", 1) == "C"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"batch_items": 2}, [["a"], ["b", "c"], ["d", "e"]]),
        ({"batch_bytes": 3}, [["a"], ["b", "c", "d"], ["e"]]),
    ],
)
async def test_a_batch_is_bounded_in_items_and_bytes(limits: dict[str, int], expected: list[list[str]]) -> None:
    record = Record()
    async with running(record, **limits) as group:
        record.gate.clear()
        senders = [asyncio.create_task(group.submit("a", 1))]
        await settle()
        senders += [asyncio.create_task(group.submit(item, 1)) for item in "bcde"]
        await settle()
        record.gate.set()
        await asyncio.gather(*senders)
    assert record.batches == expected


async def test_an_item_larger_than_a_batch_still_goes_alone() -> None:
    record = Record()
    async with running(record, batch_bytes=1) as group:
        assert await group.submit("a", 100) == "A"


async def test_too_many_waiting_bytes_are_refused_at_once_and_room_comes_back() -> None:
    record = Record()
    async with running(record, waiting_bytes=5) as group:
        record.gate.clear()
        first = asyncio.create_task(group.submit("a", 5))
        await settle()
        with pytest.raises(Unavailable):
            await group.submit("b", 1)
        record.gate.set()
        await first
        assert await group.submit("b", 5) == "B"


async def test_a_sender_that_goes_away_does_not_undo_its_submission() -> None:
    record = Record()
    async with running(record) as group:
        record.gate.clear()
        gone = asyncio.create_task(group.submit("a", 1))
        await settle()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        record.gate.set()
        assert await group.submit("b", 1) == "B"
    assert record.batches == [["a"], ["b"]]


async def test_who_waits_when_the_server_stops_is_told() -> None:
    record = Record()
    async with running(record) as group:
        record.gate.clear()
        senders = [asyncio.create_task(group.submit("a", 1))]
        await settle()
        senders.append(asyncio.create_task(group.submit("b", 1)))
        await settle()
    results = await asyncio.gather(*senders, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]


async def test_what_follows_a_commit_sees_its_items_and_results() -> None:
    seen: list[tuple[list[str], list[object]]] = []
    group: GroupCommit[str, str] = GroupCommit(
        Record().commit,
        batch_items=9,
        batch_bytes=9,
        waiting_bytes=9,
        after=lambda items, results: seen.append((list(items), list(results))),
    )
    runner = asyncio.create_task(group.run())
    assert await group.submit("a", 1) == "A"
    assert seen == [(["a"], ["A"])]
    runner.cancel()
    await asyncio.gather(runner, return_exceptions=True)
