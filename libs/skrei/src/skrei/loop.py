"""A loop in a thread of its own, for those who block: how they wait for what runs there."""

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

from anyio.from_thread import BlockingPortal

T = TypeVar("T")
P = ParamSpec("P")


class Loop:
    """A loop in a thread, and how one waits for what runs there."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def do(self, work: Callable[P, Coroutine[Any, Any, T]], *positional: P.args, **named: P.kwargs) -> T:
        """Return what `work` returns. Whoever stops waiting (Ctrl+C) cancels it."""
        future: Future[T] = self._portal.start_task_soon(partial(work, *positional, **named))
        try:
            return future.result()
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
            with contextlib.suppress(RuntimeError):  # the client was closed first, and its loop with it
                self.do(close)
