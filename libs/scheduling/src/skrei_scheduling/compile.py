"""What the planner needs of a job's spec, worked out once: compact requirements instead of specs."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from skrei_domain.job import JobSpec, TaskSpec
from skrei_domain.lifecycle import JobState
from skrei_scheduling.rows import JobRow, Offline, OnReturn, Requirement, TaskPlan, Unit

STORAGE_ALIASES = {"localdirectory": "local"}
"""Names of a storage that specs use for another: nodes report the one on the right."""


def compile_job(
    spec: JobSpec,
    *,
    id: str,
    namespace: str,
    name: str,
    generation: int,
    version: int,
    state: JobState,
    created_at: datetime,
    traceparent: str = "",
    won: frozenset[Unit] = frozenset(),
    attempts: Mapping[Unit, int] | None = None,
    refused_by: Mapping[Unit, frozenset[str]] | None = None,
) -> JobRow:
    """Return the planner's row of a job: its spec's requirements beside what its row in the record says."""
    timeouts = [task.timeouts for task in spec.tasks]
    return JobRow(
        id=id,
        namespace=namespace,
        name=name,
        type=spec.type.lower(),
        priority=spec.priority,
        generation=generation,
        version=version,
        state=state,
        created_at=created_at,
        tasks=tuple(_task(spec, task) for task in spec.tasks),
        offline=Offline(
            wait=timedelta(seconds=spec.offline.wait),
            replace=spec.offline.replace,
            on_return=OnReturn(spec.offline.on_return),
        ),
        queue_timeout=_seconds(max((each.queue_timeout for each in timeouts), default=0)),
        total_timeout=_seconds(max((each.total_timeout for each in timeouts), default=0)),
        traceparent=traceparent,
        won=won,
        attempts=dict(attempts or {}),
        refused_by=dict(refused_by or {}),
    )


def requirement(spec: JobSpec, task: TaskSpec) -> Requirement:
    """Return what one unit of a task needs of a node."""
    storages = (source.source.type.lower() for source in task.input_sources)
    return Requirement(
        engine=task.engine.type.lower(),
        storages=frozenset(STORAGE_ALIASES.get(name, name) for name in storages if name),
        publisher=task.publisher.type.lower(),
        constraints=tuple(spec.constraints),
        resources=task.resources.amounts(),
    )


def _task(spec: JobSpec, task: TaskSpec) -> TaskPlan:
    return TaskPlan(
        name=task.name,
        count=spec.count,
        requirement=requirement(spec, task),
        execution_timeout=_seconds(task.timeouts.effective_execution_timeout),
    )


def _seconds(value: int) -> timedelta | None:
    return timedelta(seconds=value) if value > 0 else None
