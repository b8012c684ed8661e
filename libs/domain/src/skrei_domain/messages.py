"""Every message between processes: commands (what is wanted), facts (what was observed), and the hello protocol.

Fields are only ever added, each with a default; a change of meaning is a new `.v2` type. Times of a node are
attributes beside the record's own and never compared across machines.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.node import NodeInfo

PROTOCOL = 1
_LARGEST = 2**63 - 1
"""What a column of the record holds."""
MOST_PARTS = 10_000
"""As many as a task may have partitions."""


class Message(BaseModel):
    """A value on the wire: frozen, and deaf to fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Problem(Message):
    """Why something did not go well: a stable code and a sentence."""

    code: str
    message: str


# ---------------------------------------------------------------- commands


class LeftPart(Message):
    """Result paths, by their names, of which nothing is uploaded: they stay in the folder `place` of the node."""

    paths: tuple[str, ...]
    place: str


class Publishing(Message):
    """Where the result of an execution goes that is not Skrei's own store: all of it is uploaded, however small.

    `on_zero`: only with exit code 0 does it count. `place`: the folder of the node in which it stays instead; `left`:
    what of it stays there, while the rest is uploaded.
    """

    to: str
    on_zero: bool = False
    place: str | None = None
    left: tuple[LeftPart, ...] = ()


class ManifestRef(Message):
    """The list of all that an input comes to, as it lies in the result store, named by its digest.

    It has `parts`: one for each partition of its task, or a single one for all. `files` and `size_bytes` are those of
    the whole; files of which nobody says how large they are count nothing.
    """

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    parts: int = Field(ge=1, le=MOST_PARTS)
    files: int = Field(ge=0, le=_LARGEST)
    size_bytes: int = Field(ge=0, le=_LARGEST)


class PinnedInput(Message):
    """An input of a task, by its place among them, and the list that it was pinned to."""

    input: int
    manifest: ManifestRef


class RunOrder(Message):
    """All that a node needs to run an execution; the task's spec is JSON text, parsed once where it is used.

    `owner`: the control plane's owner submitted the job, proven by token when it was.
    """

    job_id: str
    job_version: int
    job_type: str = "batch"
    job_name: str = ""
    namespace: str = "default"
    task: str
    partition: int
    partition_count: int
    attempt: int = 1
    task_json: str
    token: str = ""
    local_restarts: int = 1
    execution_timeout_seconds: float | None = None
    total_timeout_seconds: float | None = None
    traceparent: str = ""
    owner: bool = False
    services: Mapping[str, str] | None = None
    """Where what the task uses is reached: variables for its environment; None where it uses nothing."""
    node_services: tuple[str, ...] = ()
    """Of what the task uses, what this node offers itself: it alone knows where."""
    shares: int | None = None
    """Of how many executions each gets its share of inputs that are dealt out; None: what `partition_count` says, and
    where that is 0 everybody reads everything."""
    publishing: Publishing | None = None
    """None: what is small rides in its fact, what is not goes to Skrei's own store."""
    drop: Literal["failed", "nonzero"] | None = None
    """Whose result is not kept: what failed or was stopped, or that and what exited with another code than 0."""
    manifests: tuple[PinnedInput, ...] = ()
    """The inputs that are pinned to a list; the others are as their node finds them."""


class ExecutionWanted(Message):
    """The wanted state of an execution at a revision; only a higher revision than the one applied counts."""

    type: Literal["skrei.execution.wanted.v1"] = "skrei.execution.wanted.v1"
    execution_id: str
    revision: int
    want: Want
    incarnation: int
    run: RunOrder | None = None
    reason: str = ""


class CommandBatch(Message):
    """Commands of one leader to one node, in order."""

    timeline: int
    epoch: int
    commands: tuple[ExecutionWanted, ...]


# ---------------------------------------------------------------- facts


class Step(Message):
    """A state that an execution reached, by the node's own clock, in its n-th start."""

    state: ExecutionState
    at: datetime
    start: int = 0


class RunOutput(Message):
    """The first 2 KiB of what the program said."""

    stdout: str = ""
    stderr: str = ""
    stdout_truncated: bool = False
    stderr_truncated: bool = False


class PortObserved(Message):
    """A port of a task as its node opened it: others reach it at `host:port`, the program listens on `target`."""

    name: str
    host: str
    port: int
    target: int


class DataRead(Message):
    """What an execution's inputs came to, in bytes: `local` were on its node, `moved` were brought for it.

    Of the local ones `cached` had been fetched before, in `hits` files. `at_least`: more is local than was measured.
    """

    local: int = 0
    moved: int = 0
    cached: int = 0
    hits: int = 0
    at_least: bool = False


class ResultRef(Message):
    """What an execution left: digest and size (bytes) of its tar.gz, and the bytes themselves (base64) when small.

    One that was uploaded has the publisher's signed `receipt` instead. One that stays on its node lies in its folder
    `left_at` and has `left_bytes`; what is told here is no more of it than the beginning of what was said. Packed, all
    of it has `left_digest` and `left_size`. One that is `left_unseen` is not there before its node is told to show it.
    """

    digest: str
    size: int
    inline: str | None = None
    receipt: str | None = None
    left_at: str | None = None
    left_bytes: int = 0
    left_digest: str = ""
    left_size: int = 0
    left_unseen: bool = False


class ExecutionObserved(Message):
    """The whole observed state of an execution with the time of every step."""

    type: Literal["skrei.execution.observed.v1"] = "skrei.execution.observed.v1"
    execution_id: str
    revision: int
    state: ExecutionState
    starts: int = 0
    steps: tuple[Step, ...] = ()
    exit_code: int | None = None
    problem: Problem | None = None
    output: RunOutput | None = None
    result: ResultRef | None = None
    image_digest: str | None = None
    """What exactly ran, where the engine knows."""
    note: str | None = None
    """In words for people: while it stages how far that is, while it runs why it is not ready (empty once it is)."""
    ports: tuple[PortObserved, ...] | None = None
    """The task's ports on its node, from its first report while it runs."""
    ready: bool | None = None
    """Whether its check finds it ready now; None where it has none."""
    data: DataRead | None = None
    """What its last start read; None where that is nothing, or its node does not say."""


class NodeChanged(Message):
    """What a node can do has changed."""

    type: Literal["skrei.node.changed.v1"] = "skrei.node.changed.v1"
    info: NodeInfo


Fact: TypeAlias = Annotated[ExecutionObserved | NodeChanged, Field(discriminator="type")]


class FactBatch(Message):
    """A stretch of one node's ordered log: `facts[i]` has the sequence `first + i`."""

    node_id: str
    boot_id: str
    incarnation: int
    first: int
    facts: tuple[Fact, ...]
    writer: str = ""  # the boot id of the process that wrote the last one: two logs that part differ in it

    @property
    def last(self) -> int:
        """The sequence of the last fact."""
        return self.first + len(self.facts) - 1


class Confirm(Message):
    """Leader to node: facts up to `confirmed` are committed; `resend_from` names a gap; `hello` asks for a hello.

    `challenge` is to be repeated in that hello: it proves that the process is alive now.
    """

    timeline: int
    epoch: int
    boot_id: str = ""
    incarnation: int = 0
    confirmed: int = 0
    resend_from: int | None = None
    hello: bool = False
    challenge: str = ""


# ---------------------------------------------------------------- hello


class HelloExecution(Message):
    """An execution as a node's journal knows it."""

    execution_id: str
    revision: int
    state: ExecutionState
    starts: int = 0
    kept: bool = False  # its end is confirmed, and what it uploaded is kept here until it is to be forgotten


class Hello(Message):
    """What a node says of itself; long ones go in pages, answered when the last one has come.

    `timeline`, `epoch` and `confirmed` are the highest that the node was ever told: a record that is behind
    them has been restored from a backup.
    """

    protocol: int = PROTOCOL
    node_id: str
    boot_id: str
    timeline: int
    epoch: int
    incarnation: int
    sequence: int
    confirmed: int
    executions: tuple[HelloExecution, ...] = ()
    writers: tuple[tuple[int, str], ...] = ()  # (sequence, boot id): who wrote the log from there on
    info: NodeInfo
    challenge: str = ""
    page: int = 0
    pages: int = 1


class Wanted(Message):
    """The revision and want that the record holds of an execution that the node listed."""

    execution_id: str
    revision: int
    want: Want


class HelloReply(Message):
    """The leader's answer. `incarnation` above the node's own means: open that one and say hello again.

    `refusal` code `duplicate-node` is final for this process; `busy` and `not-leader` mean: ask again soon.
    `api_url` and `publisher_url` are where nodes reach those two; empty where the leader was not told.
    """

    timeline: int = 0
    epoch: int = 0
    incarnation: int = 0
    confirmed: int = 0
    heartbeat_seconds: float = 5.0
    wanted: tuple[Wanted, ...] = ()
    refusal: Problem | None = None
    more: bool = False
    api_url: str = ""
    publisher_url: str = ""


class CachedInputs(Message):
    """Which fetched inputs a node holds, by `source_keys`: all of them in a filter (`bloom`, base64), or what has come.

    `added` are keys with their sizes in bytes. What a node has dropped is in the next filter no more.
    """

    filter: str | None = None
    added: tuple[tuple[str, int], ...] = ()


class Heartbeat(Message):
    """Alive; the log goes to `sequence`, and `digest` sums up what is not terminal there (see `sync.digest`).

    `cached` is there when a node has news of that alone.
    """

    node_id: str
    boot_id: str
    timeline: int
    incarnation: int
    sequence: int
    digest: str
    leaving: bool = False
    cached: CachedInputs | None = None


# ---------------------------------------------------------------- questions to a node


class LogRequest(Message):
    """API to node: stream an execution's output on `subjects.log`; `follow` goes on until it ends.

    `tail`: only what comes from now on. `lines`: of what was said before only so many lines of each stream.
    """

    type: Literal["skrei.log.request.v1"] = "skrei.log.request.v1"
    request_id: str
    execution_id: str
    follow: bool = False
    tail: bool = False
    lines: int | None = None
    cancel: bool = False


class LeftWanted(Message):
    """API to node: bring what an execution left at `place` to the publisher's door, under this request and token.

    `left` names it there where it is a part of what that execution left.
    """

    type: Literal["skrei.left.wanted.v1"] = "skrei.left.wanted.v1"
    request_id: str
    execution_id: str
    place: str
    token: str
    left: str = ""


class LeftShow(Message):
    """API to node: show what was left unseen under the name `left`, since it has won. Answered by `LeftShown`."""

    type: Literal["skrei.left.show.v1"] = "skrei.left.show.v1"
    request_id: str
    left: str


class LeftShown(Message):
    """Node to API: where what it was to show lies now, and what it comes to; or why it is not there.

    A problem with the code LEFT_GONE is its last word.
    """

    type: Literal["skrei.left.shown.v1"] = "skrei.left.shown.v1"
    request_id: str
    path: str = Field("", max_length=4_096)  # as file systems have them
    left_bytes: int = Field(0, ge=0, le=_LARGEST)
    digest: str = Field("", pattern=r"^(sha256:[0-9a-f]{64})?$")
    size: int = Field(0, ge=0, le=_LARGEST)
    problem: Problem | None = None


LEFT_GONE = "left-gone"
"""The problem code of what is not on its node any more."""


class LogChunk(Message):
    """Node to API: some output. `stream` 1 is stdout, 2 stderr; `end` closes; `problem` says why there is none."""

    request_id: str
    sequence: int
    stream: int = 0
    data: str = ""
    end: bool = False
    problem: Problem | None = None


# ---------------------------------------------------------------- results


class ResultHeld(Message):
    """Leader to publisher: take this inline result over (fetch it from the API's internal route)."""

    execution_id: str
    digest: str
    size: int
    expires_at: datetime


class StagedResult(Message):
    """A result that was uploaded, and where its publisher put it; `place` is the publisher's own word.

    `destination`: where it goes as people name that, the same for all that one server takes; empty where nobody said.
    """

    execution_id: str
    digest: str
    size: int
    publisher: str
    place: str = ""
    destination: str = ""


class PublisherCommand(Message):
    """Leader to publisher, in bulk: inline results to take over, and stored ones, or logs, to drop.

    Of staged ones those that have won are to be finalised; those that never count are to be kept for reading where
    that is possible, else dropped.
    """

    type: Literal["skrei.publisher.command.v1"] = "skrei.publisher.command.v1"
    take: tuple[ResultHeld, ...] = ()
    drop: tuple[str, ...] = ()
    finalise: tuple[StagedResult, ...] = ()
    keep: tuple[StagedResult, ...] = ()
    drop_logs: tuple[str, ...] = ()


class PublishRefused(Message):
    """A staged result that will never be final: the destination's last word, or it is not there any more."""

    execution_id: str
    digest: str
    problem: Problem


class PublishWaits(Message):
    """A staged result that could not be made final this time, and why: it is tried again."""

    execution_id: str
    digest: str
    reason: str


class PublishedAt(Message):
    """Where a final result lies that is not in Skrei's own store: what clients read as its `PublishedResult`."""

    execution_id: str
    type: str
    params: Mapping[str, Any] = Field(default_factory=dict)


class PublisherFact(Message):
    """Publisher to leader, in bulk: results that are durably stored, or final, as (execution id, digest).

    `published` tells of those `finalised` ones that lie elsewhere where that is; `waits` is for people.
    """

    type: Literal["skrei.publisher.fact.v1"] = "skrei.publisher.fact.v1"
    stored: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    finalised: tuple[tuple[str, str], ...] = ()
    refused: tuple[PublishRefused, ...] = ()
    published: tuple[PublishedAt, ...] = ()
    waits: tuple[PublishWaits, ...] = ()


# ---------------------------------------------------------------- hints


class EvaluationHint(Message):
    """API to scheduler: look now; carries what the planner needs while the batch is small, else nothing."""

    type: Literal["skrei.hint.evaluation.v1"] = "skrei.hint.evaluation.v1"
    evaluations: tuple["HintedEvaluation", ...] = ()
    collect: bool = False
    """Whether what may go is to go now."""


class HintedEvaluation(Message):
    """A due evaluation and its job as they were committed; `spec_json` is the stored spec text."""

    evaluation_id: str
    trigger: str
    job_id: str
    namespace: str
    job_name: str
    job_type: str
    generation: int
    version: int
    state: str
    priority: int
    created_at: datetime
    asked_at: datetime | None = None  # its current version; None: with the job
    spec_json: str
    traceparent: str = ""
    actor: str = ""
    submitter: str = ""  # of the job; `actor` is who asked for this evaluation
    history_seq: int = 0  # the number of the last row of the job's history; 0 where it is not told
    good_version: int = 0  # of a service: the one to go back to
    anew: int = 0  # and before which one nothing is kept
