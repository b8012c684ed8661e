"""Specs at hand: what a command needs of a job's spec, kept while it is likely to be needed again.

The leader holds compact requirements, not specs; this cache is bounded, and what is not in it is read again.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from skrei_domain.destinations import ON_NODES, STORE, Work, destination, fill, publisher_name
from skrei_domain.job import JobSpec
from skrei_domain.job_blobs import parse_reference
from skrei_domain.job_kinds import Kind
from skrei_domain.messages import LeftPart, PinnedInput, Publishing, RunOrder
from skrei_domain.node_results import place_of
from skrei_domain.portions import Portion, on_nodes, portions
from skrei_domain.spec import TaskSpec, decode
from skrei_kit.tokens import TokenSigner, UploadGrant
from skrei_scheduling.compile import OWNER, plans
from skrei_scheduling.rows import ExecutionRow, JobRow, TaskPlan

CACHE_BYTES = 32 * 1024 * 1024  # of spec text: 500 of the largest, or some ten thousand usual ones
ONE_RESTART = 1  # starts again on the node that a crash of its agent interrupted
UNLIMITED_STARTS = 2**31 - 1  # of what runs until it is stopped: more than a start each second for a lifetime
PARSED_SPECS = 1_024  # texts kept parsed: a burst is mostly one spec many times over


@dataclass(frozen=True, slots=True)
class TaskText:
    """One task as a node is told of it."""

    json: str
    blobs: tuple[str, ...]
    execution_timeout_seconds: float | None
    publisher: str = STORE
    params: Mapping[str, Any] = field(default_factory=dict)
    keep_failed: bool = True
    paths: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    """Result paths with a publisher of their own: name, publisher, params."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One stored spec, parsed once. Its `name` may be missing: the job's row has it."""

    parsed: JobSpec
    tasks: dict[str, TaskText]
    size: int
    _plans: dict[bool, tuple[TaskPlan, ...]] = field(default_factory=dict, compare=False)

    def plans(self, submitter: str) -> tuple[TaskPlan, ...]:
        """Return its tasks as the planner sees them; worked out once, for all the jobs of a burst."""
        found = self._plans.get(submitter == OWNER)
        if found is None:
            found = self._plans[submitter == OWNER] = plans(self.parsed, submitter)
        return found


class SpecCache:
    """Specs by (job id, version), and by text."""

    def __init__(self) -> None:
        self._by_text: OrderedDict[str, Spec] = OrderedDict()
        self._by_job: OrderedDict[tuple[str, int], Spec] = OrderedDict()
        self._bytes = 0

    def put(self, job_id: str, version: int, text: str) -> Spec:
        """Keep a spec; equal texts are parsed once.

        A job without a name of its own is named by its id: without it, the jobs of a burst have one text.
        """
        text = text.replace(f'"{job_id}"', '""', 1)
        spec = self._by_text.get(text)
        if spec is None:
            spec = _read(text)
            self._by_text[text] = spec
            if len(self._by_text) > PARSED_SPECS:
                self._by_text.popitem(last=False)
        else:
            self._by_text.move_to_end(text)
        key = (job_id, version)
        if key not in self._by_job:
            self._by_job[key] = spec
            self._bytes += spec.size
            while self._bytes > CACHE_BYTES and len(self._by_job) > 1:
                _, old = self._by_job.popitem(last=False)
                self._bytes -= old.size
        return spec

    def get(self, job_id: str, version: int) -> Spec | None:
        """Return a spec that is at hand."""
        return self._by_job.get((job_id, version))

    def missing(self, rows: Iterable[ExecutionRow]) -> set[tuple[str, int]]:
        """Return which specs must be read before these executions can be commanded."""
        return {key for row in rows if (key := (row.job_id, row.job_version)) not in self._by_job}

    def forget(self, job_id: str, version: int) -> None:
        """Let go of a job that has ended: nobody is commanded to run it any more."""
        if (spec := self._by_job.pop((job_id, version), None)) is not None:
            self._bytes -= spec.size


def order(
    row: ExecutionRow,
    job: JobRow,
    spec: Spec,
    *,
    signer: TokenSigner,
    now: datetime,
    token: timedelta,
    upload: UploadGrant | None = None,
    services: Mapping[str, str] | None = None,
    node_services: tuple[str, ...] = (),
    traceparent: str = "",
) -> RunOrder:
    """Return all that a node needs to run an execution; `services` tell where what it uses is reached, and
    `node_services` what of that the node itself offers. `traceparent`: what its program is told, if that is not what
    came with the job.
    """
    task = spec.tasks[row.task]
    publishing = None
    stays = task.publisher in ON_NODES
    here = stays or any(name in ON_NODES for _, name, _ in task.paths)  # whoever takes uploads, or does not
    if (upload is not None or here) and (task.publisher != STORE or task.paths) and not job.kind.endless:
        work = _work(row, job)
        place = _place(task.params, work) if stays else None
        found = _portions(task, work)
        parts = tuple(LeftPart(paths=each.paths, place=each.params["Path"]) for each in on_nodes(found[1:]))
        publishing = Publishing(to=task.publisher, on_zero=job.fails_on_exit, place=place, left=parts)
        if upload is not None:
            own = found[0]
            several = found if len(found) > 1 else ()
            upload = replace(upload, publisher=own.publisher, params=own.params, portions=several)
    pinned = tuple(
        PinnedInput(input=number, manifest=ref) for (name, number), ref in job.manifests.items() if name == row.task
    )
    lists = [each.manifest.digest for each in pinned]
    left = None
    if job.total_timeout is not None:
        left = max(0.0, (job.since + job.total_timeout - now).total_seconds())
    return RunOrder(
        job_id=row.job_id,
        job_version=row.job_version,
        job_type=job.type,
        job_name=job.name,
        namespace=row.namespace,
        task=row.task,
        partition=row.partition,
        partition_count=next((each.count for each in job.tasks if each.name == row.task), 1),
        attempt=row.attempt,
        task_json=task.json,
        token=signer.run(
            row.id, row.node_id, task.blobs, seconds=token.total_seconds(), upload=upload, manifests=lists
        ),
        execution_timeout_seconds=None if job.kind.endless else task.execution_timeout_seconds,
        local_restarts=UNLIMITED_STARTS if job.kind.endless else ONE_RESTART,
        total_timeout_seconds=left,
        traceparent=traceparent or job.traceparent,
        owner=job.owner,
        services=services,
        node_services=node_services,
        shares=len(job.targets) if job.kind is Kind.OPS else None,
        publishing=publishing,
        drop=None if task.keep_failed else "nonzero" if job.fails_on_exit else "failed",
        manifests=pinned,
    )


def _portions(task: TaskText, work: Work) -> tuple[Portion, ...]:
    """Return what goes where of a result, by what its task and each of its paths says; the rest first."""
    own = Portion((), task.publisher, _said(task.publisher, task.params, work))
    return portions(own, [(path, name, _said(name, params, work)) for path, name, params in task.paths])


def _said(name: str, params: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """Return what a publisher is told; Skrei's own store takes no params, whatever a job says."""
    if name in ON_NODES:
        return {"NodeID": work.node_id, "Path": _place(params, work)}
    return {} if name == STORE else destination(name, params, work)


def _place(params: Mapping[str, Any], work: Work) -> str:
    """Return the folder of its node in which a result stays."""
    return fill(place_of(params), work)


def _work(row: ExecutionRow, job: JobRow) -> Work:
    return Work(
        execution_id=row.id,
        job_id=row.job_id,
        node_id=row.node_id,
        since=job.since,
        job_name=job.name,
        namespace=row.namespace,
        task=row.task,
        partition=row.partition,
        attempt=row.attempt,
    )


def _read(text: str) -> Spec:
    parsed = decode(text)
    return Spec(parsed, {task.name: _task(task) for task in parsed.tasks}, len(text))


def _task(task: TaskSpec) -> TaskText:
    references = (parse_reference(source.source.param("URL")) for source in task.input_sources)
    timeout = task.timeouts.effective_execution_timeout
    return TaskText(
        json=task.model_dump_json(by_alias=True, exclude_defaults=True),
        blobs=tuple(found[0] for found in references if found is not None),
        execution_timeout_seconds=float(timeout) if timeout else None,
        publisher=publisher_name(task.publisher.type),
        params=task.publisher.params,
        keep_failed=task.keep_failed is not False,
        paths=tuple(
            (path.name, publisher_name(path.publisher.type), path.publisher.params)
            for path in task.result_paths
            if path.publisher is not None
        ),
    )
