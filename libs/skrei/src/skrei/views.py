"""What the API answers, as values: the fields that a reader needs, and the whole document beside them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeAlias, TypeVar

from skrei.job_parts import LEFT_ON_NODE, DataRead, DataSet, Endpoint, InputCache, NodeService
from skrei_domain.lifecycle import JOB_TERMINAL, NUMBERS, TERMINAL

Document: TypeAlias = dict[str, Any]
T = TypeVar("T")

STATE_NAMES = {number: state.value.capitalize() for state, number in reversed(NUMBERS.items())}
"""Number in the API to name; 10 is shared by failed and lost, and reads Failed."""
DESIRED_NAMES = {0: "Pending", 1: "Running", 2: "Stopped"}
TERMINAL_NUMBERS = frozenset(NUMBERS[state] for state in TERMINAL)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `next_token` asks for the next and is empty on the last."""

    items: tuple[T, ...]
    next_token: str
    document: Document


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted job."""

    job_id: str
    evaluation_id: str
    warnings: tuple[str, ...]
    version: int = 0
    """Of a rerun; 0 where the API does not say."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the record holds it."""

    id: str
    name: str
    namespace: str
    type: str
    count: int
    state: str
    message: str
    version: int
    engine: str
    created: datetime
    modified: datetime
    document: Document

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen to this version."""
        return self.state in _JOB_TERMINAL

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of its tasks, in their order."""
        return tuple(str(task.get("Name", "")) for task in self.document.get("Tasks") or ())

    @property
    def task_states(self) -> tuple[Document, ...]:
        """How each of its tasks stands; nothing for a job of one task, or where the API does not say."""
        return items(self.document.get("TaskStates"))

    @property
    def units(self) -> int:
        """How many partitions its tasks have together; of a job split by holders, as many as the API says."""
        if (known := self.document.get("Partitions")) is not None:
            return int(known)
        tasks: list[Document] = self.document.get("Tasks") or [{}]
        counts = (task.get("Count") for task in tasks)
        return sum(self.count if count is None else int(count) for count in counts)

    @property
    def per_node(self) -> bool:
        """Whether nodes, not a count, say how many run: an ops or daemon job, whose partitions are its nodes."""
        return self.type in ("ops", "daemon")

    @property
    def split(self) -> bool:
        """Whether who holds its data says how many partitions it has."""
        return any(task.get("Split") for task in self.document.get("Tasks") or ())

    @property
    def endless(self) -> bool:
        """Whether it runs until it is stopped."""
        return self.type in ("service", "daemon")

    @property
    def position(self) -> str:
        """Its place in line while it waits, by priority and age."""
        return self._detail("Position")

    @property
    def exit_code(self) -> int:
        """The highest exit code of its programs once it is Completed; 0 where all ended well, or none is known."""
        said = self._detail("ExitCode")
        return int(said) if said.isdigit() else 0

    def _detail(self, name: str) -> str:
        return str(((self.document.get("State") or {}).get("Details") or {}).get(name) or "")

    @classmethod
    def parse(cls, document: Document) -> "Job":
        """Read the API's job object."""
        state = document.get("State") or {}
        tasks = document.get("Tasks") or [{}]
        return cls(
            id=str(document.get("ID", "")),
            name=str(document.get("Name", "")),
            namespace=str(document.get("Namespace", "")),
            type=str(document.get("Type", "")),
            count=int(document.get("Count") or 0),
            state=str(state.get("StateType", "")),
            message=str(state.get("Message") or ""),
            version=int(document.get("Version") or 0),
            engine=str((tasks[0].get("Engine") or {}).get("Type", "")),
            created=_instant(document.get("CreateTime")),
            modified=_instant(document.get("ModifyTime")),
            document=document,
        )


@dataclass(frozen=True, slots=True)
class Execution:
    """One attempt of one partition on one node."""

    id: str
    job_id: str
    node_id: str
    partition: int
    state: str
    state_number: int
    message: str
    desired: str
    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool
    revision: int
    created: datetime
    modified: datetime
    document: Document

    @property
    def task(self) -> str:
        """The task that it is an attempt of; empty where the API does not say."""
        return str(self.document.get("Task") or "")

    @property
    def version(self) -> int:
        """Which version of its job it is an attempt of; 0 where the API does not say."""
        return int(self.document.get("JobVersion") or 0)

    @property
    def image_digest(self) -> str:
        """What exactly ran, `repository@sha256:…` or an image's id; empty where the API does not say."""
        return str(self.document.get("ImageDigest") or "")

    @property
    def addresses(self) -> dict[str, str]:
        """Where its ports are reached, `host:port` by their names; empty where it has none, and before it runs."""
        found = {str(port.get("Name")): (str(port.get("Host")), port.get("Port")) for port in self._ports}
        return {name: f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for name, (host, port) in found.items()}

    @property
    def _ports(self) -> tuple[Document, ...]:
        return items(self.document.get("Ports"))

    @property
    def ready(self) -> bool | None:
        """Whether it does what it is there for, as its checks say, while it runs; None while it does not run."""
        told = self.document.get("Ready")
        return None if told is None else bool(told)

    @property
    def data_read(self) -> DataRead:
        """What its inputs came to; nothing where it has none, and where its node is too old to say."""
        return DataRead.parse(self.document.get("DataRead") or {})

    @property
    def has_result(self) -> bool:
        """Whether what it left is stored, its whole output included, here, elsewhere, or on its node."""
        return bool(self._result_type)

    @property
    def left_on_node(self) -> bool:
        """Whether what it left is on its node alone, where nobody fetches it from."""
        return self._result_type == LEFT_ON_NODE

    @property
    def result_kept(self) -> bool | None:
        """Whether what it left can still be fetched; None where it left nothing, or the API does not say."""
        kept = self._left.get("Kept")
        return None if kept is None else bool(kept)

    @property
    def result_kept_until(self) -> str:
        """Until when, as the API writes times; empty where it does not say."""
        return str(self._left.get("KeptUntil") or "")

    @property
    def result_size(self) -> int:
        """Bytes of what it left, packed; 0 where the API does not say."""
        return int(self._left.get("Size") or 0)

    @property
    def result_place(self) -> str:
        """Where what it left was published, in the words of people; empty for Skrei's own store."""
        kind = self._result_type
        if kind in ("", "skrei", "urlDownload"):
            return ""
        if bucket := self._left.get("Bucket"):
            return f"{kind}://{bucket}/{self._left.get('Key') or ''}"
        if cid := self._left.get("CID"):
            return f"{kind}://{cid}"
        if self.left_on_node:
            return f"{self._left.get('NodeID') or self.node_id}:{self._left.get('Path') or ''}"
        return kind

    @property
    def _result_type(self) -> str:
        return str((self.document.get("PublishedResult") or {}).get("Type") or "")

    @property
    def _left(self) -> Document:
        return (self.document.get("PublishedResult") or {}).get("Params") or {}

    @property
    def is_terminal(self) -> bool:
        """Whether this attempt is over."""
        return self.state_number in TERMINAL_NUMBERS

    @classmethod
    def parse(cls, document: Document) -> "Execution":
        """Read the API's execution object."""
        observed = document.get("ComputeState") or {}
        number = int(observed.get("StateType") or 0)
        desired = int((document.get("DesiredState") or {}).get("StateType") or 0)
        output = document.get("RunOutput")
        said = output or {}
        return cls(
            id=str(document.get("ID", "")),
            job_id=str(document.get("JobID", "")),
            node_id=str(document.get("NodeID", "")),
            partition=int(document.get("PartitionIndex") or 0),
            state=str(document.get("State") or STATE_NAMES.get(number, "Undefined")),
            state_number=number,
            message=str(observed.get("Message") or ""),
            desired=DESIRED_NAMES.get(desired, str(desired)),
            exit_code=None if output is None else int(said.get("ExitCode") or 0),
            stdout=str(said.get("Stdout") or ""),
            stderr=str(said.get("stderr") or ""),
            truncated=bool(said.get("StdoutTruncated") or said.get("StderrTruncated")),
            revision=int(document.get("Revision") or 0),
            created=_instant(document.get("CreateTime")),
            modified=_instant(document.get("ModifyTime")),
            document=document,
        )


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One transition of a job or of one of its executions, as it was recorded."""

    sequence: int
    version: int
    level: str
    execution_id: str
    topic: str
    message: str
    details: dict[str, str]
    at: datetime
    document: Document

    @property
    def is_error(self) -> bool:
        """Whether this is why something did not go well."""
        return self.details.get("IsError") == "true"

    @classmethod
    def parse(cls, document: Document) -> "HistoryItem":
        """Read the API's history item."""
        event = document.get("Event") or {}
        return cls(
            sequence=int(document.get("SeqNum") or 0),
            version=int(document.get("JobVersion") or 0),
            level=str(document.get("Type", "")).removesuffix("Level"),
            execution_id=str(document.get("ExecutionID") or ""),
            topic=str(event.get("Topic") or ""),
            message=str(event.get("Message") or ""),
            details={str(key): str(value) for key, value in (event.get("Details") or {}).items()},
            at=_moment(document.get("Time") or event.get("Timestamp")),
            document=document,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to a job: an item of its history, or (`ended`) that a version of it has ended."""

    item: HistoryItem | None
    state: str
    """What the version ended as; empty while it has not."""
    version: int

    @property
    def ended(self) -> bool:
        """Whether the job's version has ended, and all of its history was told."""
        return self.item is None


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the control plane knows it."""

    id: str
    type: str
    membership: str
    connection: str
    labels: dict[str, str]
    engines: tuple[str, ...]
    capacity: dict[str, float]
    available: dict[str, float]
    running: int
    document: Document

    @property
    def intake(self) -> str:
        """What its operator lets onto it: open, cordoned, draining, drained; `open` where the API does not say."""
        return str(self.document.get("Intake") or "open")

    @property
    def operator_labels(self) -> dict[str, str]:
        """The labels that its operator gave it; they are among `labels`."""
        return {str(key): str(value) for key, value in (self.document.get("OperatorLabels") or {}).items()}

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """The data that it lets jobs read by name; none where the API does not say."""
        compute = (self.document.get("Info") or {}).get("ComputeNodeInfo") or {}
        return tuple(map(DataSet.parse, items(compute.get("DataSets"))))

    @property
    def input_cache(self) -> InputCache | None:
        """What it keeps of fetched inputs, and what that was good for; None where the API does not say."""
        compute = (self.document.get("Info") or {}).get("ComputeNodeInfo") or {}
        return InputCache.parse(compute["InputCache"]) if compute.get("InputCache") else None

    @property
    def services(self) -> tuple[NodeService, ...]:
        """What of it jobs may use by name; none where the API does not say."""
        compute = (self.document.get("Info") or {}).get("ComputeNodeInfo") or {}
        return tuple(map(NodeService.parse, items(compute.get("Services"))))

    @classmethod
    def parse(cls, document: Document) -> "Node":
        """Read the API's node state."""
        info = document.get("Info") or {}
        compute = info.get("ComputeNodeInfo") or {}
        return cls(
            id=str(info.get("NodeID", "")),
            type=str(info.get("NodeType", "")),
            membership=str(document.get("Membership", "")),
            connection=str(document.get("Connection", "")),
            labels={str(key): str(value) for key, value in (info.get("Labels") or {}).items()},
            engines=tuple(str(name) for name in compute.get("ExecutionEngines") or ()),
            capacity=_amounts(compute.get("MaxCapacity")),
            available=_amounts(compute.get("AvailableCapacity")),
            running=int(compute.get("RunningExecutions") or 0),
            document=document,
        )


@dataclass(frozen=True, slots=True)
class JobDetails:
    """A job with what was asked for beside it."""

    job: Job
    executions: tuple[Execution, ...]
    history: tuple[HistoryItem, ...]
    endpoints: tuple[Endpoint, ...]
    document: Document


@dataclass(frozen=True, slots=True)
class LogLine:
    """Some output: stream 1 is stdout, 2 stderr; the text may be part of a line or several.

    Of a job's output as a whole each piece says whose it is; of one execution's, who asked for it knows.
    """

    stream: int
    text: str
    task: str = ""
    partition: int | None = None
    execution_id: str = ""


def items(documents: Iterable[Document] | None) -> tuple[Document, ...]:
    """Return a list of the API as a tuple; an absent one is empty."""
    return tuple(documents or ())


def local_time(moment: str) -> str:
    """Return a time of the API as people read it here."""
    try:
        return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return moment


def is_past(moment: str) -> bool:
    """Whether a time of the API is over; what is no time is not."""
    try:
        return datetime.fromisoformat(moment) < datetime.now(UTC)
    except (ValueError, TypeError):
        return False


def _amounts(document: Document | None) -> dict[str, float]:
    wanted = document or {}
    return {name: float(wanted.get(name) or 0) for name in ("CPU", "Memory", "Disk", "GPU")}


def _instant(nanoseconds: object) -> datetime:
    return datetime.fromtimestamp(int(str(nanoseconds or 0)) / 1e9, tz=UTC)


def _moment(text: object) -> datetime:
    """Read RFC 3339; nanoseconds are cut to microseconds, which is all that datetime holds."""
    if not isinstance(text, str) or not text:
        return datetime.fromtimestamp(0, tz=UTC)
    return datetime.fromisoformat(text)


_JOB_TERMINAL = frozenset(state.value for state in JOB_TERMINAL)
