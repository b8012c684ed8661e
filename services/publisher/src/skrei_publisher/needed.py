"""What jobs that have not ended may still read: asked of the API before room is made, from threads that wait for it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from skrei_kit.observability import get_logger
from skrei_publisher.source import SourceAway

log = get_logger()

ASKED = 64
"""Asked about at once: an id has 38 bytes, a digest 71."""

Keep = Callable[[Sequence[str]], Collection[str]]
"""Returns which of these have to stay; blocks."""


class Source(Protocol):
    """Who knows."""

    def needed(self, results: Sequence[str], manifests: Sequence[str]) -> Awaitable[frozenset[str]]:
        """Return those that a job which has not ended may read. Raises SourceAway."""


class Needed:
    """Asks on the loop on which it was made, and waits `seconds` at most: where nobody answers all is needed."""

    def __init__(self, source: Source, *, seconds: float) -> None:
        self._source = source
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()

    def results(self, execution_ids: Sequence[str]) -> Collection[str]:
        """Return those of these executions whose results have to stay. Blocks: for threads alone."""
        return self._ask(execution_ids, ())

    def manifests(self, digests: Sequence[str]) -> Collection[str]:
        """Return those of these lists of inputs that have to stay. Blocks: for threads alone."""
        return self._ask((), digests)

    def _ask(self, results: Sequence[str], manifests: Sequence[str]) -> Collection[str]:
        async def ask() -> frozenset[str]:
            async with asyncio.timeout(self._seconds):
                return await self._source.needed(results, manifests)

        try:
            return asyncio.run_coroutine_threadsafe(ask(), self._loop).result()
        except (SourceAway, TimeoutError) as error:
            log.warning("needs_not_known", reason=str(error) or "the API does not answer")
            return {*results, *manifests}
