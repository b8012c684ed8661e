"""Things with valid defaults, for tests that care about one property of them."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count

from skrei_domain.constraints import Constraint, parse
from skrei_domain.data_sets import DataWanted
from skrei_domain.ids import IdSource
from skrei_domain.job_depends import Dependency
from skrei_domain.lifecycle import Connection, ExecutionState, JobState, Membership, Want
from skrei_domain.messages import ExecutionObserved, Hello, HelloExecution, Problem, ResultRef, Step
from skrei_domain.node import DataSet, NodeInfo, NodeService, Plugin
from skrei_domain.resources import Resources, parse_bytes, parse_cpu
from skrei_scheduling.changes import Locked, LockedJob
from skrei_scheduling.rows import (
    Evaluation,
    ExecutionRow,
    JobRow,
    NodeRow,
    Offline,
    Requirement,
    TaskPlan,
    Unit,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def counting_ids() -> IdSource:
    """Ids in order: `e-00000001`, `v-00000002`: one source for each test."""
    numbers = count(1)
    return lambda prefix: f"{prefix}-{next(numbers):08d}"


def amounts(cpu: str = "0", memory: str = "0", disk: str = "0", gpu: int = 0) -> Resources:
    return Resources(cpu_milli=parse_cpu(cpu), memory_bytes=parse_bytes(memory), disk_bytes=parse_bytes(disk), gpu=gpu)


def selector(text: str | Iterable[Constraint]) -> tuple[Constraint, ...]:
    return parse(text) if isinstance(text, str) else tuple(text)


def a_requirement(
    engine: str = "wasm",
    *,
    cpu: str = "100m",
    memory: str = "64Mb",
    gpu: int = 0,
    storages: Iterable[str] = (),
    publisher: str = "",
    constraints: str | Iterable[Constraint] = (),
    ports: Iterable[int] = (),
    uses: Iterable[str] = (),
    data: Iterable[str] = (),
) -> Requirement:
    return Requirement(
        engine=engine,
        storages=frozenset(storages),
        publisher=publisher,
        constraints=selector(constraints),
        resources=amounts(cpu, memory, gpu=gpu),
        ports=tuple(ports),
        uses=tuple(("default", name) for name in uses),
        data=tuple(DataWanted(name.removesuffix(":rw"), name.endswith(":rw")) for name in data),
    )


def a_job(
    id: str = "j-1",
    *,
    count: int = 1,
    requirement: Requirement | None = None,
    state: JobState = JobState.PENDING,
    priority: int = 0,
    generation: int = 1,
    version: int = 1,
    created_at: datetime = NOW,
    type: str = "batch",
    offline: Offline | None = None,
    queue_timeout: timedelta | None = None,
    total_timeout: timedelta | None = None,
    won: Iterable[Unit] = (),
    targets: dict[str, int] | None = None,
    failed: dict[Unit, str] | None = None,
    attempts: dict[Unit, int] | None = None,
    refused_by: dict[Unit, frozenset[str]] | None = None,
    tasks: Iterable[TaskPlan] = (),
) -> JobRow:
    return JobRow(
        id=id,
        namespace="default",
        name=id,
        type=type,
        priority=priority,
        generation=generation,
        version=version,
        state=state,
        created_at=created_at,
        tasks=tuple(tasks) or (TaskPlan("main", count, requirement or a_requirement(), queue_timeout=queue_timeout),),
        offline=offline or Offline(),
        queue_timeout=queue_timeout,
        total_timeout=total_timeout,
        won=frozenset(won),
        targets=dict(targets or {}),
        failed=dict(failed or {}),
        attempts=dict(attempts or {}),
        refused_by=dict(refused_by or {}),
    )


def a_task_plan(
    name: str,
    *needs: str | Dependency,
    count: int = 1,
    requirement: Requirement | None = None,
    queue_timeout: timedelta | None = None,
    split: bool = False,
) -> TaskPlan:
    """A task; a name stands for all partitions of what it waits for."""
    return TaskPlan(
        name,
        0 if split else count,
        requirement or a_requirement(),
        split=split,
        needs=tuple(Dependency(each) if isinstance(each, str) else each for each in needs),
        queue_timeout=queue_timeout,
    )


def a_node(
    id: str = "n-1",
    *,
    cpu: str = "2",
    memory: str = "4GiB",
    disk: str = "100GiB",
    gpu: int = 0,
    labels: dict[str, str] | None = None,
    engines: Iterable[str] = ("wasm", "noop"),
    storages: Iterable[str] = ("inline", "local"),
    publishers: Iterable[str] = ("local",),
    membership: Membership = Membership.APPROVED,
    connected: bool = True,
    incarnation: int = 1,
    silent_since: datetime | None = None,
    data: Iterable[str] = (),
    services: Iterable[str] = (),
) -> NodeRow:
    return NodeRow(
        id=id,
        info=NodeInfo(
            node_id=id,
            labels=labels or {},
            engines=tuple(Plugin(name=name) for name in engines),
            storages=tuple(Plugin(name=name) for name in storages),
            publishers=tuple(Plugin(name=name) for name in publishers),
            capacity=amounts(cpu, memory, disk, gpu),
            data=tuple(DataSet(name=name.removesuffix(":rw"), read_write=name.endswith(":rw")) for name in data),
            services=tuple(NodeService(name=name) for name in services),
        ),
        membership=membership,
        connection=Connection.CONNECTED if connected else Connection.DISCONNECTED,
        incarnation=incarnation,
        boot_id=f"boot-{id}",
        connected_since=NOW if connected else None,
        disconnected_since=None if connected else silent_since or NOW,
    )


def an_execution(
    id: str = "e-1",
    *,
    job: JobRow | None = None,
    job_id: str = "j-1",
    job_version: int = 1,
    task: str = "main",
    partition: int = 0,
    attempt: int = 1,
    node_id: str = "n-1",
    incarnation: int = 1,
    state: ExecutionState = ExecutionState.OFFERED,
    observed: ExecutionState | None = None,
    want: Want = Want.RUN,
    revision: int = 1,
    seen_revision: int = 0,
    reserved: Resources | None = None,
    revoked: bool = False,
    holds: bool = True,
) -> ExecutionRow:
    held = ExecutionState.OFFERED if state is ExecutionState.UNKNOWN else state
    return ExecutionRow(
        id=id,
        job_id=job.id if job else job_id,
        job_version=job.version if job else job_version,
        namespace="default",
        task=task,
        partition=partition,
        attempt=attempt,
        node_id=node_id,
        incarnation=incarnation,
        state=state,
        want=want,
        revision=revision,
        seen_revision=seen_revision,
        reserved=reserved or (job.tasks[0].requirement.resources if job else a_requirement().resources),
        observed=observed or held,
        revoked=revoked,
        holds=holds,
    )


def an_evaluation(job: JobRow | str = "j-1", trigger: str = "job-register", *, id: str = "v-1") -> Evaluation:
    """An evaluation; given a row, it carries it as freshly read."""
    if isinstance(job, JobRow):
        return Evaluation(id, job.id, trigger, job)
    return Evaluation(id, job, trigger)


def a_digest(name: str) -> str:
    """The digest of something that has this name."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def a_fact(
    execution_id: str = "e-1",
    state: ExecutionState = ExecutionState.COMPLETED,
    *,
    revision: int = 1,
    starts: int = 1,
    exit_code: int | None = None,
    problem: str = "",
    digest: str = "",
) -> ExecutionObserved:
    """A fact; a completed one names a result, a failed one a problem code when one is given."""
    ran = state is ExecutionState.RUNNING or state is ExecutionState.COMPLETED
    return ExecutionObserved(
        execution_id=execution_id,
        revision=revision,
        state=state,
        starts=starts,
        steps=(Step(state=ExecutionState.RUNNING, at=NOW, start=starts),) if ran else (),
        exit_code=0 if state is ExecutionState.COMPLETED and exit_code is None else exit_code,
        problem=Problem(code=problem, message=f"it was {problem}") if problem else None,
        result=(
            ResultRef(digest=digest or a_digest(execution_id), size=7, inline="cmVzdWx0")
            if state is ExecutionState.COMPLETED
            else None
        ),
    )


def locked(
    *jobs: JobRow, evaluations: Iterable[str] = (), now: datetime = NOW, history: dict[str, int] | None = None
) -> Locked:
    """The rows of `jobs` as a commit locks them."""
    return Locked(
        now=now,
        jobs={
            job.id: LockedJob(
                id=job.id,
                generation=job.generation,
                version=job.version,
                state=job.state,
                history_seq=(history or {}).get(job.id, 0),
                units_won=len(job.won),
            )
            for job in jobs
        },
        evaluations=frozenset(evaluations),
    )


def by_name(rows: Iterable[ExecutionRow]) -> set[tuple[str, str, int, str]]:
    """Placements as (job, task, partition, node): what two plans are compared by."""
    return {(row.job_id, row.task, row.partition, row.node_id) for row in rows}


def a_hello(node: NodeRow, *executions: HelloExecution, boot_id: str = "boot-2") -> Hello:
    """A hello of a node that has confirmed nothing, and lists these executions."""
    return Hello(
        node_id=node.id,
        boot_id=boot_id,
        timeline=1,
        epoch=1,
        incarnation=node.incarnation,
        sequence=0,
        confirmed=0,
        executions=executions,
        info=node.info,
    )
