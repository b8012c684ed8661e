"""Work of one kind that is done in order, one piece at a time, by whatever threads are free."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

Work = Callable[[], None]
Start = Callable[[Work], object]
"""Lets work be done: `submit` of an executor, or at once."""

TURN_SECONDS = 0.02
"""After so long a lane lets others have its thread: one that has a lot to do holds up none that has little."""


def inline(work: Work) -> None:
    """Do it here and now."""
    work()


class Lane:
    """A queue that holds a thread only while there is something to do. What puts into it sees to its size."""

    def __init__(self) -> None:
        self.failed: Exception | None = None
        """What was the first to fail; what was put after it is done all the same."""
        self._todo: deque[Work] = deque()
        self._lock = threading.Lock()
        self._running = False

    def put(self, work: Work, start: Start) -> None:
        """Do this after all that was put before. Never waits, but where `start` does the work at once."""
        with self._lock:
            self._todo.append(work)
            if self._running:
                return
            self._running = True
        start(lambda: self._run(start))

    def settled(self, start: Start) -> "Future[None]":
        """Return what is done once all that was put before is, failed or not. Whoever waits may leave."""
        done: Future[None] = Future()

        def settle() -> None:
            if done.set_running_or_notify_cancel():
                done.set_result(None)

        self.put(settle, start)
        return done

    def _run(self, start: Start) -> None:
        until = time.monotonic() + TURN_SECONDS
        while True:
            with self._lock:
                if not self._todo:
                    self._running = False
                    return
                work = self._todo.popleft()
            try:
                work()
            except Exception as error:  # noqa: BLE001 - `failed` tells; others wait for what follows
                self.failed = self.failed or error
            if start is not inline and time.monotonic() >= until:
                start(lambda: self._run(start))
                return
