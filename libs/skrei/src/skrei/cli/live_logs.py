"""The live output of one execution, followed in a thread of its own until its end or until nobody needs it any more."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from skrei.cli.log_frames import frames
from skrei.cli.screen import Told
from skrei.errors import LogsFailed, Unreachable
from skrei.log_query import LogQuery

AGAIN_SECONDS = 0.5
"""Before a stream that broke is opened again, twice as long each time: its node may be away for longer."""
LONGEST_AGAIN_SECONDS = 8.0
TOLD_AT = 2
"""The failure in a row that is told: one alone may be a connection that broke, and is made again."""
QUIET_SECONDS = 2.0
"""How long the stream of an execution that has ended may say nothing before its rest is taken from the result."""


class LiveLogs(threading.Thread):
    """Shows one execution's output as it comes. A stream that breaks is opened again, and nothing is shown twice.

    One that is not read from its beginning (see `query`) goes on with what comes, where it broke. `tell` is told why
    nothing comes, once until something came again.
    """

    def __init__(
        self, endpoint: str, query: LogQuery, told: Told, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__(name=f"logs {query.execution}", daemon=True)
        self.told = told
        self._endpoint = endpoint
        self._tell = tell
        self._query = replace(query, follow=True)
        self._over = threading.Event()
        self._connected = threading.Event()

    def finish(self, limit_seconds: float | None = None) -> None:
        """The execution has ended: return once its stream has, or says no more. One that has not begun is given up."""
        self._over.set()
        if self._connected.is_set():
            self.join(limit_seconds)

    def run(self) -> None:
        """Follow the output to its end."""
        failures, pause = 0, AGAIN_SECONDS
        while not self._over.is_set():
            before = dict(self.told.shown)
            try:
                self._stream()
            except (LogsFailed, Unreachable) as error:
                # What is lost here comes from the result at the end.
                if self.told.shown != before:
                    failures, pause = 0, AGAIN_SECONDS
                failures += 1
                if failures == TOLD_AT:
                    self._tell(error.message)
                self._over.wait(pause)
                pause = min(2 * pause, LONGEST_AGAIN_SECONDS)
            else:
                return

    def _stream(self) -> None:
        position = {1: 0, 2: 0}
        if self._connected.is_set() and (self._query.tail or self._query.lines is not None):
            position = dict(self.told.shown)
            self._query = replace(self._query, tail=True, lines=0)  # 0: nothing of one that ended meanwhile
        heard = time.monotonic()
        for said in frames(self._endpoint, self._query):
            if not self._connected.is_set():
                if self._over.is_set():
                    return
                self._connected.set()
            if said is not None:
                heard = time.monotonic()
                position[said.stream] = self.told.live(said.stream, position[said.stream], said.text)
            elif self._over.is_set() and time.monotonic() - heard > QUIET_SECONDS:
                return
        self.told.complete = not self.told.held
