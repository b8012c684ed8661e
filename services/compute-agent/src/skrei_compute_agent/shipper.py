"""Output on its way to the publisher while executions run, so that a node that dies leaves what it had said.

It looks at the files that programs write into and sends what `shipping` says is due. Nobody waits for it: not the
execution, whose files it only reads, not the agent, and not whoever ends either.
"""

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from skrei_compute_agent.events import Adopt, Answer, Exited, NotAdopted, Stage, Staged
from skrei_compute_agent.folders import Folders
from skrei_compute_agent.pace import FREE, Pace
from skrei_compute_agent.shipping import PIECE_BYTES, Backoff, Budget, LogDoorAway, LogRefused, Piece, Stream, in_turn
from skrei_kit.observability import get_logger
from skrei_plugin_api.streams import NAMES

if TYPE_CHECKING:
    from skrei_compute_agent.log_post import LogPost

log = get_logger()

LOOK_SECONDS = 1.0
"""How often files are looked at: two calls for each running execution, some milliseconds for a thousand of them."""
AT_ONCE = 8
"""Pieces under way at once: 2 MiB of memory, and 160 a second over a link that takes 50 ms."""
ENDING = 64
"""Executions that have ended and whose last words are still to be sent; more are left to their result."""
ENDING_SECONDS = 120.0
"""How long last words are tried: their files stay that long at most."""
ROUNDS = 32
"""Rounds of pieces before files are looked at again: 64 MiB, more than any usual budget lets through in a second."""


@dataclass(slots=True)
class _Talk:
    """One start of one execution."""

    execution_id: str
    start: int
    token: str
    streams: dict[str, Stream] = field(default_factory=lambda: {name: Stream() for name in NAMES.values()})
    give_up_at: float | None = None
    holding: ExitStack = field(default_factory=ExitStack)

    @property
    def done(self) -> bool:
        return all(stream.finished for stream in self.streams.values())


class Shipper:
    """Sends what executions say, within `bytes_per_second` for all of them. Call `run_once` again and again."""

    def __init__(
        self,
        folders: Folders,
        *,
        bytes_per_second: float,
        pace: Pace = FREE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = folders
        self._clock = clock
        self._budget = Budget(bytes_per_second, burst_bytes=AT_ONCE * PIECE_BYTES, now=clock())
        self._backoff = Backoff()
        self._pace = pace
        self._off = bytes_per_second <= 0
        self._talks: dict[str, _Talk] = {}
        self._door = ""
        self._post: LogPost | None = None

    def door(self, url: str) -> None:
        """Say where the publisher's door is; empty: there is none."""
        self._door = url.rstrip("/")

    def watch(self, execution_id: str, start: int, token: str) -> None:
        """Begin to send what a start says. Never waits."""
        self._forget(execution_id)
        if not self._off:
            self._talks[execution_id] = _Talk(execution_id, start, token)

    def ended(self, execution_id: str, *, last_words: bool) -> None:
        """A start has ended; `last_words` sends the rest of what it said, where no fact carries it. Never waits."""
        talk = self._talks.get(execution_id)
        if talk is None:
            return
        ending = sum(1 for each in self._talks.values() if each.give_up_at is not None)
        if not last_words or not self._door or ending >= ENDING:
            self._forget(execution_id)
            return
        talk.give_up_at = self._clock() + ENDING_SECONDS
        talk.holding.enter_context(self._folders.reading(execution_id))

    async def run_once(self) -> None:
        """Look at every file once, and send what is due while the budget lasts."""
        now = self._clock()
        for talk in list(self._talks.values()):
            self._look(talk, now)
        for _ in range(ROUNDS):
            if not self._door or self._backoff.waits(self._clock()) or not self._budget.allows(self._clock()):
                break
            due = in_turn(self._streams(), self._clock(), AT_ONCE)
            for _, piece in due:
                self._budget.spend(piece.length)
            await asyncio.gather(*(self._ship(key, piece) for key, piece in due))
        for talk in list(self._talks.values()):
            if talk.give_up_at is not None and (talk.done or self._clock() > talk.give_up_at):
                self._forget(talk.execution_id)

    async def close(self) -> None:
        """Stop; what was not sent stays in the files."""
        for execution_id in list(self._talks):
            self._forget(execution_id)
        if self._post is not None:
            await self._post.close()

    # ------------------------------------------------------------ files

    def _look(self, talk: _Talk, now: float) -> None:
        for name, stream in talk.streams.items():
            size = _size(self._path(talk, name))
            if talk.give_up_at is None:
                stream.grown(size, now)
            elif not stream.ended:
                stream.end(size, now)

    def _path(self, talk: _Talk, name: str) -> Path | None:
        places = self._folders.latest(talk.execution_id)
        return None if places is None else places.work / name

    def _streams(self) -> Iterator[tuple[str, Stream]]:
        for talk in self._talks.values():
            for name, stream in talk.streams.items():
                yield f"{talk.execution_id}/{name}", stream

    def _forget(self, execution_id: str) -> None:
        if (talk := self._talks.pop(execution_id, None)) is not None:
            talk.holding.close()

    # ------------------------------------------------------------ sending

    async def _ship(self, key: str, piece: Piece) -> None:
        execution_id, _, name = key.rpartition("/")
        talk = self._talks.get(execution_id)
        if talk is None:
            return
        try:
            path = self._path(talk, name)
            data = b"" if path is None or not piece.length else await asyncio.to_thread(_read, path, piece)
            last = piece.last and len(data) == piece.length
            url = f"{self._door}/logs/{quote(execution_id, safe='')}/{talk.start}/{name}"
            await self._pace.wait(len(data))
            have, cut = await self._line().send(url, talk.token, piece.offset, data, last=last)
        except LogDoorAway as error:
            if not self._backoff.away:
                log.warning("logs_not_shipped", reason=str(error))
            self._backoff.failed(self._clock())
        except (LogRefused, OSError) as error:
            log.info("logs_given_up", execution_id=execution_id, start=talk.start, reason=str(error))
            if self._talks.get(execution_id) is talk:
                self._forget(execution_id)
        else:
            if self._backoff.away:
                log.info("logs_shipped_again")
            self._backoff.worked()
            talk.streams[name].answered(have, cut=cut, last=last, now=self._clock())

    def _line(self) -> "LogPost":
        """Return the client, made and imported (8 MB) when the first piece is to be sent."""
        if self._post is None:
            from skrei_compute_agent.log_post import LogPost

            self._post = LogPost()
        return self._post


class Shipping:
    """Has the output of starts shipped whose task says so, as the runner tells of them."""

    def __init__(self, shipper: Shipper) -> None:
        self._shipper = shipper
        self._tokens: dict[str, str] = {}

    def staged(self, wanted: Stage, answer: Staged) -> None:
        """See `Listener.staged`."""
        if _ships(wanted):
            self._tokens[wanted.execution_id] = wanted.order.token

    def begun(self, execution_id: str, start: int) -> None:
        """See `Listener.begun`."""
        if token := self._tokens.pop(execution_id, ""):
            self._shipper.watch(execution_id, start, token)

    def adopted(self, wanted: Adopt) -> None:
        """See `Listener.adopted`."""
        if _ships(wanted):
            self._shipper.watch(wanted.execution_id, wanted.start, wanted.order.token)

    def ended(self, execution_id: str, answer: Answer | None) -> None:
        """See `Listener.ended`; what no fact carries of the output is sent to its end."""
        carried = isinstance(answer, Exited) and answer.result is not None and answer.result.inline is not None
        self._shipper.ended(execution_id, last_words=not carried and not isinstance(answer, NotAdopted))

    def dropped(self, execution_id: str) -> None:
        """See `Listener.dropped`."""
        self._tokens.pop(execution_id, None)


def _ships(wanted: Stage | Adopt) -> bool:
    """Whether output is sent while it runs: not of what is to stay on its node."""
    stays = wanted.order.publishing is not None and wanted.order.publishing.place is not None
    return wanted.task.logs.ship == "live" and bool(wanted.order.token) and not stays


def _size(path: Path | None) -> int:
    if path is None:
        return 0
    with contextlib.suppress(OSError):
        facts = path.lstat()
        return facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return 0


def _read(path: Path, piece: Piece) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.pread(descriptor, piece.length, piece.offset)
    finally:
        os.close(descriptor)
