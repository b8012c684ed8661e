"""The feed's post: what is told at once, what waits for company, and that nothing is told twice or in another order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from skrei_domain.envelope import unwrap
from skrei_domain.feed import EXECUTION, JOB, Change, FeedBatch
from skrei_kit import feed_post
from skrei_kit.feed_post import FeedPost


class Heard:
    """What was published, and a moment for each."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[tuple[str, int], ...]]] = []
        self.moment = asyncio.Event()

    async def publish(self, subject: str, payload: bytes) -> None:
        self.told.append((subject.removeprefix("skrei.v1.feed."), unwrap(FeedBatch, payload).jobs))
        self.moment.set()


@asynccontextmanager
async def posting() -> AsyncIterator[tuple[FeedPost, Heard]]:
    heard = Heard()
    post = FeedPost(heard.publish, "test")
    running = asyncio.create_task(post.run())
    try:
        yield post, heard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_changes_on_a_jobs_way_are_told_together_and_soon() -> None:
    async with posting() as (post, heard):
        post.add([Change("default", JOB, "j-1", 1)])
        post.add([Change("default", JOB, "j-1", 3), Change("default", EXECUTION, "j-1", 2)])
        post.add([])
        await asyncio.sleep(0)
        assert heard.told == []
        async with asyncio.timeout(10):
            await heard.moment.wait()
    assert heard.told == [("default.job", (("j-1", 3),)), ("default.execution", (("j-1", 2),))]


async def test_an_end_is_told_at_once_and_takes_along_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_post, "GATHER_SECONDS", 3_600.0)
    async with posting() as (post, heard):
        post.add([Change("default", JOB, "j-1", 1)])
        post.add([Change("default", JOB, "j-1", 5)], at_once=True)
        async with asyncio.timeout(10):
            await heard.moment.wait()
        assert heard.told == [("default.job", (("j-1", 5),))]
        heard.moment.clear()
        post.add([Change("default", JOB, "j-2", 1)])
        await asyncio.sleep(0)
        assert not heard.moment.is_set(), "and what comes after it waits again"


async def test_who_waits_for_what_gathered_has_it_told_once() -> None:
    heard = Heard()
    post = FeedPost(heard.publish, "test")
    post.add([Change("default", JOB, "j-1", 1)])
    await post.tell()
    await post.tell()
    assert heard.told == [("default.job", (("j-1", 1),))]


async def test_no_more_waits_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_post, "GATHER_SECONDS", 3_600.0)
    monkeypatch.setattr(feed_post, "MOST_GATHERED", 2)
    async with posting() as (post, heard):
        for number in range(3):
            post.add([Change("default", JOB, f"j-{number}", 1)])
        async with asyncio.timeout(10):
            await heard.moment.wait()
    assert heard.told == [("default.job", (("j-0", 1), ("j-1", 1), ("j-2", 1)))]


async def test_what_waits_at_the_end_is_told_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_post, "GATHER_SECONDS", 3_600.0)
    async with posting() as (post, heard):
        await asyncio.sleep(0)
        post.add([Change("a.b", JOB, "j-1", 4)])
    assert heard.told == [("a_2e_b.job", (("j-1", 4),))]
