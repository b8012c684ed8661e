"""Virtual time: one heap of things to do, and one clock that only it moves."""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

from tests.support.builders import NOW


class Agenda:
    """Everything that will happen, in order; what is due at the same moment keeps the order in which it was put."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []

    @property
    def wall(self) -> datetime:
        return NOW + timedelta(seconds=self.now)

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._numbers), act))

    def run_until(self, moment: float) -> None:
        while self._heap and self._heap[0][0] <= moment:
            self.now, _, act = heapq.heappop(self._heap)
            act()
        self.now = moment
