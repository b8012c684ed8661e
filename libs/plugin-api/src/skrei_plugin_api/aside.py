"""Blocking work beside the event loop, for what may never come back: a hung network file system, a lost device."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T], *, name: str = "aside") -> T:
    """Return what `work` returns, run in a thread of its own.

    The thread is a daemon and none of a pool's: one that hangs holds up neither the loop, nor other work, nor the
    end of the process. Cancelled, the thread runs on unheard, so a caller must not start one after another.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None is only passed beside an error, or as a T

    def run() -> None:
        result: T | None = None
        failed: BaseException | None = None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            failed = error
        try:
            loop.call_soon_threadsafe(settle, result, failed)
        except RuntimeError:
            if not loop.is_closed():
                raise

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


async def to_its_end(work: Callable[[], T], threads: Executor | None = None) -> T:
    """Return what `work` returns, run in a thread of the loop's pool, or of `threads`; a cancellation is passed on only
    once that has ended.

    For what must not go on beside whoever is next: changes of files that the next one finds.
    """
    running: asyncio.Future[T]
    if threads is None:
        running = asyncio.ensure_future(asyncio.to_thread(work))
    else:
        running = asyncio.get_running_loop().run_in_executor(threads, work)
    try:
        return await outcome(running)
    except asyncio.CancelledError:
        await over(running)
        raise


async def outcome(running: "asyncio.Future[T]") -> T:
    """Return what `running` comes to. A cancellation is passed on at once, and leaves that running.

    Not `asyncio.shield`, which since Python 3.14 logs a failure that comes later as if nobody heard it: this is for
    those who go on to hear it.
    """
    await asyncio.wait([running])
    return running.result()


async def over(running: "asyncio.Future[Any]") -> None:
    """Return when `running` is done, however often that is cancelled meanwhile: a cancellation is passed on after it.

    How it ended stays in it, and counts as heard.
    """
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if not running.cancelled():
        running.exception()
    if cancelled is not None:
        raise cancelled


async def stopped(running: "asyncio.Future[Any]") -> None:
    """End `running`, and return when it is over; how is nobody's concern."""
    running.cancel()
    await over(running)


async def whatever_happens(work: Awaitable[None], *, unless: Callable[[], bool]) -> None:
    """Wait for `work` although we are being cancelled, also a second time, unless there is no time for it any more."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            if unless():
                await stopped(task)
    if not task.cancelled():
        task.result()


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what all of these come to, side by side, in their order.

    The first that fails ends the others, as a cancellation does; that is passed on when all are over.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def apart(ask: Callable[[], Awaitable[T]], *, name: str = "apart") -> T:
    """Return what `ask()` comes to, awaited in a thread of its own, on an event loop of its own.

    For coroutines of others, which may block. They cannot use what belongs to the caller's loop, a session say.
    """

    async def whole() -> T:
        return await ask()

    return await aside(lambda: asyncio.run(whole()), name=name)
