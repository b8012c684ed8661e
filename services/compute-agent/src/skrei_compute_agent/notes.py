"""How far the preparation of one execution is, told now and then: each note becomes a fact, a row and a commit."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

NOTE_SECONDS = 2.0
"""The least between two notes of one execution: enough for a person who watches, nothing for who commits them."""


class Notes:
    """Passes lines on, the first one at once: the latest of each stretch of NOTE_SECONDS, and only what has changed.

    Nothing is passed on once the block is left.
    """

    def __init__(self, say: Callable[[str], None], *, seconds: float = NOTE_SECONDS) -> None:
        self._say = say
        self._seconds = seconds
        self._said = ""
        self._latest = ""
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def tell(self, line: str) -> None:
        """Hear a line. Never waits."""
        self._latest = line
        if self._timer is None:
            self._pass_on()

    def _pass_on(self) -> None:
        self._timer = None
        if self._latest == self._said:
            return
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._pass_on)
        self._said = self._latest
        self._say(self._said)
