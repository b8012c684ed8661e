"""Many submissions, one transaction: whatever gathered while the last commit ran is committed together.

Nothing waits for company: an idle door commits a single item at once. One commit is in flight at a time.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from skrei_domain.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

Commit = Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]
"""Commits a batch and returns, in order, what became of each item; one item's error is no error of another."""


class GroupCommit(Generic[Item, Result]):
    """Gathers items while a commit runs and hands them to the next one, in order of arrival.

    `after` is called with the items and results of a committed batch before their senders are answered, since what
    follows from a commit takes longer than an answer; it must not wait. `told` hears of each batch how many items it
    had, how many of them failed, and how long it took.
    """

    def __init__(
        self,
        commit: Commit[Item, Result],
        *,
        batch_items: int,
        batch_bytes: int,
        waiting_bytes: int,
        after: Callable[[Sequence[Item], Sequence[Result | Exception]], None] | None = None,
        told: Callable[[int, int, float], None] = lambda *_: None,
    ) -> None:
        self._commit = commit
        self._batch_items = batch_items
        self._batch_bytes = batch_bytes
        self._most = self._room = waiting_bytes
        self._told = told
        self._after = after
        self._waiting: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._arrived = asyncio.Event()

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of items wait for their commit, or are in the one under way."""
        return self._most - self._room

    async def submit(self, item: Item, size: int) -> Result:
        """Return what the commit that took `item` (of `size` bytes) made of it.

        Raises Unavailable at once where too many bytes wait already. A caller that goes away does not undo it.
        """
        if size > self._room:
            raise Unavailable("too much is waiting to be stored", hint="try again in a moment")
        self._room -= size
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, size, done))
        self._arrived.set()
        return await asyncio.shield(done)

    async def run(self) -> None:
        """Commit batches until cancelled; what still waits then is told so."""
        try:
            while True:
                while not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
                await self._one(self._take())
        finally:
            while self._waiting:
                _, size, done = self._waiting.popleft()
                self._room += size
                _settle(done, Unavailable("the server is stopping", hint="try again in a moment"))

    def _take(self) -> list[tuple[Item, int, "asyncio.Future[Result]"]]:
        batch = [self._waiting.popleft()]
        total = batch[0][1]
        while self._waiting and len(batch) < self._batch_items and total + self._waiting[0][1] <= self._batch_bytes:
            batch.append(self._waiting.popleft())
            total += batch[-1][1]
        return batch

    async def _one(self, batch: list[tuple[Item, int, "asyncio.Future[Result]"]]) -> None:
        items = [item for item, _, _ in batch]
        began = time.monotonic()
        results: Sequence[Result | Exception]
        try:
            results = await self._commit(items)
        except asyncio.CancelledError:
            for _, _, done in batch:
                _settle(done, Unavailable("the server is stopping; whether it was stored is not known"))
            raise
        except Exception as error:  # noqa: BLE001 - every sender of the batch is told, and the loop goes on
            results = [error] * len(batch)
        failed = sum(isinstance(result, Exception) for result in results)
        self._told(len(batch), failed, time.monotonic() - began)
        self._room += sum(size for _, size, _ in batch)
        if self._after is not None:
            self._after(items, results)
        for (_, _, done), result in zip(batch, results, strict=True):
            _settle(done, result)


def _settle(done: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if done.cancelled():
        return
    if isinstance(result, Exception):
        done.set_exception(result)
        done.exception()  # a sender that went away leaves nobody to look at it
    else:
        done.set_result(result)
