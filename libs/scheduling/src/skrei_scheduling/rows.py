"""The rows that the leader keeps in its view and writes to the record: what a job, an execution and a node are to it.

They are values: a change is a new row. The record's tables hold more (what only readers want); these hold what
decisions need.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from skrei_domain.constraints import Constraint
from skrei_domain.data_sets import DataWanted
from skrei_domain.evolving import replace
from skrei_domain.job_depends import Dependency
from skrei_domain.job_kinds import KINDS, Kind
from skrei_domain.lifecycle import Connection, ExecutionState, Intake, JobState, Membership, NodeAction, Want
from skrei_domain.messages import ManifestRef, PortObserved
from skrei_domain.node import NodeInfo
from skrei_domain.paths import LocalPath
from skrei_domain.resources import Resources
from skrei_domain.source_keys import share_key

Unit = tuple[str, int]
"""(task, partition) within a job's current version."""

TaskInput = tuple[str, int]
"""(task, place of the input among those of the task)."""

NOTHING: Mapping[Any, Any] = MappingProxyType({})
"""What most jobs have none of, once for all of them: the leader holds a row of each job that waits."""


class OnReturn(StrEnum):
    """What becomes of the two executions when a silent node returns."""

    KEEP_FIRST = "keep-first"
    KEEP_ORIGINAL = "keep-original"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Offline:
    """What to do with the executions of a silent node."""

    wait: timedelta = timedelta(minutes=5)
    replace: bool = True
    on_return: OnReturn = OnReturn.KEEP_FIRST


@dataclass(frozen=True, slots=True)
class Update:
    """How a service goes from one version to the next."""

    surge: int = 1
    deadline: timedelta = timedelta(minutes=10)
    min_ready: timedelta = timedelta()  # what is ready counts for an update only once it has been for so long


class KeyedInput(NamedTuple):
    """An input that is fetched, by its key (`skrei_domain.source_keys`), its place among those of its task, and where
    the task finds it; `dealt_out`: each partition gets files of its own. `root` is the key of more than it, with which
    a node has it too; `servers` are the names of where it comes from (`skrei_domain.object_servers`)."""

    key: str
    place: int = 0
    target: str = ""
    dealt_out: bool = False
    root: str = ""
    servers: tuple[str, ...] = ()

    def keys_of(self, partition: int, partitions: int) -> tuple[str, ...]:
        """Return the keys of what one of several partitions gets of it: a node that has one of them has that."""
        if self.dealt_out:
            return (share_key(self.key, partition, partitions),)
        return (self.key, self.root) if self.root else (self.key,)

    @property
    def keys(self) -> tuple[str, ...]:
        """The same of what everybody reads."""
        return self.keys_of(0, 1)


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a unit needs of a node: the class of work it belongs to (equal requirements are one class).

    `local` are the node's own paths that it wants; `owner`: for the control plane's owner, whom only some nodes hand
    them to. `ports` are the node's ports that it wants by their numbers, `uses` the services (namespace, name) that it
    has to reach, `data` the node's data sets that it reads, or writes too. `handed_out`: it runs nowhere but where its
    `local` paths are handed out; else that is liked. `cached` are the inputs that have to be in a node's cache.
    """

    engine: str
    storages: frozenset[str] = frozenset()
    publisher: str = ""
    constraints: tuple[Constraint, ...] = ()
    resources: Resources = Resources()
    local: tuple[LocalPath, ...] = ()
    owner: bool = False
    ports: tuple[int, ...] = ()
    uses: tuple[tuple[str, str], ...] = ()
    data: tuple[DataWanted, ...] = ()
    handed_out: bool = False
    cached: tuple[KeyedInput, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        # The class is the key of every cache on the hot path; hashing six fields there costs more than the lookup.
        needs = (self.resources.vector(), self.local, self.ports, self.uses, self.data, self.cached)
        parts = (self.engine, self.storages, self.publisher, self.constraints, *needs)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task of a job as the planner sees it. `needs` are those that it waits for, `inputs` what is fetched for it.

    One that is `split` has a partition for each of the job's targets, and on that node alone; none before they are
    known. `fetched` are its inputs that storages bring from elsewhere, by their place, with the type.
    """

    name: str
    count: int
    requirement: Requirement
    execution_timeout: timedelta | None = None
    needs: tuple[Dependency, ...] = ()
    queue_timeout: timedelta | None = None
    split: bool = False
    fetched: tuple[tuple[int, str], ...] = ()
    inputs: tuple[KeyedInput, ...] = ()

    @property
    def reads(self) -> bool:
        """Whether some of its inputs may lie on one node and not on another."""
        return bool(self.inputs or self.requirement.data or self.requirement.local)


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as the leader sees it; `won` holds the units that have a committed result.

    A job that runs once a node has `targets` in place of counts, and `failed` holds the units that were given up. The
    targets of a batch job are the nodes that hold its data, for those of its tasks that are split by them.
    """

    id: str
    namespace: str
    name: str
    type: str
    priority: int
    generation: int
    version: int
    state: JobState
    created_at: datetime
    tasks: tuple[TaskPlan, ...]
    asked_at: datetime | None = None  # when its current version was asked for; None: with the job
    offline: Offline = Offline()
    queue_timeout: timedelta | None = None
    total_timeout: timedelta | None = None
    traceparent: str = ""
    owner: bool = False  # the control plane's owner submitted it
    fails_on_exit: bool = False  # an exit code that is not 0 is a failure
    won: frozenset[Unit] = frozenset()
    update: Update = Update()
    good_version: int = 0  # the last one of a service that was ready as a whole
    progress: int = 0  # how many units of the current one were ready at once, at most
    progress_at: datetime | None = None  # since when its deadline counts; None: since the version was asked for
    paused: bool = False  # that deadline does not count: what is not ready waits for room
    what_runs: str = ""  # of a service: a digest of what its executions are; equal ones differ in Count alone
    anew: int = 0  # executions of versions before this one are replaced, even if they run the same
    targets: Mapping[str, int] = field(default_factory=lambda: NOTHING)  # node -> its partition in this version
    manifests: Mapping[TaskInput, ManifestRef] = field(default_factory=lambda: NOTHING)
    """What inputs of the version are pinned to."""
    failed: Mapping[Unit, str] = field(default_factory=lambda: NOTHING)  # and why
    attempts: dict[Unit, int] = field(default_factory=dict)  # executions ever made of a unit
    refused_by: dict[Unit, frozenset[str]] = field(default_factory=dict)  # nodes that refused, or failed, a unit
    won_at: Mapping[str, datetime] = field(default_factory=lambda: NOTHING)
    """Of an ordered job: when a unit of a task was won last."""

    @property
    def ordered(self) -> bool:
        """Whether some of its tasks wait for others."""
        return len(self.tasks) > 1 and any(task.needs for task in self.tasks)

    @property
    def split(self) -> bool:
        """Whether some of its tasks are parted by who holds their data."""
        return any(task.split for task in self.tasks)

    @property
    def by_node(self) -> bool:
        """Whether some of its units have a node of their own, and run on no other."""
        return self.kind.per_node or self.split

    def uses_any(self, services: Set[tuple[str, str]]) -> bool:
        """Whether a task of it uses one of these services."""
        return any(not services.isdisjoint(task.requirement.uses) for task in self.tasks if task.requirement.uses)

    def with_targets(self, new: Mapping[str, int]) -> "JobRow":
        """Return the job with nodes of its own beside those that it has, and counts that follow from them."""
        targets = {**self.targets, **new}
        tasks = tuple(replace(task, count=len(targets)) if task.split else task for task in self.tasks)
        return replace(self, targets=targets, tasks=tasks)

    def shares(self, task: TaskPlan) -> int:
        """Among how many partitions the inputs of a task are dealt out; 1 where everybody reads everything."""
        return max(1, len(self.targets) if self.kind is Kind.OPS else task.count)

    def task(self, name: str) -> TaskPlan:
        """Return the task of that name."""
        return next(task for task in self.tasks if task.name == name)

    def begun(self, task: TaskPlan) -> bool:
        """Whether an execution of the task was ever made."""
        return any(name == task.name for name, _ in self.attempts)

    def free_since(self, task: TaskPlan) -> datetime:
        """Return since when the task waits for room alone, given that it waits for no other."""
        return max((self.won_at.get(need.task, self.since) for need in task.needs), default=self.since)

    @property
    def since(self) -> datetime:
        """Since when its current version is wanted: its timeouts and its place in line count from here."""
        return self.asked_at or self.created_at

    @property
    def kind(self) -> Kind:
        """What kind of job it is."""
        return KINDS.get(self.type, Kind.BATCH)

    @property
    def units(self) -> int:
        """How many units the version has, as far as that is known."""
        if self.kind.per_node:
            return len(self.targets) * len(self.tasks)
        return sum(task.count for task in self.tasks)

    def all_units(self) -> Iterator[Unit]:
        """Yield the units of the version, in order."""
        if self.kind.per_node:
            return ((task.name, partition) for task in self.tasks for partition in self.targets.values())
        return ((task.name, partition) for task in self.tasks for partition in range(task.count))

    def closed(self, unit: Unit) -> bool:
        """Whether nothing more is to run of a unit: it has its result, or was given up."""
        return unit in self.won or unit in self.failed


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """One attempt of one unit on one node. `observed` is the last state a fact told, kept while Unknown."""

    id: str
    job_id: str
    job_version: int
    namespace: str
    task: str
    partition: int
    attempt: int
    node_id: str
    incarnation: int
    state: ExecutionState
    want: Want
    revision: int
    seen_revision: int
    reserved: Resources
    observed: ExecutionState = ExecutionState.OFFERED
    revoked: bool = False
    holds: bool = True  # its reservation still counts (DESIGN: a wish never frees room)
    leaving: bool = False  # of a service: another one is to take its place, and it serves until that one does
    starts: int = 0
    changes: int = 1  # how often the row changed: the API's Revision
    message: str = ""
    evaluation_id: str = ""
    reason: str = ""  # why it is wanted stopped
    ready: bool | None = None  # what its check finds; None where it has none, or none was told
    ready_at: datetime | None = None  # of a service: since when it is ready
    what_runs: str = ""  # that of the version that it was made for
    staged: bool = False  # it has ended on its node and won its unit; what it left is being made final
    digest: str = ""  # of what is staged: nothing else makes it final
    why: str = ""  # why its node was chosen, told with its placement alone
    ports: tuple[PortObserved, ...] = ()
    """Its ports on its node: those it was placed with by number (`wanted_ports`), then all, as its node tells."""

    @property
    def unit(self) -> Unit:
        """The unit that it is an attempt of."""
        return (self.task, self.partition)

    @property
    def is_ready(self) -> bool:
        """Whether it does now what it is there for."""
        return self.state is ExecutionState.RUNNING and self.ready is not False

    @property
    def serves(self) -> bool:
        """Whether it did what it is there for when its node was last heard."""
        return self.live and self.observed is ExecutionState.RUNNING and self.ready is not False

    def settled(self, now: datetime, min_ready: timedelta) -> bool:
        """Whether it has been ready for long enough to be relied on."""
        return self.is_ready and (self.ready_at is None or now >= self.ready_at + min_ready)

    @property
    def live(self) -> bool:
        """Whether it can still change."""
        return not self.state.is_terminal

    def evolve(self, **changes: object) -> "ExecutionRow":
        """Return the row with `changes`, counted as one change."""
        return replace(self, changes=self.changes + 1, **changes)  # type: ignore[arg-type]


def timed(old: ExecutionRow | None, new: ExecutionRow, now: datetime) -> ExecutionRow:
    """Return `new` with since when it is ready: anew after each start, and kept while its node is silent."""
    if not new.is_ready:
        return new if new.state is ExecutionState.UNKNOWN or new.ready_at is None else replace(new, ready_at=None)
    if new.ready_at is None or (old is not None and new.starts > old.starts):
        return replace(new, ready_at=now)
    return new


def wanted_ports(numbers: tuple[int, ...]) -> tuple[PortObserved, ...]:
    """Return ports of a node that are an execution's by number, and that its node has told nothing of yet."""
    return tuple(PortObserved(name="", host="", port=number, target=0) for number in numbers) if numbers else ()


@dataclass(frozen=True, slots=True)
class Gone:
    """Something that a node could do, or had, until the commit at `at` learned otherwise (see `memory`).

    `kind` says what: an engine, storage or publisher by `name`; a label by `name` with its `value` then (None: it was
    not there); cpu, memory, disk or gpu by `amount`.
    """

    kind: str
    name: str
    at: datetime
    value: str | None = None
    amount: int = 0


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node as the record holds it. `confirmed` is the last sequence of `incarnation` that was applied."""

    id: str
    info: NodeInfo
    membership: Membership = Membership.APPROVED
    connection: Connection = Connection.DISCONNECTED
    boot_id: str = ""
    incarnation: int = 0
    confirmed: int = 0
    confirmed_by: str = ""  # boot id of the process that wrote that fact
    connected_since: datetime | None = None
    disconnected_since: datetime | None = None
    error: str = ""
    gone: tuple[Gone, ...] = ()  # what it could do until a while ago
    intake: Intake = Intake.OPEN
    drain_until: datetime | None = None  # then what still runs is stopped; None: it may take as long as it takes
    labels: Mapping[str, str] = field(default_factory=dict)  # of its operator: they win over its own

    @property
    def offers(self) -> NodeInfo:
        """What work is placed by: its own words, with the labels that its operator gave it."""
        return labelled(self.info, self.labels)


def labelled(info: NodeInfo, labels: Mapping[str, str]) -> NodeInfo:
    """Return what a node says of itself with labels of its operator, which win."""
    return info.model_copy(update={"labels": {**info.labels, **labels}}) if labels else info


@dataclass(frozen=True, slots=True)
class NodeIntent:
    """What a user wants of a node, by its number in the record; it is deleted by the commit that carries it out."""

    number: int
    node_id: str
    action: NodeAction
    message: str = ""
    seconds: float | None = None  # of a drain: how long what runs may go on; None: as long as it takes
    labels: Mapping[str, str | None] = field(default_factory=dict)  # to give; None: to take back


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A request to compare what a job wants with what there is.

    `id` is empty for one that lives in memory only (a wake-up); `job` is the job as freshly read from the record,
    or None where the view's row is current. `comment` is what its maker knew: the cause of a failure or a retry, of
    `version` of the job alone (0: of any).
    """

    id: str
    job_id: str
    trigger: str
    job: JobRow | None = None
    comment: str = ""
    version: int = 0

    def about(self, job: JobRow) -> bool:
        """Whether what its maker knew is of the version that `job` is now."""
        return self.version in (0, job.version)
