"""What one commit collects: rows as it leaves them, history without a gap, and one `Changes` in the end."""

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from skrei_domain.evolving import replace
from skrei_domain.ids import IdSource
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import JobState
from skrei_domain.messages import ManifestRef
from skrei_scheduling import texts
from skrei_scheduling.changes import (
    AuditNew,
    Changes,
    EvaluationNew,
    ExecutionChange,
    HistoryNew,
    JobChange,
    Locked,
    LockedJob,
    Observed,
    Place,
    Position,
    ResultNew,
    Rollback,
)
from skrei_scheduling.node_events import node_events
from skrei_scheduling.rows import ExecutionRow, JobRow, NodeRow, Requirement, TaskInput, Unit, timed
from skrei_scheduling.view import ClusterView


@dataclass(slots=True)
class JobDraft:
    """What a commit does to one locked job."""

    locked: LockedJob
    history_seq: int
    state: JobState
    many: bool = False  # it has several tasks: what is told of its executions names theirs
    changed: bool = False
    message: str | None = None
    details: Mapping[str, str] | None = None
    won: list[Unit] = field(default_factory=list)
    failed: list[tuple[Unit, str]] = field(default_factory=list)
    targets: list[tuple[str, int]] = field(default_factory=list)
    units: int | None = None
    good_version: int | None = None
    progress: int | None = None
    progress_at: datetime | None = None
    paused: bool | None = None
    waiting: Mapping[Requirement, int] | None = None
    manifests: list[tuple[TaskInput, ManifestRef]] = field(default_factory=list)


class CommitDraft:
    """The collected writes of one commit. What is read through it is as this commit leaves it."""

    def __init__(
        self, view: ClusterView, locked: Locked, ids: IdSource, *, late: Mapping[str, ExecutionRow] | None = None
    ) -> None:
        self.view = view
        self.locked = locked
        self.skipped = 0  # facts about executions that neither the view nor the record knows
        self._ids = ids
        self._late = late or {}
        self.places: dict[tuple[str, str], Place] = {}  # of results that facts of this commit name: node, execution
        self._jobs: dict[str, JobDraft] = {}
        self._new: dict[str, ExecutionRow] = {}
        self._new_of: dict[tuple[str, Unit], list[str]] = {}
        self._changed: dict[str, tuple[ExecutionRow, Observed | None]] = {}
        self._rollbacks: list[Rollback] = []
        self._nodes: dict[str, NodeRow] = {}
        self._nodes_gone: dict[str, None] = {}
        self._intents: list[int] = []
        self._results: list[ResultNew] = []
        self._finalised: list[tuple[str, str]] = []
        self._refused: list[tuple[str, str]] = []
        self._withdrawn: dict[str, None] = {}
        self._history: list[HistoryNew] = []
        self._evaluations: list[EvaluationNew] = []
        self._done: dict[str, None] = {}
        self._position: Position | None = None
        self._audit: list[AuditNew] = []

    # ------------------------------------------------------------ going back

    def saved(self, job_ids: Iterable[str]) -> dict[str, Any]:
        """Return a point to go back to, once, where these jobs alone and their executions change meanwhile.

        What a commit holds of others is shared, not copied: going back costs what is gone back over.
        """
        kept: dict[str, Any] = {
            name: copy(value) for name, value in vars(self).items() if isinstance(value, (dict, list))
        }
        kept["_new_of"] = {unit: list(ids) for unit, ids in self._new_of.items()}
        for job_id in job_ids:
            if (draft := self._jobs.get(job_id)) is not None:
                kept["_jobs"][job_id] = replace(
                    draft,
                    won=list(draft.won),
                    failed=list(draft.failed),
                    targets=list(draft.targets),
                    manifests=list(draft.manifests),
                )
        return {**kept, "skipped": self.skipped, "_position": self._position}

    def back_to(self, saved: dict[str, Any]) -> None:
        """Forget what was added since."""
        vars(self).update(saved)

    # ------------------------------------------------------------ reading through what was added

    def row(self, execution_id: str) -> ExecutionRow | None:
        """Return an execution as this commit leaves it."""
        if execution_id in self._changed:
            return self._changed[execution_id][0]
        return self._new.get(execution_id) or self.view.executions.get(execution_id) or self._late.get(execution_id)

    def rows_of_unit(self, job_id: str, unit: Unit) -> Iterator[ExecutionRow]:
        """Yield the executions of one unit as this commit leaves them."""
        for row in self.view.of_unit(job_id, unit):
            yield self.row(row.id) or row
        for execution_id in self._new_of.get((job_id, unit), ()):
            yield self._new[execution_id]

    def job(self, job_id: str) -> JobRow | None:
        """Return the job as the view knows it."""
        return self.view.jobs.get(job_id)

    def kind(self, job_id: str) -> Kind:
        """Return what kind of job it is; one that the view does not know counts as a batch."""
        job = self.view.jobs.get(job_id)
        return Kind.BATCH if job is None else job.kind

    def node(self, node_id: str) -> NodeRow | None:
        """Return a node as this commit leaves it."""
        return self._nodes.get(node_id) or self.view.nodes.get(node_id)

    def state(self, job_id: str) -> JobState | None:
        """Return a locked job's state as this commit leaves it; None where it is not locked."""
        draft = self.draft(job_id)
        return None if draft is None else draft.state

    # ------------------------------------------------------------ executions

    def add(self, row: ExecutionRow) -> None:
        """Write a new execution."""
        self._new[row.id] = row
        self._new_of.setdefault((row.job_id, row.unit), []).append(row.id)

    def put(self, row: ExecutionRow, observed: Observed | None = None) -> None:
        """Write an execution's new row; what readers learned earlier in this commit stays."""
        if self.kind(row.job_id) is Kind.SERVICE:
            row = timed(self.row(row.id), row, self.locked.now)
        if row.id in self._new:
            self._new[row.id] = row
            return
        _, before = self._changed.get(row.id, (row, None))
        self._changed[row.id] = (row, observed or before)

    # ------------------------------------------------------------ jobs

    def set_state(
        self,
        job_id: str,
        state: JobState,
        *,
        message: str = "",
        details: Mapping[str, str] | None = None,
        topic: str = texts.STATE_UPDATE,
        text: str = "",
    ) -> None:
        """Move a job that is not terminal to `state`, with its history row; the text is the state's name if empty."""
        draft = self.draft(job_id)
        if draft is None or draft.state.is_terminal or draft.state is state:
            return
        draft.state, draft.changed = state, True
        draft.message, draft.details = message, details or {}
        told = {**(details or {}), texts.NEW_STATE: state.value}
        self.history(job_id, topic, text or state.value, details=told)

    def describe(
        self,
        job_id: str,
        *,
        waiting: Mapping[Requirement, int],
        message: str | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Say how many units wait for room in each class, and why; without a message the job's own stays."""
        draft = self.draft(job_id)
        if draft is None or draft.state.is_terminal:
            return
        draft.changed, draft.waiting = True, waiting
        draft.message = draft.message if message is None else message
        draft.details = draft.details if details is None else details

    def say(self, job_id: str, message: str) -> None:
        """Let a job that has not begun say what is done for it; nothing else of it changes."""
        draft = self.draft(job_id)
        if draft is not None and not draft.state.is_terminal:
            draft.changed, draft.message = True, message

    def pin(self, job: JobRow, manifests: Mapping[TaskInput, ManifestRef]) -> bool:
        """Pin inputs of a job's version to lists; returns whether it is still that version, and has not ended."""
        draft = self.draft(job.id)
        if draft is None or draft.state.is_terminal or draft.locked.version != job.version:
            return False
        draft.changed = True
        draft.manifests += manifests.items()
        return True

    def history(
        self,
        job_id: str,
        topic: str,
        message: str,
        *,
        row: ExecutionRow | None = None,
        details: Mapping[str, str] | None = None,
        node_time: datetime | None = None,
    ) -> None:
        """Add a transition under the job's next number. A job that is not locked has no history to add to."""
        draft = self.draft(job_id)
        if draft is None:
            return
        draft.history_seq += 1
        draft.changed = True
        if row is not None and draft.many:
            details = {texts.TASK: row.task, **(details or {})}
        self._history.append(
            HistoryNew(
                job_id=job_id,
                seq=draft.history_seq,
                job_version=draft.locked.version if row is None else row.job_version,
                topic=topic,
                message=message,
                execution_id="" if row is None else row.id,
                details=details or {},
                node_time=node_time,
            )
        )

    # ------------------------------------------------------------ everything else

    def evaluate(
        self,
        row: ExecutionRow,
        trigger: str,
        *,
        delay_seconds: float = 0.0,
        comment: str = "",
        unit: bool = False,
        streak: int = 0,
    ) -> None:
        """Ask for an evaluation of the execution's job; with `unit`, its unit is in backoff until then."""
        self.evaluation(
            EvaluationNew(
                id=self._ids("v"),
                job_id=row.job_id,
                namespace=row.namespace,
                trigger=trigger,
                delay_seconds=delay_seconds,
                comment=comment,
                unit=row.unit if unit else None,
                version=row.job_version,
                streak=streak,
            )
        )

    def evaluation(self, evaluation: EvaluationNew) -> None:
        """Ask for an evaluation."""
        self._evaluations.append(evaluation)

    def roll_back(self, rollback: Rollback) -> None:
        """Make the next version of a service what an earlier one was; its history is told under that version."""
        draft = self.draft(rollback.job_id)
        assert draft is not None
        self._rollbacks.append(rollback)
        details = {texts.REASON: rollback.reason, texts.GONE_BACK_FROM: str(rollback.version - 1)}
        self.history(rollback.job_id, texts.SUBMISSION, rollback.reason, details=details)
        self._history[-1] = replace(self._history[-1], job_version=rollback.version)

    def new_id(self, prefix: str) -> str:
        """Return a fresh id."""
        return self._ids(prefix)

    def keep(self, result: ResultNew) -> None:
        """Write a result."""
        self._results.append(result)

    def withdraw(self, execution_id: str) -> None:
        """Let a result count no more."""
        for index, new in enumerate(self._results):
            if new.execution_id == execution_id:
                self._results[index] = replace(new, committed=False)
                return
        self._withdrawn[execution_id] = None

    def finalised(self, execution_id: str, digest: str) -> None:
        """A staged result is final."""
        self._finalised.append((execution_id, digest))

    def refused(self, execution_id: str, digest: str) -> None:
        """A staged result will never be final, and counts no more."""
        self._refused.append((execution_id, digest))

    def done(self, *evaluation_ids: str) -> None:
        """These evaluations are answered by this commit."""
        self._done.update(dict.fromkeys(evaluation_ids))

    def put_node(self, node: NodeRow) -> None:
        """Write a node's new row."""
        self._nodes[node.id] = node

    def remove_node(self, node_id: str) -> None:
        """Forget a node: its executions are to be lost in the same commit or before."""
        self._nodes.pop(node_id, None)
        self._nodes_gone[node_id] = None

    def carried_out(self, number: int) -> None:
        """What was wanted of a node is done."""
        self._intents.append(number)

    def read_to(self, position: Position) -> None:
        """The stream of facts was read this far."""
        self._position = position

    def audit(self, entry: AuditNew) -> None:
        """Keep something aside for people."""
        self._audit.append(entry)

    def build(self) -> Changes:
        """Return all that was added."""
        return Changes(
            executions_new=tuple(self._new.values()),
            executions=tuple(ExecutionChange(row, observed) for row, observed in self._changed.values()),
            results=tuple(self._results),
            results_finalised=tuple(self._finalised),
            results_refused=tuple(self._refused),
            results_withdrawn=tuple(self._withdrawn),
            jobs=tuple(_job_change(draft, self.locked.now) for draft in self._jobs.values() if draft.changed),
            history=tuple(self._history),
            evaluations_new=tuple(self._evaluations),
            evaluations_done=tuple(self._done),
            rollbacks=tuple(self._rollbacks),
            nodes=tuple(self._nodes.values()),
            position=self._position,
            audit=tuple(self._audit),
            nodes_gone=tuple(self._nodes_gone),
            node_intents_done=tuple(self._intents),
            node_events=tuple(
                event for node in self._nodes.values() for event in node_events(self.view.nodes.get(node.id), node)
            ),
        )

    def draft(self, job_id: str) -> JobDraft | None:
        """Return what this commit does to a job, or None where the job is not locked."""
        draft = self._jobs.get(job_id)
        if draft is None:
            locked = self.locked.jobs.get(job_id)
            if locked is None:
                return None
            job = self.view.jobs.get(job_id)
            many = job is not None and len(job.tasks) > 1
            draft = self._jobs[job_id] = JobDraft(locked, locked.history_seq, locked.state, many)
        return draft


def _job_change(draft: JobDraft, now: datetime) -> JobChange:
    return JobChange(
        id=draft.locked.id,
        history_seq=draft.history_seq,
        state=None if draft.state is draft.locked.state else draft.state,
        message=draft.message,
        details=draft.details,
        won=tuple(draft.won),
        won_at=now if draft.won else None,
        failed=tuple(draft.failed),
        targets=tuple(draft.targets),
        version=draft.locked.version,
        units=draft.units,
        good_version=draft.good_version,
        progress=draft.progress,
        progress_at=draft.progress_at,
        paused=draft.paused,
        waiting=draft.waiting,
        manifests=tuple(draft.manifests),
    )
