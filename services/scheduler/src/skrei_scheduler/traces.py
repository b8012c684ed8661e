"""What jobs and executions were, as spans: from what the leader commits, and what facts tell of their nodes. Pure.

The record learns of every step of an execution by the facts of its node, so the spans of the node are told here, with
its own times: a node needs no way to a collector, and what it did while it was cut off is told once it is back.

```
the caller's span
 └ submit (API) ── commit (API)
    └ job                          from its submission to its end
       ├ plan, for each execution  from when it was wanted to its placement
       └ execution                 from its placement to its end
          └ offer · staging · run · publish, of each start
```
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import Step
from skrei_kit import tracing
from skrei_kit.tracing import Context, Span, Value, id_of, job_span
from skrei_scheduling.changes import Changes, ExecutionChange, JobChange, Observed
from skrei_scheduling.rows import ExecutionRow, JobRow
from skrei_scheduling.view import ClusterView

SCHEDULER = (("service.name", "skrei-scheduler"),)
NODE = "skrei-compute-agent"
KEPT = 100_000
"""Live executions of which it is remembered when they were placed, and which steps they told: those beyond are told of
with less."""
NAMES = {
    ExecutionState.STAGING: "staging",
    ExecutionState.RUNNING: "run",
    ExecutionState.PUBLISHING: "publish",
}
"""Steps of a node that take a while, and what their spans are called."""


def context_of(job: JobRow, share: float) -> Context:
    """Return the context that a job belongs to."""
    return tracing.of_job(job.traceparent, job.id, share)


def run_context(job: JobRow, row: ExecutionRow, share: float) -> Context:
    """Return the context that an execution's program is told: its children belong to the execution."""
    return context_of(job, share).child(_execution(row.id))


class Traces:
    """Makes spans of commits, and remembers live executions: what another leader placed begins with its first step."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._placed: dict[str, datetime] = {}
        self._observed: dict[str, Observed] = {}

    def committed(self, changes: Changes, view: ClusterView, now: datetime) -> list[Span]:
        """Return the spans that a commit ended; `view` is the one that it was decided on, `now` the record's time."""
        spans: list[Span] = []
        for row in changes.executions_new:
            if (job := view.jobs.get(row.job_id)) is not None and context_of(job, self._share).sampled:
                if len(self._placed) < KEPT:
                    self._placed[row.id] = now
                spans.append(self._plan(job, row, now))
        for change in changes.executions:
            spans += self._moved(change, view, now)
        for job_change in changes.jobs:
            spans += self._job(job_change, view, now)
        return spans

    def _plan(self, job: JobRow, row: ExecutionRow, now: datetime) -> Span:
        began = job.since if row.attempt == 1 else now  # what follows a failure was wanted at some moment since
        told: dict[str, Value] = {
            "skrei.attempt": row.attempt,
            "skrei.node.id": row.node_id,
            "skrei.why": row.why,
        }
        ids = (id_of(row.id, "plan"), job_span(job.id, row.job_version))
        return self._span(job, "plan", ids, (began, now), told)

    def _moved(self, change: ExecutionChange, view: ClusterView, now: datetime) -> Iterator[Span]:
        row = change.row
        known, job = view.executions.get(row.id), view.jobs.get(row.job_id)
        if job is None or not context_of(job, self._share).sampled or (known is not None and not known.live):
            return
        observed = change.observed or self._observed.get(row.id) or Observed()
        if row.live:
            if change.observed is not None and (row.id in self._observed or len(self._observed) < KEPT):
                self._observed[row.id] = observed
            return
        self._observed.pop(row.id, None)
        began = self._placed.pop(row.id, None) or min((step.at for step in observed.steps), default=now)
        well = row.state in (ExecutionState.COMPLETED, ExecutionState.STOPPED)
        told: dict[str, Value] = {
            "skrei.execution.id": row.id,
            "skrei.node.id": row.node_id,
            "skrei.task": row.task,
            "skrei.partition": row.partition,
            "skrei.attempt": row.attempt,
            "skrei.state": row.state.value,
        }
        if observed.exit_code is not None:
            told["skrei.exit_code"] = observed.exit_code
        ids = (_execution(row.id), job_span(job.id, row.job_version))
        yield self._span(job, "execution", ids, (began, now), told, error=None if well else row.message)
        yield from self._steps(job, row, observed.steps, began, now)

    def _steps(
        self, job: JobRow, row: ExecutionRow, steps: tuple[Step, ...], placed: datetime, now: datetime
    ) -> Iterator[Span]:
        """Yield what an execution did on its node: each step lasts until the next one."""
        parent = _execution(row.id)
        if steps:
            yield self._span(job, "offer", (id_of(row.id, "offer"), parent), (placed, steps[0].at), {})
        resource = (("service.name", NODE), ("service.instance.id", row.node_id))
        for step, after in zip(steps, (*steps[1:], None), strict=True):
            if (name := NAMES.get(step.state)) is not None:
                ids = (id_of(row.id, name, step.start), parent)
                times = (step.at, after.at if after is not None else now)
                told: dict[str, Value] = {"skrei.start": step.start, "skrei.clock": "node"}
                yield self._span(job, name, ids, times, told, resource=resource)

    def _job(self, change: JobChange, view: ClusterView, now: datetime) -> Iterator[Span]:
        job = view.jobs.get(change.id)
        if job is None or change.state is None or not change.state.is_terminal or job.state.is_terminal:
            return
        context = context_of(job, self._share)
        if context.sampled:
            error = change.message or "" if change.state is JobState.FAILED else None
            told: dict[str, Value] = {
                "skrei.job.id": job.id,
                "skrei.job.name": job.name,
                "skrei.job.type": job.type,
                "skrei.job.version": job.version,
                "skrei.namespace": job.namespace,
                "skrei.state": change.state.value,
            }
            ids = (job_span(job.id, job.version), context.span_id)
            yield self._span(job, "job", ids, (job.since, now), told, error=error)

    def _span(
        self,
        job: JobRow,
        name: str,
        ids: tuple[str, str],
        times: tuple[datetime, datetime],
        told: Mapping[str, Value],
        *,
        error: str | None = None,
        resource: tuple[tuple[str, str], ...] = SCHEDULER,
    ) -> Span:
        """Return a span of a job's trace: its id and its parent's, when it began and ended."""
        context = context_of(job, self._share).child(ids[0])
        return Span(name, context, ids[1], *times, resource=resource, attributes=told, error=error)


def _execution(execution_id: str) -> str:
    return id_of(execution_id, "execution")
