import asyncio
import gc
import threading

import pytest

from skrei_plugin_api.aside import apart, aside, to_its_end


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


@pytest.mark.parametrize("fails", [False, True])
async def test_work_on_files_is_waited_for_however_often_its_caller_is_cancelled(fails: bool) -> None:
    begun, go, ended, unheard = threading.Event(), threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        assert go.wait(30)
        ended.set()
        if fails:
            raise OSError("the disk")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    task = asyncio.ensure_future(to_its_end(work))
    assert await asyncio.to_thread(begun.wait, 30)
    for _ in range(3):
        task.cancel()
        await asyncio.wait([task], timeout=0.01)
        assert not task.done(), "the thread still changes files"
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    del task
    gc.collect()
    await asyncio.sleep(0)
    assert unheard == []


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
