"""What a hello is worth: whether its journal is the one that led to the record, and in what the two differ.

Functions of the record and of what a node says, without memory: who may speak for a node at all is `leader`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from skrei_domain.lifecycle import ORDER, ExecutionState, Want
from skrei_domain.messages import Confirm, Hello, HelloExecution, HelloReply, Wanted


class Recorded(Protocol):
    """An execution as the record holds it; `observed` is the last state that a fact told."""

    @property
    def id(self) -> str:
        """Execution id."""

    @property
    def revision(self) -> int:
        """Revision of what is wanted."""

    @property
    def seen_revision(self) -> int:
        """Highest revision that the node is known to have applied."""

    @property
    def incarnation(self) -> int:
        """The node's incarnation that it was offered to."""

    @property
    def want(self) -> Want:
        """What is wanted."""

    @property
    def state(self) -> ExecutionState:
        """State in the record."""

    @property
    def observed(self) -> ExecutionState:
        """Last state that a fact told."""

    @property
    def staged(self) -> bool:
        """Whether it has ended on its node, and what it left is being finalised: the node has no more say in it."""


@dataclass(frozen=True, slots=True)
class NodeLog:
    """How far a node's log is applied, who wrote the last fact of it, and which process speaks for the node."""

    incarnation: int
    confirmed: int
    boot_id: str
    confirmed_by: str = ""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a hello comes to. `reply` goes out after the record has taken the rest.

    `log` is the node's log from now on (None: refused, or to be said again). `lost` are executions that the node
    will never run; `orphans` those that the record does not know; `unseen` those whose command never arrived;
    `restored` means that the record itself is older than what the node was told.
    """

    reply: HelloReply
    log: NodeLog | None = None
    listed: Mapping[str, HelloExecution] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    restored: bool = False
    challenge: Confirm | None = None


@dataclass(frozen=True, slots=True)
class Differences:
    """In what a sound journal differs from the record; see `Greeting`. `wanted` is what the node is to be told."""

    wanted: tuple[Wanted, ...]
    lost: tuple[str, ...]
    unseen: tuple[str, ...]
    orphans: tuple[str, ...]


def compare(log: NodeLog, rows: Mapping[str, Recorded], listed: Mapping[str, HelloExecution]) -> Differences:
    """Compare what a journal lists with the record's executions on its node."""
    wanted: list[Wanted] = []
    orphans: list[str] = []
    for item in listed.values():
        row = rows.get(item.execution_id)
        if row is None:
            # Unknown, or ended in the record: nobody wants it to run. Its own revision is the base.
            if not item.state.is_terminal:
                orphans.append(item.execution_id)
                wanted.append(Wanted(execution_id=item.execution_id, revision=item.revision + 1, want=Want.STOP))
            elif item.kept:
                wanted.append(Wanted(execution_id=item.execution_id, revision=item.revision + 1, want=Want.FORGET))
        elif row.revision > item.revision:
            wanted.append(Wanted(execution_id=row.id, revision=row.revision, want=row.want))
    missing = [row for row in rows.values() if row.id not in listed and not row.state.is_terminal and not row.staged]
    return Differences(
        wanted=tuple(wanted),
        lost=tuple(row.id for row in missing if row.incarnation != log.incarnation),
        unseen=tuple(row.id for row in missing if row.incarnation == log.incarnation),
        orphans=tuple(orphans),
    )


def is_restored(log: NodeLog | None, hello: Hello, timeline: int, epoch: int) -> bool:
    """Whether the node was told what this record does not hold: the record comes from a backup."""
    if hello.timeline != timeline:
        return hello.timeline > timeline
    if hello.epoch > epoch:
        return True
    if log is None or hello.confirmed == 0:
        return False
    return hello.incarnation > log.incarnation or (
        hello.incarnation == log.incarnation and hello.confirmed > log.confirmed
    )


def contradicts(
    log: NodeLog | None,
    rows: Mapping[str, Recorded],
    listed: Mapping[str, HelloExecution],
    hello: Hello,
    timeline: int,
) -> bool:
    """Whether the journal is not the one that led to the record: then only a new incarnation is safe."""
    if hello.timeline != timeline or hello.incarnation == 0:
        return True
    if log is None or hello.incarnation > log.incarnation:
        return hello.confirmed != 0  # with 0 it has just been opened, and nothing of it was ever applied
    if hello.incarnation < log.incarnation or hello.sequence < log.confirmed:
        return True
    if log.confirmed and _writer_of(hello, log.confirmed) != log.confirmed_by:
        return True  # rolled back, and written on since: what stands there now was never applied
    for row in rows.values():
        if row.state.is_terminal or row.staged or row.incarnation > hello.incarnation or row.seen_revision == 0:
            continue
        item = listed.get(row.id)
        if item is None:
            return True
        behind = item.revision < row.seen_revision or ORDER[item.state] < ORDER[row.observed]
        if behind:
            return True
    return False


def _writer_of(hello: Hello, sequence: int) -> str:
    """Return who wrote the fact `sequence` of the log that a hello tells of; empty when it does not say."""
    return next((writer for start, writer in reversed(hello.writers) if start <= sequence), "")
