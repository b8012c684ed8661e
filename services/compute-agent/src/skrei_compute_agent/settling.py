"""Results that stay on this node: shown once they have won, removed once it is known that they have not.

What has won is shown as the control plane asks for it, and only then is its job told to be complete. The rest is asked
for here: what did not win is removed, and what is decided is forgotten. A note on disk for each, so that a node which
was killed, or is cut off for days, goes on where it was.
"""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from skrei_compute_agent.input_cache import InputDenied
from skrei_compute_agent.leaving import settle
from skrei_compute_agent.upload_errors import ResultMissing
from skrei_domain.bounds import is_id
from skrei_domain.errors import SkreiError
from skrei_domain.messages import LEFT_GONE, LeftShow, LeftShown, Problem
from skrei_domain.node_results import left_by
from skrei_domain.paths import Entry
from skrei_kit.observability import get_logger
from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.upload_folder import check_id, sync_folder

log = get_logger()

AGAIN_SECONDS = 0.25
"""First pause before the record is asked once more; doubles. The fact itself may still be on its way."""
LONGEST_SECONDS = 30.0
"""The longest pause: a link that is back is noticed within half a minute."""
REFUSALS = 20
"""Times that the API refuses to say before a result is put beside its place: some seven minutes, in which a key that is
being replaced is known everywhere. The token of one that was signed with a key that is gone is refused for ever; it may
have won all the same, and be asked for once a bucket is back to which another part goes: its note stays."""


_NOT_KNOWN = "whether that has won is not known yet"


class Record(Protocol):
    """Who knows what has won."""

    async def standing(self, execution_id: str, token: str) -> bool | None:
        """Return whether what an execution left counts; None while that is not decided. The token is its own, or that
        of another of its job.

        Raises InputDenied where it does not say to who asks, ResultMissing where it knows none, else SkreiError.
        """


class Settler:
    """Looks after what lies unseen on this node. `record` returns whom to ask.

    What one execution leaves at a place has its id, or one of that execution's own: `left` names it.
    """

    def __init__(self, folder: Path, entries: Sequence[Entry], record: Callable[[], Record]) -> None:
        self._folder = folder
        self._entries = entries
        self._record = record
        self._waiting: dict[str, tuple[float, float]] = {}  # when each is asked for, and the pause after that
        self._refused: Counter[str] = Counter()  # how often one was, in a row
        self._turn = asyncio.Lock()  # of two who rename one folder the second would find it gone
        self._work: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def note(self, left: str, place: str, token: str, *, execution_id: str = "", told: LeftShown | None = None) -> None:
        """Look after a result from now on; `told` is what is said of it once it is shown. Blocks."""
        check_id(left)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{left}.json"
        draft = path.with_suffix(".new")
        noted: dict[str, Any] = {"place": place, "token": token, "execution": execution_id or left}
        if told is not None:
            noted["told"] = told.model_dump(include={"left_bytes", "digest", "size"})
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            json.dump(noted, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(self._folder)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin, left)

    async def show(self, wanted: LeftShow) -> LeftShown:
        """Show what has won, and return where it is; or why it is not. Twice is once."""
        left, answer = wanted.left, LeftShown(request_id=wanted.request_id)
        try:
            check_id(left)
            noted = _Note.parse(await asyncio.to_thread((self._folder / f"{left}.json").read_text))
            async with self._turn:
                at = await to_its_end(lambda: settle(noted.place, left, self._entries, counts=True))
        except FileNotFoundError:
            problem = Problem(code=LEFT_GONE, message="what it left there is gone")
        except (SkreiError, OSError, ValueError) as error:
            problem = Problem(code="left-not-shown", message=str(error))
        else:
            log.info("left_result_shown", left=left, at=at)
            return answer.model_copy(update={**noted.told, "path": at})
        log.warning("left_result_not_shown", left=left, problem=problem.message)
        return answer.model_copy(update={"problem": problem})

    async def undecided(self, left: str, place: str, token: str) -> str:
        """Ask for one now, whenever its turn is, and do what is said; return what is waited for, empty where nothing
        more will become of it.

        For whoever finds it at a place that is wanted, with the token of what is to lie there: what was shown and has
        not won after all is taken back by this, also what another node has shown in a folder that it shares with this
        one. Nothing will become of what is another job's, or nobody's, which stays as it is.
        """
        if not is_id(left):
            return ""
        if await asyncio.to_thread((self._folder / f"{left}.json").exists):
            return "" if await self._settle(left) else _NOT_KNOWN
        try:
            counts = await self._record().standing(left_by(left), token)
            if counts is False:
                async with self._turn:
                    await to_its_end(lambda: settle(place, left, self._entries, counts=False))
                log.info("left_result_taken_back", left=left, place=place)
        except (ResultMissing, InputDenied):
            return ""
        except SkreiError as error:
            log.warning("left_result_not_taken_back", left=left, place=place, problem=str(error))
            return _NOT_KNOWN
        except OSError as error:
            log.warning("left_result_not_taken_back", left=left, place=place, problem=str(error))
            return f"that has not won, and this node cannot take it back: {error.strerror or error}"
        return _NOT_KNOWN if counts is None else ""

    def heard(self, execution_id: str) -> None:
        """The record has heard of the end of an execution: what it left is asked for at once."""
        for left in self._waiting:
            if left == execution_id or left.startswith(f"{execution_id}."):
                self._begin(left)

    def _begin(self, left: str) -> None:
        self._waiting[left] = (0.0, AGAIN_SECONDS)
        if self._work is not None:
            self._work.set()

    async def find(self) -> None:
        """Find what an earlier process left."""
        self._work, self._loop = asyncio.Event(), asyncio.get_running_loop()
        for left in await asyncio.to_thread(self._noted):
            self._begin(left)

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
        for left, turn in list(self._waiting.items()):
            due, pause = turn
            if due > now():
                continue
            over = await self._settle(left)
            if self._waiting[left] is not turn:
                continue  # more was heard of it meanwhile: it is asked for at once, whatever was said
            if over:
                del self._waiting[left]
            else:
                self._waiting[left] = (now() + pause, min(pause * 2, LONGEST_SECONDS))
        return max(min(due for due, _ in self._waiting.values()) - now(), 0.0) if self._waiting else None

    def _noted(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.json")) if self._folder.is_dir() else []

    async def _settle(self, left: str) -> bool:
        """Ask for one, and do what is said; whether nothing more is to be done."""
        path, refused = self._folder / f"{left}.json", False
        try:
            noted = _Note.parse(await asyncio.to_thread(path.read_text))
        except FileNotFoundError:
            return True  # it was done with as it was heard of once more
        except (OSError, ValueError) as error:
            # Said once, and looked at again by the next process: the note may be mended, and the result stays as it is.
            log.error("left_result_unknown", left=left, note=str(path), problem=str(error))
            return True
        try:
            counts = await self._record().standing(noted.execution_id or left, noted.token)
            if counts is None:
                return False
        except ResultMissing:
            counts = None  # the record has forgotten it: whose it is can be read there, and nothing is thrown away
        except InputDenied as error:
            self._refused[left] += 1
            if self._refused[left] < REFUSALS:
                log.debug("left_result_waits", left=left, problem=error.message)
                return False
            log.warning("left_result_not_told", left=left, place=noted.place, problem=error.message)
            counts, refused = None, True
        except SkreiError as error:
            self._refused.pop(left, None)
            log.debug("left_result_waits", left=left, problem=error.message)
            return False
        try:
            async with self._turn:
                at = await to_its_end(lambda: settle(noted.place, left, self._entries, counts=counts))
        except FileNotFoundError:
            refused = False  # nothing is there that could be shown, whoever asks for it
            log.warning("left_result_gone", left=left, place=noted.place)
        except (SkreiError, OSError) as error:
            log.warning("left_result_not_shown", left=left, place=noted.place, problem=str(error))
            return False
        else:
            log.info("left_result_settled", left=left, counts=counts, at=at)
        self._refused.pop(left, None)
        if not refused:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return True


@dataclass(frozen=True, slots=True)
class _Note:
    """What is remembered of a result that is looked after; one of an earlier version tells nothing but its place."""

    place: str
    token: str
    execution_id: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "_Note":
        """Raises ValueError for what is none."""
        try:
            noted = json.loads(text)
            return cls(str(noted["place"]), str(noted["token"]), str(noted.get("execution", "")), noted.get("told", {}))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the note lacks {error}") from error
