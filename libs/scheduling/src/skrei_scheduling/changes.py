"""What one commit of the leader writes: the only way that placement and observation become state.

`decide(locked) -> Changes` runs between the lock and the write of one transaction; the same `Changes` then
advances the leader's view. A change of state and its history row are in the same value, always.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from skrei_domain.lifecycle import JobState
from skrei_domain.messages import DataRead, ManifestRef, PortObserved, Problem, ResultRef, RunOutput, Step
from skrei_scheduling.rows import ExecutionRow, NodeRow, Requirement, TaskInput, Unit


@dataclass(frozen=True, slots=True)
class LockedJob:
    """What a job's row says under lock: the intent may have moved on since the view learned of it."""

    id: str
    generation: int
    version: int
    state: JobState
    history_seq: int
    units_won: int


@dataclass(frozen=True, slots=True)
class Locked:
    """The rows that a commit may rely on. `evaluations` are those asked for that still exist."""

    now: datetime
    jobs: Mapping[str, LockedJob]
    evaluations: frozenset[str]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a fact adds to an execution's row for readers."""

    steps: tuple[Step, ...] = ()
    exit_code: int | None = None
    problem: Problem | None = None
    output: RunOutput | None = None
    image_digest: str | None = None
    ports: tuple[PortObserved, ...] | None = None
    data: DataRead | None = None


@dataclass(frozen=True, slots=True)
class ExecutionChange:
    """The whole new row of an execution, and what readers learn with it."""

    row: ExecutionRow
    observed: Observed | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an uploaded result is staged: with which publisher, its own word for where, and where it goes as people
    name that (the same for all that one server takes)."""

    publisher: str
    place: str
    destination: str = ""


@dataclass(frozen=True, slots=True)
class ResultNew:
    """A result that an execution left; `committed` on the winner of its unit alone.

    One with a place was uploaded, and is not to be seen before its publisher has made it final.
    """

    execution_id: str
    job_id: str
    job_version: int
    task: str
    partition: int
    committed: bool
    result: ResultRef
    staged: Place | None = None


@dataclass(frozen=True, slots=True)
class JobChange:
    """A job's new state. `history` rows were numbered from the locked `history_seq`; `None` keeps a column."""

    id: str
    history_seq: int
    state: JobState | None = None
    message: str | None = None
    details: Mapping[str, str] | None = None  # reasons, position: what explains the state
    won: tuple[Unit, ...] = ()  # units won by this commit
    won_at: datetime | None = None  # when that was
    waiting: Mapping[Requirement, int] | None = None
    """How many units wait for room in each class; the view alone needs it (it is derived at load)."""
    failed: tuple[tuple[Unit, str], ...] = ()  # units given up by this commit, and why
    targets: tuple[tuple[str, int], ...] = ()  # nodes that the version has from this commit on, and their partitions
    version: int = 0  # of which these nodes and given up units are
    units: int | None = None  # how many units that makes
    good_version: int | None = None  # a service's version that is ready as a whole
    progress: int | None = None  # how many units of a service are ready at once, more than ever of this version
    progress_at: datetime | None = None  # its deadline counts from here
    paused: bool | None = None  # its deadline counts, or does not
    manifests: tuple[tuple[TaskInput, ManifestRef], ...] = ()  # what inputs of `version` are pinned to from here on


@dataclass(frozen=True, slots=True)
class HistoryNew:
    """One transition, numbered within its job without gaps. `execution_id` empty: of the job itself."""

    job_id: str
    seq: int
    job_version: int
    topic: str
    message: str
    execution_id: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    node_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class EvaluationNew:
    """A request to compare wanted with actual, due `delay_seconds` after the commit (database time)."""

    id: str
    job_id: str
    namespace: str
    trigger: str
    delay_seconds: float = 0.0
    comment: str = ""
    unit: Unit | None = None  # the unit in backoff; the view alone needs it: nothing else places it before this is due
    version: int = 0  # of the job, where what it asks is about one alone
    streak: int = 0  # bad ends of it in a row; the view alone needs it, too


@dataclass(frozen=True, slots=True)
class Position:
    """How far the FACTS stream was read: the stream's creation time and the sequence."""

    created: str
    sequence: int


@dataclass(frozen=True, slots=True)
class AuditNew:
    """Something that happened to the record and is kept aside for people."""

    actor: str
    action: str
    object: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeEventNew:
    """Something that happened to a node, for people; only the latest of each node are kept."""

    node_id: str
    topic: str
    message: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """The next version of a service is again what version `good` was."""

    job_id: str
    good: int
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one commit writes. Empty parts cost nothing."""

    executions_new: tuple[ExecutionRow, ...] = ()
    executions: tuple[ExecutionChange, ...] = ()
    results: tuple[ResultNew, ...] = ()
    jobs: tuple[JobChange, ...] = ()
    history: tuple[HistoryNew, ...] = ()
    evaluations_new: tuple[EvaluationNew, ...] = ()
    evaluations_done: tuple[str, ...] = ()
    rollbacks: tuple[Rollback, ...] = ()
    nodes: tuple[NodeRow, ...] = ()
    position: Position | None = None
    timeline: int | None = None
    results_stored: tuple[tuple[str, str], ...] = ()  # (execution id, digest): inline ones that the publisher has now
    results_finalised: tuple[tuple[str, str], ...] = ()  # staged ones that are final now
    results_refused: tuple[tuple[str, str], ...] = ()  # staged ones that never will be
    results_published: tuple[
        tuple[str, str, int | None], ...
    ] = ()  # (execution id, JSON, bytes in our own store): where those lie that are final elsewhere
    results_withdrawn: tuple[str, ...] = ()  # executions whose result counts no more
    results_dropped: tuple[str, ...] = ()
    audit: tuple[AuditNew, ...] = ()
    nodes_gone: tuple[str, ...] = ()
    node_intents_done: tuple[int, ...] = ()
    node_events: tuple[NodeEventNew, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return self == _NOTHING


_NOTHING = Changes()

Decide: TypeAlias = Callable[[Locked], Changes]
"""Pure: called once between lock and write; called again if the transaction is repeated."""
