"""Results that stay on this node are shown once they have won: the record is asked, and what it says is done.

A note on disk for each that waits, so that a node which was killed, or is cut off for days, goes on where it was.
Nobody is told: whether a result counts is settled as its fact is committed, and where it will lie stands in the record.
"""

import asyncio
import contextlib
import json
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from skrei_compute_agent.input_cache import InputDenied
from skrei_compute_agent.leaving import settle
from skrei_compute_agent.upload_errors import ResultMissing
from skrei_domain.errors import SkreiError
from skrei_domain.paths import Entry
from skrei_kit.observability import get_logger
from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.upload_folder import check_id, sync_folder

log = get_logger()

AGAIN_SECONDS = 0.25
"""First pause before the record is asked once more; doubles. The fact itself may still be on its way."""
LONGEST_SECONDS = 30.0
"""The longest pause: a link that is back is noticed within half a minute."""
ARRIVAL_SECONDS = 5.0
"""How long a job waits for what is about to be shown where it reads: some ten times what that takes. What is still not
decided then, or of a node that is cut off, is not there yet for it either."""
REFUSALS = 20
"""Times that the API refuses to say before a result is put beside its place: some seven minutes, in which a key that is
being replaced is known everywhere. The token of one that was signed with a key that is gone is refused for ever."""


class Record(Protocol):
    """Who knows what has won."""

    async def standing(self, execution_id: str, token: str) -> bool | None:
        """Return whether what an execution left counts; None while that is not decided.

        Raises InputDenied where it does not say to who asks, ResultMissing where it knows none, else SkreiError.
        """


class Settler:
    """Looks after what lies unseen on this node. `record` returns whom to ask."""

    def __init__(self, folder: Path, entries: Sequence[Entry], record: Callable[[], Record]) -> None:
        self._folder = folder
        self._entries = entries
        self._record = record
        self._waiting: dict[str, tuple[float, float]] = {}  # when each is asked for, and the pause after that
        self._refused: Counter[str] = Counter()  # how often one was, in a row
        self._places: dict[str, str] = {}  # where each is to be seen, as far as that was read
        self._moved = asyncio.Condition()
        self._work: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def note(self, execution_id: str, place: str, token: str) -> None:
        """Look after a result from now on. Blocks."""
        check_id(execution_id)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{execution_id}.json"
        draft = path.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            json.dump({"place": place, "token": token}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(self._folder)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin, execution_id, posixpath.normpath(place))

    async def arrived(self, paths: Sequence[str]) -> None:
        """Return once nothing waits to be shown that does now at, above or below these paths, or after ARRIVAL_SECONDS:
        a job that is begun as another has completed may want what that one left. What has waited for so long before
        is not about to be shown, and holds up nobody.
        """
        wanted = [posixpath.normpath(path) for path in paths]
        soon = {each for each, (_, pause) in self._waiting.items() if pause <= ARRIVAL_SECONDS}
        coming = {each for each, at in self._places.items() if each in soon and any(_meet(at, path) for path in wanted)}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ARRIVAL_SECONDS), self._moved:
                await self._moved.wait_for(lambda: coming.isdisjoint(self._waiting))

    def heard(self, execution_id: str) -> None:
        """The record has heard of the end of an execution: if it is one of these, ask at once."""
        if execution_id in self._waiting:
            self._begin(execution_id)

    def _begin(self, execution_id: str, place: str | None = None) -> None:
        if place is not None:
            self._places[execution_id] = place
        self._waiting[execution_id] = (0.0, AGAIN_SECONDS)
        if self._work is not None:
            self._work.set()

    async def find(self) -> None:
        """Find what an earlier process left."""
        self._work, self._loop = asyncio.Event(), asyncio.get_running_loop()
        for execution_id in await asyncio.to_thread(self._noted):
            self._begin(execution_id)

    async def run(self) -> None:
        """Look after all of them until cancelled."""
        await self.find()
        assert self._work is not None
        while True:
            self._work.clear()
            pause = await self.run_once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._work.wait()

    async def run_once(self) -> float | None:
        """Ask for those whose turn it is; return after how many seconds the next one is due, None where none waits."""
        now = asyncio.get_running_loop().time
        for execution_id, (due, pause) in list(self._waiting.items()):
            if due > now():
                continue
            if await self._settle(execution_id):
                self._waiting.pop(execution_id, None)
                self._places.pop(execution_id, None)
                async with self._moved:
                    self._moved.notify_all()
            else:
                self._waiting[execution_id] = (now() + pause, min(pause * 2, LONGEST_SECONDS))
        return max(min(due for due, _ in self._waiting.values()) - now(), 0.0) if self._waiting else None

    def _noted(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.json")) if self._folder.is_dir() else []

    async def _settle(self, execution_id: str) -> bool:
        """Ask for one, and do what is said; whether nothing more is to be done."""
        path = self._folder / f"{execution_id}.json"
        try:
            told = json.loads(await asyncio.to_thread(path.read_text))
            place, token = str(told["place"]), str(told["token"])
            self._places[execution_id] = posixpath.normpath(place)
        except (OSError, ValueError, KeyError, TypeError) as error:
            # Said once, and looked at again by the next process: the note may be mended, and the result stays as it is.
            log.error("left_result_unknown", execution_id=execution_id, note=str(path), problem=str(error))
            return True
        try:
            counts = await self._record().standing(execution_id, token)
            if counts is None:
                return False
        except ResultMissing:
            counts = None  # the record has forgotten it: whose it is can be read there, and nothing is thrown away
        except InputDenied as error:
            self._refused[execution_id] += 1
            if self._refused[execution_id] < REFUSALS:
                log.debug("left_result_waits", execution_id=execution_id, problem=error.message)
                return False
            log.warning("left_result_not_told", execution_id=execution_id, place=place, problem=error.message)
            counts = None
        except SkreiError as error:
            self._refused.pop(execution_id, None)
            log.debug("left_result_waits", execution_id=execution_id, problem=error.message)
            return False
        try:
            at = await to_its_end(lambda: settle(place, execution_id, self._entries, counts=counts))
        except FileNotFoundError:
            log.warning("left_result_gone", execution_id=execution_id, place=place)
        except (SkreiError, OSError) as error:
            log.warning("left_result_not_shown", execution_id=execution_id, place=place, problem=str(error))
            return False
        else:
            log.info("left_result_settled", execution_id=execution_id, counts=counts, at=at)
        self._refused.pop(execution_id, None)
        await asyncio.to_thread(path.unlink, missing_ok=True)
        return True


def _meet(one: str, other: str) -> bool:
    """Whether one path is the other, or lies below it."""
    return one == other or one.startswith(f"{other.rstrip('/')}/") or other.startswith(f"{one.rstrip('/')}/")
