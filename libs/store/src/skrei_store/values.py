"""Rows of the record as domain values, and texts that a row can hold."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from skrei_domain.lifecycle import Connection, ExecutionState, Intake, JobState, Membership, Want
from skrei_domain.messages import ManifestRef, PortObserved
from skrei_domain.node import NodeInfo
from skrei_domain.resources import Resources
from skrei_domain.spec import decode
from skrei_scheduling.compile import compile_job
from skrei_scheduling.rows import ExecutionRow, Gone, JobRow, NodeRow, TaskInput, Unit

EXECUTION_COLUMNS = (
    "id, job_id, job_version, namespace, task, partition, attempt, node_id, incarnation, state, observed, want, "
    "revision, seen_revision, cpu_milli, memory_bytes, disk_bytes, gpu, revoked, holds, starts, changes, message, "
    "reason, evaluation_id, staged, leaving, ready, ready_at, what_runs, ports, "
    "CASE WHEN staged THEN (SELECT r.digest FROM results r WHERE r.execution_id = executions.id) END AS digest"
)
"""What `execution_row` needs of a row of `executions`."""

NODE_COLUMNS = (
    "id, info, membership, connection, boot_id, incarnation, confirmed, confirmed_by, connected_since, "
    "disconnected_since, error, gone, intake, drain_until, labels"
)
"""What `node_row` needs."""


compact = json.JSONEncoder(separators=(",", ":")).encode
"""JSON without spaces, in ASCII; `json.dumps` makes an encoder anew for each text where it is told how to write."""


def storable(text: str) -> str:
    """Return `text` as the record can hold it: programs print NULs and broken characters, and neither may stop us."""
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def dump(values: Mapping[str, str]) -> str:
    """Return JSON in plain ASCII: whatever stands in it, a text column holds it."""
    return compact(dict(values)) if values else "{}"


def dump_labels(labels: Mapping[str, str]) -> str:
    """Return labels as JSON, with their characters as they are; what no row can hold is refused by the record."""
    return json.dumps(dict(labels), ensure_ascii=False) if labels else "{}"


def dump_gone(gone: tuple[Gone, ...]) -> str:
    """Return what a node lost as JSON in plain ASCII."""
    if not gone:
        return "[]"
    return compact([[each.kind, each.name, each.value, each.amount, each.at.isoformat()] for each in gone])


def read_gone(text: str) -> tuple[Gone, ...]:
    """Return what `dump_gone` wrote."""
    return tuple(
        Gone(kind, name, datetime.fromisoformat(at), value, amount)
        for kind, name, value, amount, at in json.loads(text)
    )


def execution_row(row: Mapping[str, Any]) -> ExecutionRow:
    """Return the execution that a row of `EXECUTION_COLUMNS` is."""
    return ExecutionRow(
        id=row["id"],
        job_id=row["job_id"],
        job_version=row["job_version"],
        namespace=row["namespace"],
        task=row["task"],
        partition=row["partition"],
        attempt=row["attempt"],
        node_id=row["node_id"],
        incarnation=row["incarnation"],
        state=ExecutionState(row["state"]),
        observed=ExecutionState(row["observed"]),
        want=Want(row["want"]),
        revision=row["revision"],
        seen_revision=row["seen_revision"],
        reserved=resources(row),
        revoked=row["revoked"],
        holds=row["holds"],
        starts=row["starts"],
        changes=row["changes"],
        message=row["message"],
        reason=row["reason"],
        staged=row["staged"],
        leaving=row["leaving"],
        ready=row["ready"],
        ready_at=row["ready_at"],
        what_runs=row["what_runs"],
        digest=row["digest"] or "",
        evaluation_id=row["evaluation_id"],
        ports=read_ports(row["ports"]) if row["ports"] else (),
    )


def read_ports(text: str) -> tuple[PortObserved, ...]:
    """Return the ports that a row holds as JSON."""
    return tuple(PortObserved.model_construct(**port) for port in json.loads(text))


def resources(row: Mapping[str, Any]) -> Resources:
    """Return the amounts in a row."""
    return Resources.model_construct(
        cpu_milli=int(row["cpu_milli"]),
        memory_bytes=int(row["memory_bytes"]),
        disk_bytes=int(row["disk_bytes"]),
        gpu=int(row["gpu"]),
    )


def node_row(row: Mapping[str, Any]) -> NodeRow:
    """Return the node that a row of `NODE_COLUMNS` is."""
    return NodeRow(
        id=row["id"],
        info=NodeInfo.model_validate_json(row["info"]),
        membership=Membership(row["membership"]),
        connection=Connection(row["connection"]),
        boot_id=row["boot_id"],
        incarnation=row["incarnation"],
        confirmed=row["confirmed"],
        confirmed_by=row["confirmed_by"],
        connected_since=row["connected_since"],
        disconnected_since=row["disconnected_since"],
        error=row["error"],
        gone=read_gone(row["gone"]),
        intake=Intake(row["intake"]),
        drain_until=row["drain_until"],
        labels=json.loads(row["labels"]),
    )


ROLLOUT_COLUMNS = "good_version, progress, progress_at, paused, anew"
"""Columns of `jobs` that say how far a service is, which `planned_job` needs."""

SUBMITTER = (
    "(SELECT v.submitter FROM job_versions v WHERE v.job_id = jobs.id AND v.version = jobs.version) AS submitter"
)
"""Who submitted the current version of a row of `jobs`, which `planned_job` needs."""


def planned_job(
    row: Mapping[str, Any],
    spec: str,
    *,
    won: frozenset[Unit] = frozenset(),
    targets: Mapping[str, int] | None = None,
    failed: Mapping[Unit, str] | None = None,
    attempts: Mapping[Unit, int] | None = None,
    refused_by: Mapping[Unit, frozenset[str]] | None = None,
    won_at: Mapping[str, datetime] | None = None,
    manifests: Mapping[TaskInput, ManifestRef] | None = None,
) -> JobRow:
    """Return the planner's row of a job, from its columns and the text of its spec."""
    return compile_job(
        decode(spec),
        id=row["id"],
        namespace=row["namespace"],
        name=row["name"],
        generation=row["generation"],
        version=row["version"],
        state=JobState(row["state"]),
        created_at=row["created_at"],
        asked_at=row["asked_at"],
        good_version=row["good_version"],
        progress=row["progress"],
        progress_at=row["progress_at"],
        paused=row["paused"],
        anew=row["anew"],
        traceparent=row["traceparent"],
        submitter=row["submitter"],
        won=won,
        targets=targets,
        failed=failed,
        attempts=attempts,
        refused_by=refused_by,
        won_at=won_at,
        manifests=manifests,
    )
