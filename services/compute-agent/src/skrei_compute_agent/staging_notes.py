"""How far the inputs of one execution are, told to who watches: not of a small job, whose inputs are there at once."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from skrei_domain.spec import InputSource
from skrei_plugin_api.engine import Tell
from skrei_plugin_api.storage import SourceSpec

FIRST_NOTE_SECONDS = 1.0
"""Before anything is told: a note is a fact, a row and a commit, and most inputs are there by then."""
NAME_CHARACTERS = 80
"""Of an input's place in a note: it stands in a line of a terminal."""


class StagingNotes:
    """A block in which inputs are brought; `came` says of each that it is here, `begun` that they have their turn."""

    def __init__(self, sources: Sequence[InputSource], tell: Tell) -> None:
        self._left = list(sources)
        self._all = len(sources)
        self._tell = tell
        self._begun = False
        self._speaks = False
        self._listing = ""
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(FIRST_NOTE_SECONDS, self._speak)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def begun(self) -> None:
        """It is this execution's turn."""
        self._begun = True
        self._say()

    def listed(self, source: SourceSpec, files: int) -> None:
        """So many files of an input were found so far."""
        self._listing = f"inputs: listing {_place(source.target, source.alias)}, {files:,} so far"
        self._say()

    def came(self, source: InputSource) -> None:
        """One input is here."""
        self._left.remove(source)
        self._listing = ""
        self._say()

    def _speak(self) -> None:
        self._speaks = True
        self._say()

    def _say(self) -> None:
        if not self._speaks or not self._left:
            return
        if not self._begun:
            self._tell("inputs: waiting, since this node brings those of others")
            return
        if self._listing:
            self._tell(self._listing)
            return
        first = self._left[0]
        place = _place(first.target, first.alias)
        more = f" and {len(self._left) - 1} more" if len(self._left) > 1 else ""
        self._tell(f"inputs: {self._all - len(self._left)} of {self._all} here, bringing {place}{more}")


def _place(target: str, alias: str) -> str:
    return (target or alias or "an input")[:NAME_CHARACTERS]
