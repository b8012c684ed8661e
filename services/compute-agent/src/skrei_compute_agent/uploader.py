"""Results on their way to the publisher: tried again after a cut, and never given up while it may still succeed.

Every retry begins with fresh connections, since a pooled one that the other side has closed fails by no fault of
anybody.
"""

import asyncio
import hashlib
import random
from pathlib import Path

import aiohttp
from yarl import URL

from skrei_compute_agent.pace import FREE, Pace
from skrei_compute_agent.upload_attempt import Attempt, bearer
from skrei_compute_agent.upload_elsewhere import Stale
from skrei_compute_agent.upload_errors import Away, Differs, PublishFailed, ResultDamaged
from skrei_domain.uploads import Parcel
from skrei_kit.observability import get_logger
from skrei_kit.proxies import through
from skrei_plugin_api.engine import Tell
from skrei_plugin_api.outbound import Outbound

log = get_logger()


ABORT_SECONDS = 1.0
"""How long telling the publisher to drop what came may take: it finds out by itself, later."""
PARALLEL_UPLOADS = 4
"""Results at once: more only share the same link and disk."""
AGAIN_SECONDS = 0.2
"""First pause before an upload goes on after something failed; doubles."""
AGAIN_MAX_SECONDS = 30.0
"""The longest pause: a publisher that is back is asked within half a minute."""
FIRST_NOTE_SECONDS = 1.0
"""Before it is told what is waited for: a note is a fact, a row and a commit, and most cuts are over by then."""
STALE_TRIES = 3
"""Plans in a row of which a server elsewhere takes nothing: an address that has expired is another one in the next."""


class Uploader:
    """Brings results to the publisher. `door` says where that is, which may come long after the first result."""

    def __init__(self, *, full_seconds: float = 600.0, rules: Outbound | None = None, pace: Pace = FREE) -> None:
        self._full_seconds = full_seconds
        self._rules = rules or Outbound()
        self._pace = pace
        self._door: str | None = None
        self._there = asyncio.Event()
        self._turns = asyncio.Semaphore(PARALLEL_UPLOADS)
        self._unfinished: dict[str, tuple[Parcel, str]] = {}
        self._aborting: set[asyncio.Task[None]] = set()

    def door(self, url: str) -> None:
        """Say where the publisher's door is; empty: there is none."""
        self._door = url.rstrip("/")
        self._there.set()

    async def upload(self, path: Path, parcel: Parcel, token: str, tell: Tell = lambda _: None) -> str:
        """Return the receipt for a file once the publisher holds it durably, however long that takes: `tell` hears what
        is waited for, and nothing once it goes on.

        Raises PublishFailed, ResultTooLarge and ResultDamaged. What is cancelled may go on later, in another process
        too, until `drop`.
        """
        receipt = await self._until_done(path, parcel, token, tell)
        del self._unfinished[parcel.execution_id]
        return receipt

    def drop(self, execution_id: str) -> None:
        """Nothing more of an execution comes: tell the publisher, if it has got a part of it. Never waits."""
        if (begun := self._unfinished.pop(execution_id, None)) is not None:
            task = asyncio.get_running_loop().create_task(self._abort(*begun))
            self._aborting.add(task)
            task.add_done_callback(self._aborting.discard)

    async def close(self) -> None:
        """Wait for what is being told to the publisher; each has a second."""
        await asyncio.gather(*self._aborting, return_exceptions=True)

    async def _until_done(self, path: Path, parcel: Parcel, token: str, tell: Tell) -> str:
        pause, full_since, damaged, stale = AGAIN_SECONDS, None, False, 0
        waits_since: float | None = None
        loop = asyncio.get_running_loop()
        while True:
            await self._there.wait()
            if not self._door:
                raise PublishFailed("there is no publisher that takes uploads")
            attempt = Attempt(URL(self._door), path, parcel, token, self._rules, pace=self._pace)
            try:
                async with self._turns:  # not while it waits: who sends to where nobody is holds up no other
                    self._unfinished[parcel.execution_id] = (parcel, token)
                    return await attempt.run()
            except Differs as error:
                if damaged or await asyncio.to_thread(_digest_of, path) != parcel.digest:
                    raise ResultDamaged("the packed result was damaged on this node's disk") from error
                damaged = True  # it was damaged on the way, or over there: once more, from the beginning
            except Away as error:
                stale = stale + 1 if isinstance(error, Stale) and not attempt.sent else 0
                if stale >= STALE_TRIES:
                    raise PublishFailed(f"the result cannot be sent: {error.message}") from error
                parcel = attempt.parcel
                full_since = (full_since or loop.time()) if error.full else None
                if full_since is not None and loop.time() - full_since >= self._full_seconds:
                    raise PublishFailed(f"the result cannot be stored: {error.message}") from error
                log.info("upload_waits", execution_id=parcel.execution_id, reason=error.message, parts=attempt.sent)
                waits_since = None if attempt.sent else (waits_since or loop.time())
                waits = waits_since is not None and loop.time() - waits_since >= FIRST_NOTE_SECONDS
                tell(error.message if waits else "")
            if attempt.sent:
                pause = AGAIN_SECONDS
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, AGAIN_MAX_SECONDS)

    async def _abort(self, parcel: Parcel, token: str) -> None:
        """Tell the publisher that nothing more comes; it finds out by itself where it cannot be told."""
        if not self._door:
            return
        timeout = aiohttp.ClientTimeout(total=ABORT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.delete(
                    URL(self._door) / "uploads" / parcel.execution_id,
                    headers=bearer(token),
                    proxy=through(self._door),
                ),
            ):
                pass
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.debug("abort_unheard", execution_id=parcel.execution_id, reason=str(error))


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except FileNotFoundError:
        return ""
