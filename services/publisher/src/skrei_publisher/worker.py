"""Taking inline results over in bulk, making staged ones final, dropping what the leader says.

Every command may come twice or not at all.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from skrei_domain.messages import PublisherCommand, PublisherFact, PublishWaits, ResultHeld
from skrei_kit.observability import get_logger
from skrei_publisher.finaliser import End, Finaliser, facts_of
from skrei_publisher.retention import Retention
from skrei_publisher.shelf import Item
from skrei_publisher.source import SourceAway
from skrei_publisher.store import ResultStore, digest_of
from skrei_publisher.turns import Turn, Turns

log = get_logger()

SOON_SECONDS = 0.05
"""How long a batch of them is waited for, so that one fact tells of it; what takes longer is told of by itself."""

T = TypeVar("T")
Tell = Callable[[PublisherFact], Awaitable[None]]


class Source(Protocol):
    """Where a result is before it is stored."""

    async def fetch_many(self, execution_ids: Sequence[str]) -> dict[str, bytes]:
        """Return those of these results that there are. Raises SourceAway."""


class Worker:
    """Carries commands out, one batch at a time, in the order they came.

    `accept` never waits: what does not fit is left out, and the leader's sweep asks for it again.
    """

    def __init__(
        self,
        store: ResultStore,
        source: Source,
        retention: Retention,
        *,
        tell: Tell,
        batch: int,
        most_pending: int,
        finaliser: Finaliser | None = None,
        drop_logs: Callable[[Sequence[str]], Awaitable[None]] | None = None,
        make_room: Callable[[int], bool] = lambda _: False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._source = source
        self._retention = retention
        self._tell = tell
        self._batch = batch
        self._most_pending = most_pending
        self._finaliser = finaliser
        self._drop_logs = drop_logs
        self._make_room = make_room
        self._logs: dict[str, None] = {}
        self._now = now
        self._turns = Turns()
        self._ending: dict[str, asyncio.Task[End]] = {}
        self._take: dict[str, ResultHeld] = {}
        self._drop: dict[str, None] = {}
        self._work = asyncio.Event()
        self.left_out = 0

    @property
    def pending(self) -> int:
        """How many results wait to be taken over, made final or dropped."""
        return len(self._take) + len(self._drop) + self._turns.waiting + len(self._logs)

    def accept(self, command: PublisherCommand) -> None:
        """Remember what a command asks; the later word on an execution counts."""
        for held in command.take:
            if self.pending >= self._most_pending and held.execution_id not in self._take:
                self.left_out += 1
                continue
            self._drop.pop(held.execution_id, None)
            self._take[held.execution_id] = held
        now = self._now()
        for turn in (*(Turn(each, True) for each in command.finalise), *(Turn(each, False) for each in command.keep)):
            if self.pending >= self._most_pending or not self._turns.add(turn, now):
                self.left_out += 1
        for execution_id in command.drop:
            self._take.pop(execution_id, None)
        for waiting, ids in ((self._drop, command.drop), (self._logs, command.drop_logs)):
            room = max(self._most_pending - self.pending, 0)
            waiting.update(dict.fromkeys(ids[:room]))
            self.left_out += len(ids[room:])
        if self.pending:
            self._work.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._work.wait()
                await self.run_once()
        finally:
            for task in self._ending.values():
                task.cancel()
            await asyncio.gather(*self._ending.values(), return_exceptions=True)

    async def run_once(self) -> None:
        """Carry one batch out and tell the leader what is durably done."""
        taken = _first(self._take, self._batch)
        dropped = _first(self._drop, self._batch)
        staged = self._turns.next()
        logs = _first(self._logs, self._batch)
        if not (self._take or self._drop or self._logs or staged):
            self._work.clear()  # what waits for its turn behind what is being brought elsewhere is woken by its end
        if dropped:
            await asyncio.to_thread(self._store.drop, list(dropped))
        if logs and self._drop_logs is not None:
            await self._drop_logs(list(logs))
        if staged or self._ending:
            await self._end(staged)
        stored = await self._take_over(list(taken.values())) if taken else []
        if stored or dropped:
            await self._tell(PublisherFact(stored=tuple(stored), dropped=tuple(dropped)))

    async def _end(self, staged: Sequence[Turn]) -> None:
        """Begin to bring results to their ends, and tell of those that have come to one."""
        if self._finaliser is None:
            return
        begun = {
            each.staged.execution_id: asyncio.create_task(
                self._finaliser.one(each.staged, each.counts), name=f"finalise {each.destination}"
            )
            for each in staged
        }
        self._ending |= begun
        if begun:
            await asyncio.wait(begun.values(), timeout=SOON_SECONDS)
        for task in begun.values():
            task.add_done_callback(lambda _: self._work.set())
        over = [execution_id for execution_id, task in self._ending.items() if task.done()]
        ends = [self._ending.pop(execution_id).result() for execution_id in over]
        for execution_id, end in zip(over, ends, strict=True):
            if isinstance(end, PublishWaits):
                self._turns.failed(execution_id, self._now())
            else:
                self._turns.ended(execution_id)
        if over and self._turns.waiting:
            self._work.set()  # there is room for the next ones
        for fact in facts_of(ends):
            await self._tell(fact)

    async def _take_over(self, wanted: Sequence[ResultHeld]) -> list[tuple[str, str]]:
        """Return (execution id, digest) of what is stored now; the others stay with the record."""
        done = await asyncio.to_thread(self._held, wanted)
        known = {held.execution_id for held in done}
        missing = [held for held in wanted if held.execution_id not in known]
        if missing and not await self._has_room(sum(held.size for held in missing)):
            log.warning("result_store_full", waiting=len(missing), used_bytes=self._store.used_bytes)
            missing = []
        items = await self._fetch(missing) if missing else []
        if items and not await self._put(items):
            items = []
        return [(held.execution_id, held.digest) for held in done] + [(one.execution_id, one.digest) for one in items]

    async def _has_room(self, size: int) -> bool:
        """Return whether there is room, made by dropping copies where there is none."""
        if self._retention.has_room(size):
            return True
        return await asyncio.to_thread(self._make_room, size) and self._retention.has_room(size)

    async def _put(self, items: Sequence[Item]) -> bool:
        """Store items; a disk that refuses is told and left to the leader's sweep, which keeps them in the record."""
        try:
            await asyncio.to_thread(self._store.put, items)
        except OSError as error:
            log.error("results_not_stored", count=len(items), reason=str(error))
            return False
        log.debug("results_stored", count=len(items), used_bytes=self._store.used_bytes)
        return True

    def _held(self, wanted: Sequence[ResultHeld]) -> list[ResultHeld]:
        return [held for held in wanted if self._store.holds(held.execution_id, held.digest)]

    async def _fetch(self, wanted: Sequence[ResultHeld]) -> list[Item]:
        """Return what the record still holds; what is missing was taken over before, or the leader asks again."""
        try:
            found = await self._source.fetch_many([held.execution_id for held in wanted])
        except SourceAway as error:
            log.warning("results_not_fetched", count=len(wanted), reason=error.message)
            return []
        items: list[Item] = []
        for held in wanted:
            content = found.get(held.execution_id)
            if content is None:
                continue
            if (got := digest_of(content)) != held.digest:
                log.error("result_digest_differs", execution_id=held.execution_id, wanted=held.digest, got=got)
            else:
                items.append(Item(held.execution_id, held.digest, content))
        return items


def _first(waiting: dict[str, T], most: int) -> dict[str, T]:
    """Take at most so many out of `waiting`, oldest first."""
    return {key: waiting.pop(key) for key in list(islice(waiting, most))}
