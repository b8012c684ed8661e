"""What a journal knows of executions: each one by its id, and at hand which are live, listed, or only remembered."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import ExecutionObserved, PortObserved, RunOrder

_STONE = struct.Struct("<qqqqBB")
"""A tombstone: when it was forgotten (microseconds of the epoch), revision, told, starts, and its want and state."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = -(2**63)  # instead of a time
_MICROSECOND = timedelta(microseconds=1)
_WANTS, _STATES = tuple(Want), tuple(ExecutionState)


@dataclass(frozen=True, slots=True)
class Known:
    """An execution in the journal. `told` is the revision that facts or a hello carried (0: never told).

    `devices` are the keys of the GPUs that it was given here, and `ports` the ports, so that a restarted agent knows
    whose they are. `falls` counts bad ends in a row of what this node starts again by itself, and `fell_at` is when the
    last one was, until the next start.

    A forgotten one is a tombstone: only what answers a late command is kept, first of all its revision, so that none
    can start it again. `ended` is how it ended where its result is uploaded: from the end of its program on, until it
    is to be forgotten.
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
    latter, and each of the former is a few bytes. They are kept in the order in which they were put; who puts them in
    another than that of their times says `sort_stones` after it. `check` compares what is at hand with a walk over all.
    """

    def __init__(self) -> None:
        self._listed: dict[str, Known] = {}
        self._live: dict[str, Known] = {}
        self._stones: dict[str, bytes] = {}

    # ------------------------------------------------------------ reading

    def __getitem__(self, execution_id: str) -> Known:
        """Return an execution, forgotten or not."""
        known = self._listed.get(execution_id)
        return known if known is not None else _read(execution_id, self._stones[execution_id])

    def __iter__(self) -> Iterator[str]:
        """Walk every id."""
        return chain(self._listed, self._stones)

    def __len__(self) -> int:
        """Count all, tombstones too."""
        return len(self._listed) + len(self._stones)

    @property
    def live(self) -> Mapping[str, Known]:
        """Those that can still change."""
        return self._live

    @property
    def listed(self) -> Mapping[str, Known]:
        """Those that are not forgotten: what a hello lists."""
        return self._listed

    # ------------------------------------------------------------ writing

    def put(self, known: Known) -> None:
        """Insert or replace one execution."""
        execution_id = known.execution_id
        if known.forgotten:
            self.drop(execution_id)  # also from its place among the tombstones: this one is the newest
            self._stones[execution_id] = _written(known)
            return
        self._stones.pop(execution_id, None)
        self._listed[execution_id] = known
        if known.live:
            self._live[execution_id] = known
        else:
            self._live.pop(execution_id, None)

    def drop(self, execution_id: str) -> None:
        """Forget an execution altogether; nothing happens where it is not known."""
        self._listed.pop(execution_id, None)
        self._live.pop(execution_id, None)
        self._stones.pop(execution_id, None)

    def sort_stones(self) -> None:
        """Bring tombstones into the order in which they were forgotten."""
        self._stones = dict(sorted(self._stones.items(), key=lambda stone: _at(stone[1])))

    def drop_stones(self, before: datetime, *, keep: int, most: int) -> list[str]:
        """Drop at most `most` tombstones, oldest first: those from before `before`, and those beyond `keep`.

        After one of a clock that was put back since, others wait for it, until they are more than `keep`.
        """
        limit, dropped = _micros(before), list[str]()
        for execution_id, stone in self._stones.items():
            recent = _at(stone) >= limit and len(self._stones) - len(dropped) <= keep
            if recent or len(dropped) == most:
                break
            dropped.append(execution_id)
        for execution_id in dropped:
            del self._stones[execution_id]
        return dropped

    # ------------------------------------------------------------ for tests

    def check(self) -> None:
        """Raise AssertionError where what is at hand is not what a walk over all finds."""
        walk = list(self.values())
        assert len({known.execution_id for known in walk}) == len(walk) == len(self)
        assert self._listed == {known.execution_id: known for known in walk if not known.forgotten}
        assert self._live == {known.execution_id: known for known in walk if known.live}


def _written(known: Known) -> bytes:
    at = _NEVER if known.changed_at is None else _micros(known.changed_at)
    want, state = _WANTS.index(known.want), _STATES.index(known.state)
    return _STONE.pack(at, known.revision, known.told, known.starts, want, state)


def _read(execution_id: str, stone: bytes) -> Known:
    at, revision, told, starts, want, state = _STONE.unpack(stone)
    return Known(
        execution_id=execution_id,
        revision=revision,
        want=_WANTS[want],
        state=_STATES[state],
        starts=starts,
        told=told,
        forgotten=True,
        changed_at=None if at == _NEVER else _EPOCH + at * _MICROSECOND,
    )


def _at(stone: bytes) -> int:
    at: int = _STONE.unpack(stone)[0]
    return at


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
