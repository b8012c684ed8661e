"""A loop in a thread of its own, for those who block: how they wait for what runs there."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import ParamSpec, TypeVar

from anyio.from_thread import BlockingPortal

T = TypeVar("T")
P = ParamSpec("P")


class Loop:
    """A loop in a thread, and how one waits for what runs there."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def do(self, work: Callable[P, Awaitable[T]], *positional: P.args, **named: P.kwargs) -> T:
        """Return what `work` returns."""
        return self._portal.call(partial(work, *positional, **named))

    def each(self, source: AsyncIterator[T]) -> Iterator[T]:
        """Yield what `source` yields; it is closed with this iterator."""

        async def following() -> tuple[T, ...]:
            return (item,) if (item := await anext(source, None)) is not None else ()

        async def close() -> None:
            if (end := getattr(source, "aclose", None)) is not None:
                await end()

        try:
            while got := self._portal.call(following):
                yield got[0]
        finally:
            self._portal.call(close)
