"""Whose turn it is of staged results: one destination that hangs, fails or is away holds up no other. Pure."""

from collections import OrderedDict
from dataclasses import dataclass

from skrei_domain.messages import StagedResult

AT_ONCE = 16
"""Staged results made final side by side at one destination; of Skrei's own store (a rename each) that is a batch."""
IN_ALL = 512
"""Side by side at all destinations together: 32 of them may hang with all that they may have, and hold up no other."""
MOST_WAITING = 1_000
"""Results of one destination that wait for their turn: a minute's work; the leader asks again for the others."""
MOST_FAILED = 20_000
"""Results of which it is known that they failed for now: of more the first are tried sooner."""
FIRST_PAUSE_SECONDS = 1.0
"""Before a result that could not be made final is tried again; doubles each time."""
LONGEST_PAUSE_SECONDS = 30.0
"""The longest: a destination that is back is found within half a minute."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A staged result, and whether it counts."""

    staged: StagedResult
    counts: bool

    @property
    def destination(self) -> str:
        """Whose turn it is with it."""
        return self.staged.destination or self.staged.publisher


class Turns:
    """Results by destination, the oldest of each first. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, dict[str, Turn]] = OrderedDict()
        self._busy: dict[str, Turn] = {}
        self._failed: OrderedDict[str, tuple[float, float]] = OrderedDict()  # not before when, and the pause

    @property
    def waiting(self) -> int:
        """How many have not had their turn."""
        return sum(map(len, self._waiting.values()))

    def add(self, turn: Turn, now: float) -> bool:
        """Let a result have its turn; returns whether it will: what is being done, or failed just now, needs none."""
        execution_id = turn.staged.execution_id
        if execution_id in self._busy or now < self._failed.get(execution_id, (now, 0.0))[0]:
            return True
        line = self._waiting.setdefault(turn.destination, {})
        if len(line) >= MOST_WAITING and execution_id not in line:
            return False
        line[execution_id] = turn
        return True

    def next(self) -> list[Turn]:
        """Take out those whose turn it is: every destination has one before any has another."""
        busy = dict.fromkeys(self._waiting, 0)
        for turn in self._busy.values():
            if turn.destination in busy:
                busy[turn.destination] += 1
        chosen: list[Turn] = []
        free = [destination for destination in self._waiting if busy[destination] < AT_ONCE]
        while free and len(self._busy) < IN_ALL:
            for destination in free[: IN_ALL - len(self._busy)]:
                line = self._waiting[destination]
                turn = line.pop(next(iter(line)))
                self._busy[turn.staged.execution_id] = turn
                busy[destination] += 1
                chosen.append(turn)
                self._waiting.move_to_end(destination)
                if not line:
                    del self._waiting[destination]
            free = [each for each in free if each in self._waiting and busy[each] < AT_ONCE]
        return chosen

    def ended(self, execution_id: str) -> None:
        """A result has come to its end."""
        self._busy.pop(execution_id, None)
        self._failed.pop(execution_id, None)

    def failed(self, execution_id: str, now: float) -> None:
        """A result could not be brought to its end this time: it has a pause before the next."""
        self._busy.pop(execution_id, None)
        _, before = self._failed.pop(execution_id, (0.0, 0.0))
        pause = min(2 * before or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._failed[execution_id] = (now + pause, pause)
        if len(self._failed) > MOST_FAILED:
            self._failed.popitem(last=False)
