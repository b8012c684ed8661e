"""Who asks for a job again at once is answered once something has changed, or a moment later.

A client that polls without a pause asks faster than a job moves. Its questions take the processor that the job waits
for, and still it hears of the end half of its pause too late. So the second of two equal questions of one connection,
while nothing has changed, waits for the feed: not for long, and what is answered is read from the record then, as
always. Nothing is answered from memory, so nothing is ever out of date (ADR 0052).
"""

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from starlette.types import Scope

from skrei_domain.errors import Exhausted
from skrei_orchestrator_api.listeners import Listeners
from skrei_orchestrator_api.views import JobView

AGAIN_SECONDS = 0.01
"""What is asked again within it is polled without a pause worth the name: whoever looks for a person asks a tenth as
often at most, and is never held."""
ASKED = 1_024
"""Connections whose last question is remembered, the longest silent forgotten first: 200 KB; one that is forgotten is
answered at once."""


class _Asked(NamedTuple):
    """The last question of a connection: what it was, when it was answered, and how far the job's history went then."""

    question: tuple[str, bytes]
    at: float
    job_id: str
    seq: int


class Polls:
    """Holds questions back for `hold_seconds` at most; 0: none."""

    def __init__(self, listeners: Listeners, *, hold_seconds: float) -> None:
        self._listeners = listeners
        self._hold_seconds = hold_seconds
        self._asked: OrderedDict[tuple[str, int], _Asked] = OrderedDict()

    async def turn(self, scope: Scope) -> None:
        """Return when the question is to be answered: at once, unless it was only just answered and nothing is new."""
        asked = self._asked.get(scope["client"]) if scope["client"] else None
        if (
            asked is None
            or asked.question != _question(scope)
            or asyncio.get_running_loop().time() - asked.at > AGAIN_SECONDS
            or self._listeners.heard(asked.job_id) > asked.seq
        ):
            return
        knew = self._listeners.hears
        try:
            async with self._listeners.listening(asked.job_id) as woken:
                if not knew:
                    return  # what changed until now was not heard: from the next one on
                await self._changed(asked, woken)
        except Exhausted:
            return  # they hold more than one connection each: this one may ask

    async def _changed(self, asked: _Asked, woken: asyncio.Event) -> None:
        """Wait until more of a job's history is told of than was answered, not longer than may be held."""
        try:
            async with asyncio.timeout(self._hold_seconds):
                while self._listeners.heard(asked.job_id) <= asked.seq:
                    woken.clear()
                    await woken.wait()
        except TimeoutError:
            return

    def answered(self, scope: Scope, job: JobView) -> None:
        """Note what a question is answered with; who knows that a job has ended has no reason to ask again."""
        client = scope["client"]
        if not self._hold_seconds or not client:
            return
        if job.is_terminal or not job.current:
            self._asked.pop(client, None)
            return
        at = asyncio.get_running_loop().time()
        self._asked[client] = _Asked(_question(scope), at, job.id, job.history_seq)
        self._asked.move_to_end(client)
        if len(self._asked) > ASKED:
            self._asked.popitem(last=False)


def _question(scope: Scope) -> tuple[str, bytes]:
    return scope["path"], scope["query_string"]
