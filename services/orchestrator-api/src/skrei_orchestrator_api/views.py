"""Rows of the record as the API shows them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from skrei_domain.lifecycle import Connection, ExecutionState, Intake, JobState, Want
from skrei_domain.messages import RunOutput
from skrei_domain.node import NodeInfo
from skrei_domain.node_results import LOCAL_DIRECTORY
from skrei_domain.resources import Resources
from skrei_domain.retention import Keep, Policy, Standing, kept_until
from skrei_domain.spec import decode, retention_asked
from skrei_orchestrator_api import schemas

Row = Mapping[str, Any]

_SPLIT = '"Split":"holder"'
_TASK = '"Engine":{"Type":'
"""What stands in a stored spec once for each task, and elsewhere only by accident."""


class Keeping(NamedTuple):
    """How long what a job leaves is kept."""

    standing: Standing
    keep: Keep

    def until(self, made_at: datetime) -> datetime:
        """Return until when a result is kept at least."""
        return kept_until(self.standing, self.keep, made_at)


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as one of its versions is or was: that one's spec, and how it went with it."""

    id: str
    namespace: str
    state: JobState
    message: str
    details: str
    version: int
    history_seq: int
    created_at: datetime
    modified_at: datetime
    spec_json: str
    current: bool = True  # whether there is no newer version
    exit_code: int | None = None  # the highest that its programs were completed with, above 0

    @classmethod
    def of(cls, row: Row) -> "JobView":
        """Read a row of `jobs` with its `spec`."""
        return cls(
            id=row["id"],
            namespace=row["namespace"],
            state=JobState(row["state"]),
            message=row["message"],
            details=row["details"],
            version=row["version"],
            history_seq=row["history_seq"],
            created_at=row["created_at"],
            modified_at=row["modified_at"],
            spec_json=row["spec"],
            current=row["current"],
            exit_code=row["exit_code"],
        )

    @property
    def is_terminal(self) -> bool:
        """Whether only a new version can follow."""
        return self.state.is_terminal

    @property
    def is_split(self) -> bool:
        """Whether some of its tasks are parted by who holds their data, or a text in it says the same by accident."""
        return _SPLIT in self.spec_json

    @property
    def task_names(self) -> list[str]:
        """Its tasks in their order, where there are several; reading a spec of one would cost more than it tells."""
        if self.spec_json.count(_TASK) < 2:
            return []
        names = [task.name for task in decode(self.spec_json).tasks]
        return names if len(names) > 1 else []

    def keeping(self, policy: Policy) -> Keeping:
        """Return how long what it leaves is kept."""
        ended = self.modified_at if self.is_terminal and self.current else None
        return Keeping(Standing(self.version, ended), policy.keep(self.namespace, retention_asked(self.spec_json)))

    def at_place(self, place: int, furthest: int) -> "JobView":
        """Return the job with its place in line, counted up to `furthest`, among what explains its state."""
        told = str(place) if place < furthest else f"{furthest} or further"
        return replace(self, details=self._details(Position=told))

    def _details(self, **more: str) -> str:
        return schemas.dump(json.loads(self.details or "{}") | more)

    @property
    def _tells_exit(self) -> bool:
        return self.state is JobState.COMPLETED and bool(self.exit_code)

    def json(self, spec_json: str = "") -> str:
        """Return the job as clients know it; `spec_json` replaces the stored text (with its blobs put back)."""
        return schemas.job(
            job_id=self.id,
            spec_json=spec_json or self.spec_json,
            state=self.state.value,
            message=self.message,
            details_json=self._details(ExitCode=str(self.exit_code)) if self._tells_exit else self.details,
            version=self.version,
            revision=self.history_seq,
            created=self.created_at,
            modified=self.modified_at,
        )


@dataclass(frozen=True, slots=True)
class Left:
    """What an execution left: its tar.gz, when that came, and whether it still is kept."""

    digest: str
    size: int
    made_at: datetime
    kept: bool
    elsewhere: Mapping[str, Any] | None = None
    """Where it lies, as `Type` and `Params`, if that is not Skrei's own store."""
    own: bool = False
    """Of one that went to several places: whether Skrei's own store has what went there."""


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """An execution, and whether a result of it is kept."""

    id: str
    job_id: str
    node_id: str
    state: ExecutionState
    stored: bool
    output: RunOutput | None
    left: Left | None
    row: Row

    @classmethod
    def of(cls, row: Row) -> "ExecutionView":
        """Read a row of `executions` with what is known of its result."""
        said = row["stdout"] is not None or row["stderr"] is not None
        output = RunOutput(
            stdout=row["stdout"] or "",
            stderr=row["stderr"] or "",
            stdout_truncated=bool(row["stdout_truncated"]),
            stderr_truncated=bool(row["stderr_truncated"]),
        )
        return cls(
            id=row["id"],
            job_id=row["job_id"],
            node_id=row["node_id"],
            state=ExecutionState(row["state"]),
            stored=bool(row["stored"]),
            output=output if said else None,
            left=_left(row),
            row=row,
        )

    def document(self, keeping: Keeping) -> dict[str, Any]:
        """Return the execution as clients know it; `keeping`: how long what its job left is kept."""
        row = self.row
        return schemas.execution(
            execution_id=self.id,
            namespace=row["namespace"],
            evaluation_id=row["evaluation_id"],
            node_id=self.node_id,
            job_id=self.job_id,
            job_version=row["job_version"],
            task=row["task"],
            partition=row["partition"],
            attempt=row["attempt"],
            state=self.state,
            observed=ExecutionState(row["observed"]),
            want=Want(row["want"]),
            message=row["message"],
            reason=row["reason"],
            reserved=amounts(row),
            exit_code=row["exit_code"],
            problem=row["problem_message"] or "",
            output=self.output,
            image_digest=row["image_digest"] or "",
            ports=_ports(row),
            data=_data(row),
            ready=row["ready"] is not False if self.state is ExecutionState.RUNNING else None,
            published=_published(row, self.left, keeping),
            revision=row["changes"],
            created=row["created_at"],
            modified=row["modified_at"],
        )


def _ports(row: Row) -> list[dict[str, Any]]:
    """Return an execution's ports on its node: others reach each at `Host:Port`. What its node has not opened yet is
    none.
    """
    return [
        {"Name": port["name"], "Host": port["host"], "Port": port["port"], "Target": port["target"]}
        for port in json.loads(row["ports"] or "[]")
        if port["host"]
    ]


def _data(row: Row) -> dict[str, Any]:
    """Return what an execution's inputs came to, in bytes; nothing where it read none, or its node does not say."""
    if row["data_read"] is None:
        return {}
    told = json.loads(row["data_read"])
    amounts = {"Local": "local", "Moved": "moved", "Cached": "cached", "CacheHits": "hits"}
    return {name: told.get(key, 0) for name, key in amounts.items()} | {"AtLeast": told.get("at_least", False)}


def _left(row: Row) -> Left | None:
    if row["result_digest"] is None:
        return None
    elsewhere = None if row["result_published"] is None else json.loads(row["result_published"])
    kept, own = bool(row["result_kept"]), row["result_own_bytes"] is not None
    return Left(row["result_digest"], row["result_size"], row["result_created_at"], kept, elsewhere, own)


def _published(row: Row, left: Left | None, keeping: Keeping) -> dict[str, Any]:
    """Return what clients know of a result; a type stands only at the one that counts for its unit."""
    told: dict[str, Any] = {}
    if left is not None and left.elsewhere is not None:  # whoever owns that place says how long it is kept
        told = {**left.elsewhere["Params"], "Digest": left.digest, "Size": left.size}
        if left.elsewhere["Type"] == LOCAL_DIRECTORY:
            told["NodeID"] = row["node_id"]
        return {"Type": left.elsewhere["Type"] if row["committed"] else "", "Params": told}
    if left is not None:
        told = {
            "Digest": left.digest,
            "Size": left.size,
            "KeptUntil": schemas.rfc3339(keeping.until(left.made_at)),
            "Kept": left.kept,
        }
    return {"Type": "skrei" if row["committed"] else "", "Params": told}


DRAINED = "drained"
"""What a draining node is called on which nothing is left."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node, and what of it is reserved."""

    id: str
    connection: Connection
    row: Row

    @classmethod
    def of(cls, row: Row) -> "NodeView":
        """Read a row of `nodes` with the sums of its reservations."""
        return cls(id=row["id"], connection=Connection(row["connection"]), row=row)

    @property
    def info(self) -> NodeInfo:
        """What the node says of itself."""
        return NodeInfo.model_validate_json(self.row["info"])

    @property
    def labels(self) -> dict[str, str]:
        """The labels that its operator gave it."""
        found: dict[str, str] = json.loads(self.row["labels"])
        return found

    def document(self) -> dict[str, Any]:
        """Return the node's state as clients know it."""
        row = self.row
        return schemas.node(
            info=self.info,
            labels=self.labels,
            intake=DRAINED if row["intake"] == Intake.DRAINING and not row["live"] else row["intake"],
            drain_until=row["drain_until"],
            membership=row["membership"],
            connection=row["connection"],
            connected_since=row["connected_since"],
            disconnected_since=row["disconnected_since"],
            heard=row["modified_at"],
            confirmed=row["confirmed"],
            error=row["error"],
            reserved=amounts(row),
            running=row["running"],
        )


def node_event(row: Row) -> dict[str, Any]:
    """Return a row of `node_events` as clients know it."""
    return schemas.node_event(at=row["at"], topic=row["topic"], message=row["message"])


def history(row: Row) -> dict[str, Any]:
    """Return a row of `history` as clients know it."""
    return schemas.history(
        seq=row["seq"],
        job_id=row["job_id"],
        job_version=row["job_version"],
        execution_id=row["execution_id"],
        topic=row["topic"],
        message=row["message"],
        details=json.loads(row["details"]),
        at=row["at"],
    )


def amounts(row: Row) -> Resources:
    """Return the reserved amounts of a row."""
    return Resources(
        cpu_milli=row["cpu_milli"], memory_bytes=row["memory_bytes"], disk_bytes=row["disk_bytes"], gpu=row["gpu"]
    )
