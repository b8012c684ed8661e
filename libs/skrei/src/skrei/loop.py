"""A loop in a thread of its own, for those who block: how they wait for what runs there.

The thread keeps no program from ending: it ends with `close`, when nobody holds its loop any more, or at exit.
"""

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, ParamSpec, TypeVar

from skrei.errors import Closed, closed

T = TypeVar("T")
P = ParamSpec("P")

END_SECONDS = 5.0
"""How long connections may take to close: nobody waits for them but who closes, or ends the program."""


class Loop:
    """A loop in a thread, and how one waits for what runs there; `last` is done there at the end."""

    def __init__(self, last: Callable[[], Awaitable[None]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run, args=(self._loop, last), name="skrei client", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, _end, self._loop, self._thread)

    def close(self) -> None:
        """End the loop and its thread; a second time does nothing."""
        self._end()

    def do(self, work: Callable[P, Coroutine[Any, Any, T]], *positional: P.args, **named: P.kwargs) -> T:
        """Return what `work` returns. Whoever stops waiting (Ctrl+C) cancels it. Raises Closed after the end."""
        if not self._end.alive:
            raise closed()
        running = work(*positional, **named)
        try:
            future = asyncio.run_coroutine_threadsafe(running, self._loop)
        except RuntimeError as error:  # another thread ended it just now
            running.close()
            raise closed() from error
        try:
            return future.result()
        except CancelledError as error:
            raise closed() from error
        except BaseException:
            future.cancel()
            raise

    def each(self, source: AsyncIterator[T]) -> Iterator[T]:
        """Yield what `source` yields; it is closed with this iterator."""

        async def following() -> tuple[T, ...]:
            return (item,) if (item := await anext(source, None)) is not None else ()

        async def close() -> None:
            if (end := getattr(source, "aclose", None)) is not None:
                await end()

        try:
            while got := self.do(following):
                yield got[0]
        finally:
            if threading.current_thread() is self._thread:  # forgotten, and collected there: it cannot wait for itself
                self._loop.create_task(close())
            else:
                with contextlib.suppress(Closed):  # the client was closed first, and its loop with it
                    self.do(close)


def _run(loop: asyncio.AbstractEventLoop, last: Callable[[], Awaitable[None]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_finish(last))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _finish(last: Callable[[], Awaitable[None]]) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await last()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended
        loop.call_soon_threadsafe(loop.stop)
    if threading.current_thread() is not thread:
        thread.join(END_SECONDS)
