import asyncio
import gc
import threading

import pytest

from skrei_plugin_api.aside import apart, aside, to_its_end, together


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


async def test_work_side_by_side_comes_to_its_results_in_order() -> None:
    first = asyncio.Event()

    async def waits() -> str:
        await first.wait()
        return "waits"

    async def goes() -> str:
        first.set()
        return "goes"

    assert await together([waits(), goes()]) == ["waits", "goes"]
    assert await together([]) == []


async def test_the_first_failure_is_told_when_all_that_ran_beside_it_is_over() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("waits")

    async def fails() -> None:
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        await together([waits(), fails(), waits()])
    assert ended == ["waits", "waits"]


async def test_work_side_by_side_is_over_however_often_its_caller_is_cancelled() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go.wait(30)
        ended.set()

    task = asyncio.ensure_future(together([to_its_end(work)]))
    assert await asyncio.to_thread(begun.wait, 30)
    for _ in range(3):
        task.cancel()
        await asyncio.wait([task], timeout=0.01)
        assert not task.done(), "the thread still changes files"
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


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
