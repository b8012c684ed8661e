"""What the core asks of its shell: commits to make, rows to read, messages to send."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from skrei_domain.messages import Confirm, HelloReply, PublisherCommand
from skrei_scheduling.changes import Changes, Decide
from skrei_scheduling.rows import ExecutionRow, JobRow

FORESEEN_ROWS = 64
"""Executions that a commit moves which may be decided on a belief.

Where that is wrong, or one statement cannot hold what follows, all is decided twice. Up to here that is some
milliseconds, and of more the round trips are a small part.
"""


@dataclass(frozen=True, slots=True)
class SendCommands:
    """Tell a node what is wanted of these executions."""

    node_id: str
    rows: tuple[ExecutionRow, ...]


@dataclass(frozen=True, slots=True)
class SendConfirm:
    """Tell a node how far its log is committed, or ask it to say hello."""

    node_id: str
    confirm: Confirm


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a hello; `node_id` is named where the node was taken in."""

    to: str
    reply: HelloReply
    node_id: str = ""


@dataclass(frozen=True, slots=True)
class SendPublisher:
    """Tell the publisher what it is to do; the sweep repeats what is not done."""

    command: PublisherCommand


@dataclass(frozen=True, slots=True)
class SendListing:
    """Ask a node to list an input of a task of a job, for all its partitions."""

    node_id: str
    request_id: str
    job: JobRow
    task: str
    input: int


@dataclass(frozen=True, slots=True)
class ReadSoon:
    """Evaluations will be due in the record in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """One log event of note; `error`: somebody should look."""

    event: str
    fields: Mapping[str, str]
    error: bool = False


Outgoing: TypeAlias = SendCommands | SendConfirm | SendPublisher | SendListing | Reply | ReadSoon | Report


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read these executions from the record (they are not in the view) before going on."""

    executions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: what to lock, how to decide under the lock, and what follows from it."""

    name: str
    lock: frozenset[str]
    evaluations: frozenset[str]
    decide: Decide
    after: Callable[[Changes, float], list[Outgoing]]
    foreseen: bool = False
    """Whether `decide` may be told what the rows are believed to say; what it is told of the time is then a guess."""
