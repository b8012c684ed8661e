"""What can happen to a node (events) and what it then has to do (instructions): the machine's whole vocabulary.

An instruction is carried out only after the rows of its turn, and of every turn before it, are durable.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from skrei_domain.messages import (
    CommandBatch,
    Confirm,
    DataRead,
    FactBatch,
    Hello,
    HelloReply,
    LeftPart,
    PortObserved,
    Problem,
    ResultRef,
    RunOrder,
    RunOutput,
)
from skrei_domain.node import Gpu, NodeInfo
from skrei_domain.resources import Resources
from skrei_domain.spec import TaskSpec
from skrei_domain.sync import JournalRow
from skrei_domain.uploads import Parcel


class Moment(NamedTuple):
    """One reading of both clocks: the wall for what is reported, monotonic seconds for what is measured."""

    wall: datetime
    seconds: float


class Timer(StrEnum):
    """What may be waited for on behalf of an execution."""

    REPORT = "report"  # it has lived long enough to be worth a fact before its end
    EXECUTION = "execution"  # its engine may not run longer
    TOTAL = "total"  # its job may not take longer
    UPLOAD = "upload"  # what can never count is not uploaded for longer
    RESTART = "restart"  # what has ended on a cut-off node is started again


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Begun:
    """The process has started: take up what the journal left unfinished."""


@dataclass(frozen=True, slots=True)
class HelloDue:
    """The link is there (again), or a hello was not answered."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The connection to the control plane is gone: this node is cut off until its next hello is answered."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The answer to the last page of a hello."""

    reply: HelloReply


@dataclass(frozen=True, slots=True)
class Commanded:
    """Wanted states have come."""

    batch: CommandBatch


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The leader says how far the log is committed."""

    confirm: Confirm


@dataclass(frozen=True, slots=True)
class RepeatDue:
    """Facts stayed unconfirmed long enough to be sent again."""


@dataclass(frozen=True, slots=True)
class TidyDue:
    """Time to forget what no stored command can reach any more."""


@dataclass(frozen=True, slots=True)
class Fingerprinted:
    """What the node can do, looked at again."""

    info: NodeInfo


@dataclass(frozen=True, slots=True)
class Staged:
    """Everything that an execution needs lies where it will look, and these ports are its own.

    `data`: what its inputs came to; None where that is nothing.
    """

    execution_id: str
    ports: tuple[PortObserved, ...] = ()
    data: DataRead | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """How far the preparation of an execution is, in words for people."""

    execution_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check of a running start finds has changed; `why` says what is wrong where it is not ready."""

    execution_id: str
    start: int
    ready: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class StageFailed:
    """An execution cannot be prepared (or was stopped while it was).

    `passing` means that the node, not the execution, is at fault: it is refused, to be placed again.
    """

    execution_id: str
    problem: Problem
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Exited:
    """The engine is done with an execution: an exit code, or the problem that kept it from having one.

    A result without its bytes lies in the execution's folder, and is to be uploaded.
    """

    execution_id: str
    exit_code: int | None = None
    problem: Problem | None = None
    output: RunOutput | None = None
    result: ResultRef | None = None
    image_digest: str = ""


@dataclass(frozen=True, slots=True)
class NotAdopted:
    """Nothing is there of a start that an earlier process began: it may be started again."""

    execution_id: str


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The publisher holds what an execution left, and has signed for it; or it stays here, and `left` tells where.

    Where some of it stays here, `rest` is what the publisher holds.
    """

    execution_id: str
    receipt: str = ""
    left: ResultRef | None = None
    rest: ResultRef | None = None


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """What an execution left cannot be uploaded, now or ever, or was not to be any more."""

    execution_id: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer has run out; one that was no longer needed may still come."""

    execution_id: str
    timer: Timer


@dataclass(frozen=True, slots=True)
class Halted:
    """The journal holds that an execution is to stop (an act of `NodeSide`)."""

    execution_id: str
    reason: str = ""


Answer: TypeAlias = Staged | StageFailed | Exited | NotAdopted | Uploaded | UploadFailed
"""What Stage, RunEngine, Adopt and Upload are answered with."""
ExecutionEvent: TypeAlias = Answer | TimerFired | Halted
Event: TypeAlias = (
    Begun
    | HelloDue
    | LinkLost
    | Replied
    | Commanded
    | Confirmed
    | RepeatDue
    | TidyDue
    | Fingerprinted
    | Staged
    | Noted
    | Checked
    | StageFailed
    | Exited
    | NotAdopted
    | Uploaded
    | UploadFailed
    | TimerFired
)


# ---------------------------------------------------------------- instructions


@dataclass(frozen=True, slots=True)
class Stage:
    """Prepare an execution's folder, inputs and environment. Answered by Staged or StageFailed."""

    execution_id: str
    order: RunOrder
    task: TaskSpec
    needs: Resources
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEngine:
    """Run a staged execution for the n-th time. Answered by Exited."""

    execution_id: str
    start: int


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take up the n-th start, which an earlier process began. Answered by Exited when it ends, or by NotAdopted."""

    execution_id: str
    start: int
    order: RunOrder
    task: TaskSpec
    needs: Resources
    ports: tuple[PortObserved, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """The end of an execution is durable: what its engine kept of it may go, running or not."""

    execution_id: str
    engine: str


@dataclass(frozen=True, slots=True)
class Upload:
    """Bring what an execution left to the publisher, however long that takes. Answered by Uploaded or UploadFailed.

    `inline` is what is small (base64), of which no file was made. With a `place` it stays there, on this node; what
    `left` names stays there too, and the rest is brought.
    """

    parcel: Parcel
    token: str
    inline: str | None = None
    place: str | None = None
    left: tuple[LeftPart, ...] = ()

    @property
    def execution_id(self) -> str:
        """Whose result it is."""
        return self.parcel.execution_id


@dataclass(frozen=True, slots=True)
class Door:
    """The publisher's door is there from now on; empty: there is none, and uploads that wait for one fail."""

    url: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End what Stage, RunEngine, Adopt or Upload began; they still answer. Nothing to do when they have."""

    execution_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """Answer with TimerFired after so many seconds."""

    execution_id: str
    timer: Timer
    seconds: float


@dataclass(frozen=True, slots=True)
class DisarmTimers:
    """No timer of this execution matters any more."""

    execution_id: str


@dataclass(frozen=True, slots=True)
class ClosePorts:
    """Nothing of an execution runs here any more: its ports may be others', before its end is told."""

    execution_id: str


@dataclass(frozen=True, slots=True)
class DropFiles:
    """Remove an execution's folder once nobody reads from it."""

    execution_id: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Send these facts, in order, without waiting."""

    batches: tuple[FactBatch, ...]


@dataclass(frozen=True, slots=True)
class RepeatAt:
    """Answer with RepeatDue at that moment of the monotonic clock; replaces the moment set before."""

    seconds: float


@dataclass(frozen=True, slots=True)
class TidyMore:
    """Answer with TidyDue: one turn forgets only so much, so that no other waits for long."""


@dataclass(frozen=True, slots=True)
class SendHello:
    """Say hello with these pages; replaces a hello that is still under way."""

    pages: tuple[Hello, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The leader refused the hello: end the process (`duplicate-node`, `protocol`), or say it again soon."""

    problem: Problem


Instruction: TypeAlias = (
    Stage
    | RunEngine
    | Adopt
    | Release
    | Upload
    | Door
    | Kill
    | ArmTimer
    | DisarmTimers
    | ClosePorts
    | DropFiles
    | Publish
    | RepeatAt
    | TidyMore
    | SendHello
    | Refused
)


class Turn(NamedTuple):
    """What one event comes to: rows to make durable together, then instructions to carry out in order."""

    rows: tuple[JournalRow, ...] = ()
    instructions: tuple[Instruction, ...] = ()
