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
        """Return what is done once all that was put before is."""
        done: Future[None] = Future()
        self.put(lambda: done.set_result(None), start)
        return done

    def _run(self, start: Start) -> None:
        until = time.monotonic() + TURN_SECONDS
        while True:
            with self._lock:
                if not self._todo:
                    self._running = False
                    return
                work = self._todo.popleft()
            work()
            if start is not inline and time.monotonic() >= until:
                start(lambda: self._run(start))
                return
