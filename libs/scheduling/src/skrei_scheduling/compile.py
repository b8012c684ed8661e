"""What the planner needs of a job's spec, worked out once: compact requirements instead of specs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache

from skrei_domain import node_results
from skrei_domain.data_sets import DATA, DataWanted, data_wanted
from skrei_domain.destinations import ON_NODES, publisher_name
from skrei_domain.job import JobSpec, SpecConfig, TaskSpec
from skrei_domain.job_diff import what_runs
from skrei_domain.job_kinds import KINDS, Kind
from skrei_domain.lifecycle import JobState
from skrei_domain.messages import ManifestRef
from skrei_domain.node_results import place_of
from skrei_domain.object_servers import asked
from skrei_domain.paths import LocalPath
from skrei_domain.source_keys import IN_PLACE, IPFS, WITH_THE_JOB, is_dealt_out, root_key, source_key
from skrei_scheduling.rows import (
    NOTHING,
    JobRow,
    KeyedInput,
    Offline,
    OnReturn,
    Requirement,
    TaskInput,
    TaskPlan,
    Unit,
    Update,
)

OWNER = "owner"
"""The submitter whose token was shown: what the API calls the actor."""
LOCAL = "local"
STORAGE_ALIASES = {"localdirectory": LOCAL}
"""Names of a storage that specs use for another: nodes report the one on the right."""
KEPT_POLICIES = 256
"""What different jobs say of silent nodes and of updates, each kept once: thousands that wait say few things."""


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
    asked_at: datetime | None = None,
    traceparent: str = "",
    submitter: str = "",
    won: frozenset[Unit] = frozenset(),
    good_version: int = 0,
    progress: int = 0,
    progress_at: datetime | None = None,
    paused: bool = False,
    anew: int = 0,
    targets: Mapping[str, int] | None = None,
    failed: Mapping[Unit, str] | None = None,
    attempts: Mapping[Unit, int] | None = None,
    refused_by: Mapping[Unit, frozenset[str]] | None = None,
    won_at: Mapping[str, datetime] | None = None,
    manifests: Mapping[TaskInput, ManifestRef] | None = None,
    tasks: tuple[TaskPlan, ...] | None = None,
) -> JobRow:
    """Return the planner's row of a job: its spec's requirements beside what its row in the record says.

    `tasks`: what `plans` returned of the same spec and submitter, for those who have it already.
    """
    owner = submitter == OWNER
    kind = KINDS.get(spec.type.lower(), Kind.BATCH)
    timeouts = [] if kind is Kind.DAEMON else [task.timeouts for task in spec.tasks]
    total = 0 if kind.endless else max((each.total_timeout for each in timeouts), default=0)
    made = JobRow(
        id=id,
        namespace=namespace,
        name=name,
        type=spec.type.lower(),
        priority=spec.priority,
        generation=generation,
        version=version,
        state=state,
        created_at=created_at,
        asked_at=asked_at,
        tasks=plans(spec, submitter) if tasks is None else tasks,
        offline=_offline(spec.offline.wait, spec.offline.replace, spec.offline.on_return),
        update=_update(spec.update.max_surge, spec.update.progress_deadline, spec.update.min_ready),
        good_version=good_version,
        progress=progress,
        progress_at=progress_at,
        paused=paused,
        what_runs=what_runs(spec) if kind is Kind.SERVICE else "",
        anew=anew,
        queue_timeout=_seconds(max((each.queue_timeout for each in timeouts), default=0)),
        total_timeout=_seconds(total),
        traceparent=traceparent,
        owner=owner,
        fails_on_exit=spec.fail_on == "exit-code",
        won=won,
        targets=dict(targets) if targets else NOTHING,
        failed=dict(failed) if failed else NOTHING,
        attempts=dict(attempts or {}),
        refused_by=dict(refused_by or {}),
        won_at=dict(won_at) if won_at else NOTHING,
        manifests=dict(manifests) if manifests else NOTHING,
    )
    return made.with_targets({}) if made.targets and made.split else made


@lru_cache(KEPT_POLICIES)
def _offline(wait: int, replace: bool, on_return: str) -> Offline:
    return Offline(timedelta(seconds=wait), replace, OnReturn(on_return))


@lru_cache(KEPT_POLICIES)
def _update(surge: int, deadline: int, min_ready: int) -> Update:
    return Update(surge, timedelta(seconds=deadline), timedelta(seconds=min_ready))


def plans(spec: JobSpec, submitter: str) -> tuple[TaskPlan, ...]:
    """Return a job's tasks as the planner sees them."""
    owner, kind = submitter == OWNER, KINDS.get(spec.type.lower(), Kind.BATCH)
    return tuple(_task(spec, task, owner=owner, kind=kind) for task in spec.tasks)


def requirement(spec: JobSpec, task: TaskSpec, *, owner: bool = False) -> Requirement:
    """Return what one unit of a task needs of a node.

    Whom the owner's paths are handed to is known beforehand, so it is part of what a node must have. Others' paths are
    only known not to be there; the node that is asked looks at them, since it alone knows where its links lead.
    """
    local, left = local_paths(task), _left(task)
    storages = (source.source.type.lower() for source in task.input_sources)
    return Requirement(
        engine=task.engine.type.lower(),
        storages=frozenset(STORAGE_ALIASES.get(name, name) for name in storages if name),
        publisher="" if not left else node_results.NAME if left[0] is task.publisher else node_results.OF_PATHS,
        constraints=tuple(spec.constraints),
        resources=task.resources.amounts(),
        local=local,
        owner=owner and bool(local),
        ports=tuple(sorted({port.static for port in task.network.ports if port.static})),
        uses=tuple((spec.namespace, name) for name in task.uses) if task.uses else (),
        data=data_sets(task),
        handed_out=bool(local) and (task.locality is not None or bool(left)),
        cached=tuple(each for each in keyed(task) if not each.dealt_out) if task.locality is not None else (),
    )


def data_sets(task: TaskSpec) -> tuple[DataWanted, ...]:
    """Return the data sets that a task wants, in order, each once; one that it also writes counts as written."""
    found: dict[str, DataWanted] = {}
    for source in task.input_sources:
        if source.source.type.lower() == DATA and (wanted := data_wanted(source.source.params)) is not None:
            found[wanted.name] = max(wanted, found.get(wanted.name, wanted))
    return tuple(found[name] for name in sorted(found)) if found else ()


def fetched(task: TaskSpec) -> tuple[tuple[int, str], ...]:
    """Return the inputs of a task that are neither its node's nor the job's own, by place, with their type."""
    types = ((number, source.source.type.lower()) for number, source in enumerate(task.input_sources))
    return tuple((number, name) for number, name in types if name and name not in IN_PLACE | WITH_THE_JOB)


def keyed(task: TaskSpec) -> tuple[KeyedInput, ...]:
    """Return the same inputs by what nodes call them."""
    found: list[KeyedInput] = []
    for number, type_ in fetched(task):
        each = task.input_sources[number]
        params = each.source.params
        if key := source_key(type_, params):
            root = root_key(params) if type_ == IPFS else ""
            root = "" if root == key else root
            found.append(KeyedInput(key, number, each.target, is_dealt_out(params), root, asked(type_, params)))
    return tuple(found)


def local_paths(task: TaskSpec) -> tuple[LocalPath, ...]:
    """Return the node's own paths that a task wants, in order, each once; also where what it leaves is to stay."""
    found: set[LocalPath] = set()
    for source in task.input_sources:
        name = source.source.type.lower()
        path = source.source.param("SourcePath")
        if STORAGE_ALIASES.get(name, name) == LOCAL and isinstance(path, str):
            creates = str(source.source.param("CreateAs") or "noCreate").lower() != "nocreate"
            found.add(LocalPath(path, bool(source.source.param("ReadWrite")), creates))
    found |= {LocalPath(place, writes=True, creates=True) for each in _left(task) if (place := place_of(each.params))}
    return tuple(sorted(found))


def _left(task: TaskSpec) -> list[SpecConfig]:
    """Return those publishers of a task, and of its result paths, that leave something on its node."""
    named = (task.publisher, *(path.publisher for path in task.result_paths if path.publisher is not None))
    return [each for each in named if publisher_name(each.type) in ON_NODES]


def _task(spec: JobSpec, task: TaskSpec, *, owner: bool, kind: Kind) -> TaskPlan:
    split = kind is Kind.BATCH and task.split is not None
    return TaskPlan(
        name=task.name,
        count=0 if kind.per_node or split else spec.count_of(task),
        split=split,
        requirement=requirement(spec, task, owner=owner),
        execution_timeout=None if kind.endless else _seconds(task.timeouts.effective_execution_timeout),
        needs=task.needs,
        queue_timeout=None if kind is Kind.DAEMON else _seconds(task.timeouts.queue_timeout),
        fetched=fetched(task),
        inputs=keyed(task),
    )


def _seconds(value: int) -> timedelta | None:
    return timedelta(seconds=value) if value > 0 else None
