"""Questions to this machine that are asked again and again, and may never be answered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Probe(Generic[T]):
    """One question. It is never asked twice at once, and nobody waits for its answer longer than its limit.

    What fails or stays silent is an answer too: `unknown` makes it from a reason.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], unknown: Callable[[str], T], *, limit_seconds: float) -> None:
        self._ask = ask
        self._unknown = unknown
        self._limit = limit_seconds
        self._asking: asyncio.Task[T] | None = None

    async def look(self) -> T:
        """Return the answer as of now. Never raises for the question's own failures."""
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._question())
        done, _ = await asyncio.wait({self._asking}, timeout=self._limit)
        if not done:
            return self._unknown(f"its probe has not answered within {self._limit:g} s")
        asked, self._asking = self._asking, None
        if asked.cancelled():
            return self._unknown("its probe was cancelled")
        if (error := asked.exception()) is not None:
            return self._unknown(f"its probe failed: {type(error).__name__}: {error}")
        return asked.result()

    async def close(self) -> None:
        """Give up a question that is still asked."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking}, timeout=self._limit)

    async def _question(self) -> T:
        return await self._ask()
