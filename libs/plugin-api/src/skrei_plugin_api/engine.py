"""The contract of engines: what runs a program to its end, and what it tells about it.

A run has one folder of its own, `RunRequest.workdir`. While the program runs, the engine writes `stdout` and `stderr`
there as they come (they are read live; through `streams.StreamFile`, which keeps so much of each), and `outputs/<name>`
for each output. What is left is packed by `packing.pack_result`, also after a failure. The caller removes the folder.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Protocol

from skrei_domain.errors import SkreiError
from skrei_domain.node import Gpu
from skrei_domain.resources import Resources
from skrei_plugin_api.packing import NO_OUTPUT, PackedResult, StreamHead
from skrei_plugin_api.plugin import Params, Plugin
from skrei_plugin_api.streams import STREAM_BYTES

INLINE_RESULT_BYTES = 64 * 1024
"""A packed result up to here rides in the terminal fact; a larger one stays a file in the workdir."""
MAX_OUTPUT_BYTES = 1024 * 1024 * 1024
"""What the outputs may hold together when the caller names no limit of its own."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """How much of an input lies on the node where it always does: so many bytes, or more than that was measured."""

    size_bytes: int
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Mount:
    """A staged input: the file or directory `source` appears at `target` (relative targets start at the root).

    `in_place`: nothing of it was brought or copied; None where it was.
    """

    source: Path
    target: str
    read_write: bool = False
    in_place: InPlace | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """A folder that the program fills at `path`, and that the result holds as `name`."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A port of the node that is the run's alone: what comes to `address:port` goes to the program's `target`.

    In the node's own network the program itself listens: `target` is `port` then, and `address` a wish.
    """

    name: str
    address: str
    port: int
    target: int


@dataclass(frozen=True, slots=True)
class ServiceWay:
    """A service of the node that a run uses: `host:port` as the node reaches it, told to the program as `variable`.

    A program is given a way to this address, whatever its network, and by it to no other. Where it finds it elsewhere,
    the engine sets the variable.
    """

    variable: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One start of one execution. `env` is given to the program exactly as it is here."""

    execution_id: str
    start_number: int
    params: Params
    workdir: Path
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    outputs: tuple[Output, ...] = ()
    resources: Resources = Resources()
    """What was reserved; 0 bytes of memory means that nobody set a limit."""
    gpus: tuple[Gpu, ...] = ()
    """The whole devices that this execution alone holds: as many as `resources.gpu`."""
    timeout_seconds: float | None = None
    """Wall-clock time from the moment that the engine gets to work on it; None: no limit."""
    network: str = "None"
    domains: tuple[str, ...] = ()
    """What a network of the kind `HTTP` reaches."""
    ports: tuple[PortBinding, ...] = ()
    services: tuple[ServiceWay, ...] = ()
    stop_grace_seconds: int | None = None
    """How long the program may take to end by itself once its run is cancelled or its time is over; 0: it is ended at
    once, None: as the engine does where nobody says."""
    max_stream_bytes: int = STREAM_BYTES
    """What is kept of stdout, and what of stderr; see `streams.StreamFile`."""
    max_output_bytes: int = MAX_OUTPUT_BYTES
    """What the outputs may hold together: a run with more has failed, since half an output is a wrong one."""
    inline_result_limit: int = INLINE_RESULT_BYTES
    cut: "asyncio.Future[EngineFailure] | None" = field(default=None, compare=False, repr=False)
    """Set by the caller when the program is to be killed at once, without a grace, and why: so the run ends."""


class FailureCode(StrEnum):
    """Why a run has no exit code of its own."""

    TRAP = "trap"
    """The program did what is not allowed, or gave up."""
    TIMEOUT = "timeout"
    MODULE_INVALID = "module-invalid"
    """The program cannot be read, compiled or linked."""
    INPUT_INVALID = "input-invalid"
    """The inputs and outputs cannot lie side by side."""
    EXPORT_UNKNOWN = "export-unknown"
    """The program has no such entrypoint."""
    OUT_OF_MEMORY = "out-of-memory"
    ENGINE_LOST = "engine-lost"
    """What ran the program died; no doing of the program is known. The run may be tried again."""
    OUTPUT_TOO_LARGE = "output-too-large"
    """The outputs hold more than they may."""
    DISK_LIMIT_EXCEEDED = "disk-limit-exceeded"
    """It wrote more to the node's disk than it had asked for."""
    IMAGE_UNAVAILABLE = "image-unavailable"
    """The program's image cannot be had."""
    EXECUTABLE_INVALID = "executable-invalid"
    """The image has no such program, or it cannot be executed here."""
    NETWORK_UNSUPPORTED = "network-unsupported"
    """The engine does not have that kind of network."""
    CONTAINER_REFUSED = "container-refused"
    """What runs containers refuses this one."""


@dataclass(frozen=True, slots=True)
class EngineFailure:
    """A failure's stable code, and a sentence for people."""

    code: FailureCode
    message: str


NETWORKS = frozenset({"", "default", "none", "host", "full", "bridge", "http"})
"""The kinds of network that a task may ask for, in lower case; not every engine has each."""


def unknown_network(request: "RunRequest") -> EngineFailure | None:
    """Return the failure of a run with a network that nobody knows: it must not get more than it was meant to."""
    if request.network.casefold() in NETWORKS:
        return None
    return EngineFailure(
        FailureCode.NETWORK_UNSUPPORTED,
        f"there is no network of type {request.network!r}: use Bridge for an open one, None for none",
    )


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended: `exit_code` or `failure`, never both, never neither.

    Times are this machine's monotonic clock, in seconds. `result` is None only where nothing could be packed.
    """

    exit_code: int | None
    failure: EngineFailure | None
    started_at: float
    ended_at: float
    stdout_head: StreamHead = NO_OUTPUT
    stderr_head: StreamHead = NO_OUTPUT
    result: PackedResult | None = None
    image_digest: str = ""
    """What exactly ran, where the engine knows: `repository@sha256:…`, or an image's id."""


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """A command to run beside the program of a start, in its surroundings: its files, environment and network.

    After `timeout_seconds` it is ended, and what it started with it.
    """

    execution_id: str
    start_number: int
    command: tuple[str, ...]
    timeout_seconds: float
    most_output_bytes: int = 2048


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """How a command ended: its exit code, None where its time was over; `output` is the end of what it said."""

    exit_code: int | None
    output: bytes = b""


class RunEvents(Protocol):
    """What an engine tells about a run before its end. Called on the event loop; must not block."""

    def running(self) -> None:
        """The engine got to work on the program; called at most once."""

    def ended(self) -> None:
        """The program runs no more, and what that comes to takes a moment to find out: nobody is to be sent there.

        An engine that answers at once need not say so.
        """


class NoCommands(SkreiError):
    """The engine has no way to run anything beside a program."""

    code = "no-commands"


Tell = Callable[[str], None]
"""Takes a line about how far something is."""


class Engine(Plugin):
    """Runs programs. Many runs go on at once; none of them can hold up the event loop or another run.

    What an engine keeps of a run after its end (a container) stays until `release`: by then the end is durable.
    """

    adopts: ClassVar[bool] = False
    """Whether programs live on without the agent, to be taken up by `adopt` in its next process."""

    commands: ClassVar[bool] = False
    """Whether `command` works here: whether something can be run beside a program."""

    async def prepare(self, params: Params, tell: Tell) -> None:
        """Make ready what a run with these params needs and what may take long, like an image; before each run.

        Raises SkreiError, a retryable one where another node or a later time may do better.
        """
        return

    @abstractmethod
    async def run(self, request: RunRequest, events: RunEvents) -> RunOutcome:
        """Run a program to its end and return how it ended, whatever the program did.

        What earlier starts of the execution left, running or not, is taken away first. Raises only for what is wrong
        with the node (no room on its disk, the engine is not available): the run may then be tried elsewhere.
        Cancelling asks the program to end, in the way that the engine has for that, ends it after the request's grace,
        and returns only when it is gone; what it said and made until then is in the workdir.
        """

    async def adopt(self, request: RunRequest, events: RunEvents) -> RunOutcome | None:
        """Take up the run that an earlier process began with the same request, and return how it ended.

        None when there is no such run: it never began, or it ended with its machine or without a trace, by no doing of
        its own. It may then be run again, under the next number.

        Output that is in the workdir already is continued. Otherwise like `run`.
        """
        return None

    async def command(self, request: CommandRequest) -> CommandOutcome:
        """Run a command beside a start that goes on, to its end or its timeout, and return only when it is gone.

        Raises SkreiError where the start does not run, or the command cannot be begun or be ended. Whoever calls it
        calls it again for the same start only once it has returned.
        """
        raise NoCommands(f"the engine {self.name!r} runs nothing beside a program", hint="use an HTTP or TCP check")

    def leave(self) -> None:
        """The agent ends: a run that is cancelled from now on lives on where the engine adopts."""
        return

    async def release(self, execution_id: str) -> None:
        """Remove what is left of an execution's runs, also one that still goes on. Raises SkreiError when it cannot."""
        return

    async def sweep(self, owned: Callable[[str], bool]) -> int:
        """Remove what this node's earlier runs left of executions that are not `owned`; return how many things.

        `owned` is asked after what is there was listed, so that a run which begins meanwhile is never swept away.
        Never touches what is not this node's. Raises SkreiError when it cannot.
        """
        return 0
