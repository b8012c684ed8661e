"""When a node goes on waiting for room for an execution's inputs, instead of refusing it: once it came back. Pure.

What is refused is tried on other nodes, within seconds, and ten times in all. A unit that this node has refused, and is
given again, has found no room elsewhere either: it waits here, however long the download takes that has the room now.
"""

from collections import OrderedDict
from collections.abc import Iterator

from skrei_domain.messages import RunOrder

REFUSED_FIRST = 2
"""Times that a unit is refused for lack of room before it waits: so others are asked."""
ROOM_SECONDS = 3_600.0
"""How long it waits then, each of the eight times that are left: a working day in all."""
LOOK_SECONDS = 5.0
"""Before the first look whether there is room now; doubles."""
MOST_LOOK_SECONDS = 60.0
"""Between two looks at most: what takes the room now is brought, or used, for minutes."""
MOST_UNITS = 1_024
"""Remembered, those refused last: more than a node has waiting at once."""

_Unit = tuple[str, int, str, int]


def pauses() -> Iterator[float]:
    """Yield how long to wait before each look whether there is room, in seconds, without an end."""
    pause = LOOK_SECONDS
    while True:
        yield pause
        pause = min(pause * 2, MOST_LOOK_SECONDS)


class Patience:
    """Counts, by unit, how often this node had no room."""

    def __init__(self) -> None:
        self._refused: OrderedDict[_Unit, int] = OrderedDict()

    def seconds(self, order: RunOrder, task: str) -> float:
        """Return how long an execution for which there is no room may wait for some; 0: it is to be refused."""
        unit = (order.job_id, order.job_version, task, order.partition)
        count = self._refused.pop(unit, 0) + 1
        self._refused[unit] = count
        if len(self._refused) > MOST_UNITS:
            self._refused.popitem(last=False)
        return ROOM_SECONDS if count > REFUSED_FIRST else 0.0
