"""What a journal knows of executions: each one by its id, and at hand which are live, listed, or only remembered."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import ExecutionObserved, PortObserved, RunOrder

STALE = 64  # entries of the heap that may be stale whatever else it holds: too few to be worth a walk
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Known:
    """An execution in the journal. `told` is the revision that facts or a hello carried (0: never told).

    `devices` are the keys of the GPUs that it was given here, and `ports` the ports, so that a restarted agent knows
    whose they are. `falls` counts bad ends in a row of what this node starts again by itself, and `fell_at` is when the
    last one was, until the next start.

    A forgotten one is a tombstone: only its revision is kept, so that a late command cannot start it again. `ended`
    is how it ended where its result is uploaded: from the end of its program on, until it is to be forgotten.
    """

    execution_id: str
    revision: int
    want: Want
    state: ExecutionState = ExecutionState.OFFERED
    starts: int = 0
    told: int = 0
    order: RunOrder | None = None
    forgotten: bool = False
    changed_at: datetime | None = None
    devices: tuple[str, ...] = ()
    ended: ExecutionObserved | None = None
    ports: tuple[PortObserved, ...] = ()
    falls: int = 0
    fell_at: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether it can still change."""
        return not self.forgotten and not self.state.is_terminal


class KnownExecutions(Mapping[str, Known]):
    """Executions by id. `put` and `drop` are the only ways in and out, and keep what is read often at hand.

    A node lives with up to 100,000 tombstones and a few live executions: no reader may walk the former for the
    latter. `check` compares what is at hand with such a walk.
    """

    def __init__(self) -> None:
        self._all: dict[str, Known] = {}
        self._listed: dict[str, Known] = {}
        self._live: dict[str, Known] = {}
        self._stones: list[tuple[datetime, str]] = []  # a heap; an entry whose time is not its tombstone's is stale

    # ------------------------------------------------------------ reading

    def __getitem__(self, execution_id: str) -> Known:
        """Return an execution, forgotten or not."""
        return self._all[execution_id]

    def __iter__(self) -> Iterator[str]:
        """Walk every id."""
        return iter(self._all)

    def __len__(self) -> int:
        """Count all, tombstones too."""
        return len(self._all)

    @property
    def live(self) -> Mapping[str, Known]:
        """Those that can still change."""
        return self._live

    @property
    def listed(self) -> Mapping[str, Known]:
        """Those that are not forgotten: what a hello lists."""
        return self._listed

    @property
    def tombstones(self) -> int:
        """How many are forgotten."""
        return len(self._all) - len(self._listed)

    # ------------------------------------------------------------ writing

    def put(self, known: Known) -> None:
        """Insert or replace one execution."""
        execution_id = known.execution_id
        self._all[execution_id] = known
        if known.forgotten:
            self._listed.pop(execution_id, None)
            self._live.pop(execution_id, None)
            heapq.heappush(self._stones, (known.changed_at or _LONG_AGO, execution_id))
            self._sweep()
            return
        self._listed[execution_id] = known
        if known.live:
            self._live[execution_id] = known
        else:
            self._live.pop(execution_id, None)

    def drop(self, execution_id: str) -> None:
        """Forget an execution altogether; nothing happens where it is not known."""
        self._all.pop(execution_id, None)
        self._listed.pop(execution_id, None)
        self._live.pop(execution_id, None)
        self._sweep()

    def drop_stones(self, before: datetime, *, keep: int, most: int) -> list[str]:
        """Drop at most `most` tombstones, oldest first: those from before `before`, and those beyond `keep`."""
        dropped: list[str] = []
        while self._stones and len(dropped) < most:
            at, execution_id = self._stones[0]
            if not self._is_stone(at, execution_id):
                heapq.heappop(self._stones)
                continue
            if at >= before and self.tombstones <= keep:
                break
            heapq.heappop(self._stones)
            del self._all[execution_id]
            dropped.append(execution_id)
        self._sweep()
        return dropped

    def _sweep(self) -> None:
        """Build the heap anew when most of it is stale, which costs less than making it so did."""
        if len(self._stones) > 2 * self.tombstones + STALE:
            self._stones = [(stone.changed_at or _LONG_AGO, stone.execution_id) for stone in self._forgotten()]
            heapq.heapify(self._stones)

    # ------------------------------------------------------------ for tests

    def check(self) -> None:
        """Raise AssertionError where what is at hand is not what a walk over all finds."""
        walk = self._all.values()
        assert self._listed == {known.execution_id: known for known in walk if not known.forgotten}
        assert self._live == {known.execution_id: known for known in walk if known.live}
        stones = {(stone.changed_at or _LONG_AGO, stone.execution_id) for stone in self._forgotten()}
        assert self.tombstones == len(stones)
        assert {entry for entry in self._stones if self._is_stone(*entry)} == stones
        assert all(self._stones[(at - 1) // 2] <= self._stones[at] for at in range(1, len(self._stones)))
        assert len(self._stones) <= 2 * self.tombstones + STALE

    def _forgotten(self) -> Iterator[Known]:
        return (known for known in self._all.values() if known.forgotten)

    def _is_stone(self, at: datetime, execution_id: str) -> bool:
        known = self._all.get(execution_id)
        return known is not None and known.forgotten and (known.changed_at or _LONG_AGO) == at
