import asyncio
import threading

import pytest

from skrei_plugin_api.aside import apart, aside


async def test_blocking_work_answers_and_fails_as_it_would_here() -> None:
    assert await aside(lambda: threading.current_thread().daemon) is True
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 // 0)


async def test_work_that_never_ends_can_be_left_behind() -> None:
    go = threading.Event()
    task = asyncio.ensure_future(aside(go.wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()


async def test_a_coroutine_of_others_may_block_without_holding_up_this_loop() -> None:
    go = threading.Event()

    async def blocks() -> str:
        assert go.wait(30), "the loop that sets it was held up"
        await asyncio.sleep(0)
        return threading.current_thread().name

    task = asyncio.ensure_future(apart(blocks, name="probe"))
    await asyncio.sleep(0)
    go.set()
    assert await task == "probe"


async def test_a_coroutine_of_others_fails_as_it_would_here() -> None:
    async def fails() -> None:
        raise LookupError("no device")

    with pytest.raises(LookupError, match="no device"):
        await apart(fails)
