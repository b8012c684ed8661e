import asyncio
import threading

import pytest

from skrei_plugin_api.aside import aside


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
