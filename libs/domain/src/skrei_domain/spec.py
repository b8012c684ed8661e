"""What a job asks for, once it has been read: frozen values with the API's own key names outside.

Attributes are snake_case, JSON keys are the API's (`InputSources`, `CPU`). Keys that nobody knows are kept. A stored
spec is `encode(spec)`, read back by `decode(text)`; what people send goes through `parse_job` first.
"""

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_pascal

from skrei_domain.constraints import Constraint
from skrei_domain.job_depends import Dependency, all_needs, dependency
from skrei_domain.resources import Resources, parse_bytes, parse_cpu, parse_gpu
from skrei_domain.retention import Asked

MAX_SPEC_BYTES = 64 * 1024
"""A spec without its inline data: a plan, a command and a hint each hold it in memory and in one message."""
MAX_COUNT = 10_000
"""Partitions of a job: one plan and one page of executions stay within a second and a few megabytes."""
MAX_TASKS = 32
MAX_LABELS = 100
MAX_LABEL_BYTES = 256
"""A label's key, and its value: both are indexed and matched against every node."""
MAX_ENV = 1_000
"""Environment entries: far below what a process can be started with."""
MAX_PORTS = 32
"""Ports of a task: each is a listener of its node, and told in facts."""
MAX_NAME_BYTES = 256
"""Names are index keys and stand in tables that people read."""

_RETENTION = '"Retention"'
"""What stands in a stored spec that says how long things are kept, and elsewhere only by accident."""


class Part(BaseModel):
    """A piece of a spec: frozen, with the API's key names, keeping keys that it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        alias_generator=to_pascal,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class SpecConfig(Part):
    """A plugin by name, and what it is told."""

    type: str = ""
    params: dict[str, Any] = {}

    def param(self, name: str) -> Any:
        """Return the parameter called `name` in any case, or None."""
        if name in self.params:
            return self.params[name]
        wanted = name.lower()
        return next((value for key, value in self.params.items() if key.lower() == wanted), None)


class InputSource(Part):
    """Data that lies at `target` when the task starts."""

    source: SpecConfig = SpecConfig()
    target: str = ""
    alias: str = ""


class ResultPath(Part):
    """A folder that the task fills: `path` inside, `name` in the result; `publisher`, where that is not its task's."""

    name: str = ""
    path: str = ""
    publisher: SpecConfig | None = None


class ResourcesConfig(Part):
    """What a task asks for, in text; empty means: not said."""

    cpu: str = Field("", alias="CPU")
    memory: str = ""
    disk: str = ""
    gpu: str = Field("", alias="GPU")

    def amounts(self) -> Resources:
        """Return the amounts; what was not said is 0. Raises ValueError for a text that is none."""
        return Resources(
            cpu_milli=parse_cpu(self.cpu) if self.cpu else 0,
            memory_bytes=parse_bytes(self.memory) if self.memory else 0,
            disk_bytes=parse_bytes(self.disk) if self.disk else 0,
            gpu=parse_gpu(self.gpu) if self.gpu else 0,
        )


class Port(Part):
    """A port that a task wants opened."""

    name: str = ""
    static: int = 0
    target: int = 0
    host_network: str = ""


class NetworkConfig(Part):
    """What of the network a task may reach."""

    type: str = "Default"
    domains: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()


class Timeouts(Part):
    """Limits in seconds; 0 is none."""

    execution_timeout: int = 0
    queue_timeout: int = 0
    total_timeout: int = 0

    @property
    def effective_execution_timeout(self) -> int:
        """How long an execution may run: its own limit, else the job's."""
        return self.execution_timeout or self.total_timeout


class Offline(Part):
    """What becomes of executions on a node that fell silent; `wait` in seconds."""

    wait: int = 300
    replace: bool = True
    on_return: Literal["keep-first", "keep-original", "stop"] = "keep-first"


class UpdateConfig(Part):
    """How a service goes to its next version: at most `max_surge` more than it needs run meanwhile, what is ready
    counts once it has been for `min_ready` seconds, and it goes back when nothing more did for `progress_deadline`.
    """

    max_surge: int = 1
    min_ready: int = 5
    progress_deadline: int = 600


class RetentionConfig(Part):
    """How long what a job leaves is kept, in seconds; None: as its namespace has it."""

    results: int | None = None
    logs: int | None = None
    history: int | None = None

    @property
    def asked(self) -> Asked:
        """What that asks of a policy."""
        return Asked(self.results, self.logs, self.history)


class LogsConfig(Part):
    """When output leaves the node: `live` while the task runs, `end` only with its result."""

    ship: Literal["live", "end"] = "live"


DependencyPart: TypeAlias = Annotated[Dependency, BeforeValidator(dependency), PlainSerializer(Dependency.document)]


class HttpCheck(Part):
    """Ready is what answers a GET with 200 to 399."""

    port: str = ""
    path: str = "/"


class TcpCheck(Part):
    """Ready is what takes a connection."""

    port: str = ""


class ExecCheck(Part):
    """Ready is a task in which this command ends with exit code 0; its words, for no shell."""

    command: tuple[str, ...] = ()


class Check(Part):
    """How it is found out whether a task is ready: asked each `interval`, `healthy` good answers in a row make it so,
    `unhealthy` bad ones not. Times in seconds.
    """

    http: HttpCheck | None = Field(None, alias="HTTP")
    tcp: TcpCheck | None = Field(None, alias="TCP")
    exec: ExecCheck | None = None
    interval: int = 10
    timeout: int = 5
    healthy: int = 1
    unhealthy: int = 3


class TaskSpec(Part):
    """One program: what runs it, what it reads, what it leaves, what it needs; `count` partitions, else the job's."""

    name: str = ""
    engine: SpecConfig = SpecConfig()
    publisher: SpecConfig = SpecConfig()
    env: dict[str, str] = {}
    meta: dict[str, str] = {}
    input_sources: tuple[InputSource, ...] = ()
    result_paths: tuple[ResultPath, ...] = ()
    resources: ResourcesConfig = ResourcesConfig()
    network: NetworkConfig = NetworkConfig()
    timeouts: Timeouts = Timeouts()
    logs: LogsConfig = LogsConfig()
    count: int | None = None
    depends_on: tuple[DependencyPart, ...] | None = None
    check: Check | None = None
    stop_grace: int | None = None
    """Seconds between being asked to end and being ended; None: as its engine does where nobody says."""
    uses: tuple[str, ...] | None = None
    split: Literal["holder"] | None = None
    """Who says how many partitions there are: the nodes that hold its data; None: `count`."""
    keep_failed: bool | None = None
    """Whether what an execution left is kept that failed or was stopped; None: it is."""
    locality: Literal["required"] | None = None
    """Whether it runs only where its local paths are handed out; None: such nodes are preferred."""

    @property
    def needs(self) -> tuple[Dependency, ...]:
        """The tasks that it waits for: those that it says, and those that its inputs come from."""
        return all_needs(self.depends_on or (), [(each.source.type, each.source.params) for each in self.input_sources])


def _constraint(raw: object) -> object:
    if isinstance(raw, dict):
        return Constraint(raw.get("Key", ""), raw.get("Operator", ""), tuple(raw.get("Values") or ()))
    return raw


def _constraint_out(value: Constraint) -> dict[str, object]:
    return {"Key": value.key, "Operator": value.operator, "Values": list(value.values)}


ConstraintPart: TypeAlias = Annotated[Constraint, BeforeValidator(_constraint), PlainSerializer(_constraint_out)]


class JobSpec(Part):
    """What a user wants: `count` partitions of each task, on nodes that meet every constraint."""

    name: str = ""
    namespace: str = "default"
    type: str = "batch"
    priority: int = 0
    count: int = 1
    constraints: tuple[ConstraintPart, ...] = ()
    meta: dict[str, str] = {}
    labels: dict[str, str] = {}
    tasks: tuple[TaskSpec, ...] = ()
    offline: Offline = Offline()
    update: UpdateConfig = UpdateConfig()
    fail_on: Literal["never", "exit-code"] = "never"
    retention: RetentionConfig | None = None

    def count_of(self, task: TaskSpec) -> int:
        """Return how many partitions a task has, as far as its spec says."""
        if task.split is not None:
            return 1  # until its holders are known
        return self.count if task.count is None else task.count

    @property
    def units(self) -> int:
        """How many partitions all tasks have together."""
        return sum(map(self.count_of, self.tasks))


def encode(spec: JobSpec) -> str:
    """Return the text under which a spec is stored: an object, whose keys are those of a job in the API."""
    return spec.model_dump_json(exclude_none=True)


def decode(text: str | bytes) -> JobSpec:
    """Return the spec that `encode` made `text` of, in this version or an earlier one: what an earlier one kept under a
    key that meant nothing yet, and that says nothing in its meaning of now, still means nothing.
    """
    try:
        return JobSpec.model_validate_json(text)
    except ValidationError as error:
        if not (unread := {key for each in error.errors() if (key := _later_key(each["loc"])) is not None}):
            raise
    told = json.loads(text)
    for *way, name in unread:
        holder = told
        for step in way:
            holder = holder[step]
        holder.pop(name, None)
    return JobSpec.model_validate_json(json.dumps(told))


def _later_key(at: tuple[int | str, ...]) -> tuple[int | str, ...] | None:
    """Return the way to the key of a later version that a problem is below; None where there is none."""
    if at[:1] == ("Retention",):
        return at[:1]
    if at[:1] == ("Tasks",) and at[2:3] == ("ResultPaths",) and at[4:5] == ("Publisher",):
        return at[:5]
    return None


def retention_asked(text: str) -> Asked | None:
    """Return how long what its job leaves is to be kept by a stored spec, which is read only where it may say so."""
    retention = decode(text).retention if _RETENTION in text else None
    return None if retention is None else retention.asked
