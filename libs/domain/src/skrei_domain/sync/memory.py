"""What a node's journal holds, and the rows that change it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from skrei_domain.messages import Fact
from skrei_domain.sync.known import Known, KnownExecutions


@dataclass(frozen=True, slots=True)
class Meta:
    """What the node was told last, and where its own log stands. Incarnation 0: never greeted.

    `confirmed_by` is the boot id of the process that wrote the fact `confirmed`.
    """

    node_id: str
    timeline: int = 0
    epoch: int = 0
    incarnation: int = 0
    confirmed: int = 0
    confirmed_by: str = ""


@dataclass(slots=True)
class NodeMemory:
    """All that a journal holds; `outbox` are the facts from `confirmed + 1` on, without gaps."""

    meta: Meta
    known: KnownExecutions = field(default_factory=KnownExecutions)
    outbox: dict[int, Fact] = field(default_factory=dict)
    writers: dict[int, str] = field(default_factory=dict)  # boot id of the process that wrote each fact


# ---------------------------------------------------------------- rows


@dataclass(frozen=True, slots=True)
class PutMeta:
    """Replace what the node was told."""

    meta: Meta


@dataclass(frozen=True, slots=True)
class PutKnown:
    """Insert or replace one execution."""

    known: Known


@dataclass(frozen=True, slots=True)
class DropKnown:
    """Forget even the revision of an execution."""

    execution_id: str


@dataclass(frozen=True, slots=True)
class PutFact:
    """Append one fact to the log; `writer` is the boot id of the process that does."""

    sequence: int
    fact: Fact
    writer: str


@dataclass(frozen=True, slots=True)
class DropFacts:
    """Drop facts up to and with `through`; every fact when it is None (a new incarnation begins)."""

    through: int | None


JournalRow: TypeAlias = PutMeta | PutKnown | DropKnown | PutFact | DropFacts


def replay(meta: Meta, rows: Iterable[JournalRow]) -> NodeMemory:
    """Return the memory that a sequence of durable rows leads to: what a journal's load must equal."""
    memory = NodeMemory(meta)
    for row in rows:
        match row:
            case PutMeta(new):
                memory.meta = new
            case PutKnown(known):
                memory.known.put(known)
            case DropKnown(execution_id):
                memory.known.drop(execution_id)
            case PutFact(sequence, fact, writer):
                memory.outbox[sequence] = fact
                memory.writers[sequence] = writer
            case DropFacts(through):
                for sequence in [s for s in memory.outbox if through is None or s <= through]:
                    del memory.outbox[sequence], memory.writers[sequence]
    return memory
