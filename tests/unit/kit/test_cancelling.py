"""Cancellations that somebody below swallows are raised all the same, and repeated where nobody raises them."""

import asyncio
from functools import partial

import pytest

from skrei_kit import supervisor
from skrei_kit.cancelling import ended, heeding
from skrei_kit.supervisor import run_until_stopped


class Stubborn:
    """Swallows so many cancellations, then gives what it was told to give."""

    def __init__(self, times: int, outcome: str | Exception = "done") -> None:
        self.left = times
        self._outcome = outcome
        self.began = asyncio.Event()

    async def __call__(self) -> str:
        while True:
            self.began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self.left == 0:
                    raise
                self.left -= 1
                if self.left == 0:
                    break
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


@pytest.mark.parametrize("outcome", ["done", OSError("gone")])
async def test_a_cancellation_that_was_swallowed_is_raised(outcome: str | Exception) -> None:
    stubborn = Stubborn(1, outcome)
    task = asyncio.create_task(heeding(stubborn()))
    await stubborn.began.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_what_nobody_cancels_comes_back_as_it_is() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise OSError("gone")

    assert await heeding(answer()) == 7
    with pytest.raises(OSError, match="gone"):
        await heeding(fail())


async def test_one_that_was_cancelled_before_may_still_say_goodbye() -> None:
    said = []

    async def goodbye() -> str:
        await asyncio.sleep(0)
        return "bye"

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            said.append(await heeding(goodbye()))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert (said, task.cancelled()) == (["bye"], True)


async def test_a_time_limit_around_it_is_still_a_time_limit() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await heeding(Stubborn(1)())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_task_is_cancelled_until_it_has_ended() -> None:
    stubborn = Stubborn(3)
    task = asyncio.create_task(stubborn())
    await stubborn.began.wait()
    await ended(task, again_seconds=0.01)
    assert (task.result(), stubborn.left) == ("done", 0)
    await ended(task)
    assert not task.cancelled()


async def test_loops_end_although_one_swallows_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "ended", partial(ended, again_seconds=0.01))
    stubborn, stop = Stubborn(2), asyncio.Event()

    async def loop() -> None:
        while True:
            await stubborn()

    async def fails() -> None:
        await stubborn.began.wait()
        raise OSError("gone")

    with pytest.raises(ExceptionGroup) as raised:
        await run_until_stopped(stop, loop=loop(), fails=fails())
    assert raised.group_contains(OSError, match="gone")
