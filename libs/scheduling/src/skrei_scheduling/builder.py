"""One commit in the making: every decision of a commit is added to one builder, so that its history has no gap.

The builder sees the view through what it has already added: a row that was changed twice in one commit is written
once, and a unit won early in the commit is won for everything that follows. It refuses by rule, not by exception:
what may not happen under the locked rows is left out or written as late.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from skrei_domain.ids import IdSource, short
from skrei_domain.lifecycle import ExecutionState, JobState, Want
from skrei_domain.messages import ResultRef
from skrei_scheduling import texts
from skrei_scheduling.changes import (
    Changes,
    EvaluationNew,
    ExecutionChange,
    HistoryNew,
    JobChange,
    Locked,
    LockedJob,
    Observed,
    Position,
    ResultNew,
)
from skrei_scheduling.rows import ExecutionRow, JobRow, NodeRow, Unit
from skrei_scheduling.view import ClusterView


@dataclass(slots=True)
class _JobDraft:
    """What a commit does to one locked job."""

    locked: LockedJob
    history_seq: int
    state: JobState
    changed: bool = False
    message: str | None = None
    details: Mapping[str, str] | None = None
    won: list[Unit] = field(default_factory=list)
    waiting: int | None = None


class ChangesBuilder:
    """Collects one commit's changes; `build` returns them. Used once, inside `decide`."""

    def __init__(
        self, view: ClusterView, locked: Locked, ids: IdSource, *, late: Mapping[str, ExecutionRow] | None = None
    ) -> None:
        self.view = view
        self.locked = locked
        self.skipped = 0  # facts about executions that neither the view nor the record knows
        self._ids = ids
        self._late = late or {}
        self._jobs: dict[str, _JobDraft] = {}
        self._new: dict[str, ExecutionRow] = {}
        self._changed: dict[str, tuple[ExecutionRow, Observed | None]] = {}
        self._nodes: dict[str, NodeRow] = {}
        self._results: list[ResultNew] = []
        self._history: list[HistoryNew] = []
        self._evaluations: list[EvaluationNew] = []
        self._done: dict[str, None] = {}
        self._position: Position | None = None
        self._timeline: int | None = None
        self._stored: list[tuple[str, str]] = []
        self._dropped: list[str] = []

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
        for row in self._new.values():
            if row.job_id == job_id and row.unit == unit:
                yield self.row(row.id) or row

    def job(self, job_id: str) -> JobRow | None:
        """Return the job as the view knows it."""
        return self.view.jobs.get(job_id)

    def node(self, node_id: str) -> NodeRow | None:
        """Return a node as this commit leaves it."""
        return self._nodes.get(node_id) or self.view.nodes.get(node_id)

    def has_rival(self, row: ExecutionRow) -> bool:
        """Whether another live execution, neither revoked nor Unknown, stands for the same unit."""
        return any(_rivals(row, other) for other in self.rows_of_unit(row.job_id, row.unit))

    def had_rival(self, row: ExecutionRow) -> bool:
        """Whether there is a rival, or was one when the commit began.

        A unit has one live unrevoked execution that is not Unknown, and the record checks that row by row: one may
        step in only in a commit after the one in which the other stepped out.
        """
        return self.has_rival(row) or any(_rivals(row, other) for other in self.view.of_unit(row.job_id, row.unit))

    def state(self, job_id: str) -> JobState | None:
        """Return a locked job's state as this commit leaves it; None where it is not locked."""
        draft = self._draft(job_id)
        return None if draft is None else draft.state

    def counts(self, row: ExecutionRow) -> bool:
        """Whether what this execution does still counts: job locked, not terminal, this version, not revoked."""
        draft = self._draft(row.job_id)
        return (
            draft is not None
            and not draft.state.is_terminal
            and draft.locked.version == row.job_version
            and not row.revoked
        )

    def won(self, row: ExecutionRow) -> bool:
        """Whether the execution's unit has a winner."""
        job, draft = self.job(row.job_id), self._draft(row.job_id)
        return (job is not None and row.unit in job.won) or (draft is not None and row.unit in draft.won)

    # ------------------------------------------------------------ executions

    def place(self, row: ExecutionRow) -> None:
        """Add a new execution."""
        self._new[row.id] = row
        self.history(
            row.job_id,
            texts.SCHEDULING,
            texts.REQUESTED.format(node=short(row.node_id)),
            row=row,
            details={texts.NODE_ID: row.node_id},
        )

    def put(self, row: ExecutionRow, observed: Observed | None = None) -> None:
        """Write an execution's new row; what readers learned earlier in this commit stays."""
        if row.id in self._new:
            self._new[row.id] = row
            return
        _, before = self._changed.get(row.id, (row, None))
        self._changed[row.id] = (row, observed or before)

    def stop(self, row: ExecutionRow, reason: str, *, lost: bool = False) -> None:
        """Revoke a live execution and want it stopped. `lost` ends it at once (its reservation counts on)."""
        if row.revoked or not row.live:
            return
        self.put(
            row.evolve(
                want=Want.STOP,
                revision=row.revision + 1,
                revoked=True,
                reason=reason,
                message=reason if lost else row.message,
                state=ExecutionState.LOST if lost else row.state,
            )
        )
        self.history(row.job_id, texts.SCHEDULING, reason, row=row, details={texts.REASON: reason})

    def win(self, row: ExecutionRow, result: ResultRef) -> bool:
        """Let an execution win its unit, or keep its result beside the winner's; returns whether it won."""
        wins = self.counts(row) and self.job(row.job_id) is not None and not self.won(row)
        self.result(row, result, committed=wins)
        if not wins:
            return False
        draft = self._jobs[row.job_id]
        draft.won.append(row.unit)
        draft.changed = True
        for other in list(self.rows_of_unit(row.job_id, row.unit)):
            if other.id != row.id and other.live and not other.revoked:
                self.stop(other, texts.STOP_NOT_NEEDED, lost=other.state is ExecutionState.UNKNOWN)
        return True

    def complete(self, job_id: str) -> None:
        """Let a job whose last unit was won by this commit be Completed."""
        job, draft = self.job(job_id), self._draft(job_id)
        if job is None or draft is None or not draft.won:
            return
        if draft.locked.units_won + len(draft.won) >= job.units:
            self.set_state(job_id, JobState.COMPLETED)

    def result(self, row: ExecutionRow, result: ResultRef, *, committed: bool) -> None:
        """Keep what an execution left."""
        self._results.append(ResultNew(row.id, row.job_id, row.job_version, row.task, row.partition, committed, result))

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
        draft = self._draft(job_id)
        if draft is None or draft.state.is_terminal or draft.state is state:
            return
        draft.state, draft.changed = state, True
        draft.message, draft.details = message, details or {}
        told = {**(details or {}), texts.NEW_STATE: state.value}
        self.history(job_id, topic, text or state.value, details=told)

    def describe(
        self, job_id: str, *, waiting: int, message: str | None = None, details: Mapping[str, str] | None = None
    ) -> None:
        """Say how many units wait for room, and why; without a message the job's own stays."""
        draft = self._draft(job_id)
        if draft is None or draft.state.is_terminal:
            return
        draft.changed, draft.waiting = True, waiting
        draft.message = draft.message if message is None else message
        draft.details = draft.details if details is None else details

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
        draft = self._draft(job_id)
        if draft is None:
            return
        draft.history_seq += 1
        draft.changed = True
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
        self, row: ExecutionRow, trigger: str, *, delay_seconds: float = 0.0, comment: str = "", unit: bool = False
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
            )
        )

    def evaluation(self, evaluation: EvaluationNew) -> None:
        """Ask for an evaluation."""
        self._evaluations.append(evaluation)

    def new_id(self, prefix: str) -> str:
        """Return a fresh id."""
        return self._ids(prefix)

    def done(self, *evaluation_ids: str) -> None:
        """These evaluations are answered by this commit."""
        self._done.update(dict.fromkeys(evaluation_ids))

    def put_node(self, node: NodeRow) -> None:
        """Write a node's new row."""
        self._nodes[node.id] = node

    def read_to(self, position: Position) -> None:
        """The stream of facts was read this far."""
        self._position = position

    def open_timeline(self, timeline: int) -> None:
        """The record opens a new timeline."""
        self._timeline = timeline

    def stored(self, *results: tuple[str, str]) -> None:
        """The publisher holds these results: (execution id, digest)."""
        self._stored.extend(results)

    def dropped(self, *execution_ids: str) -> None:
        """The publisher dropped these results."""
        self._dropped.extend(execution_ids)

    def build(self) -> Changes:
        """Return all that was added."""
        return Changes(
            executions_new=tuple(self._new.values()),
            executions=tuple(ExecutionChange(row, observed) for row, observed in self._changed.values()),
            results=tuple(self._results),
            jobs=tuple(_job_change(draft) for draft in self._jobs.values() if draft.changed),
            history=tuple(self._history),
            evaluations_new=tuple(self._evaluations),
            evaluations_done=tuple(self._done),
            nodes=tuple(self._nodes.values()),
            position=self._position,
            timeline=self._timeline,
            results_stored=tuple(self._stored),
            results_dropped=tuple(self._dropped),
        )

    def _draft(self, job_id: str) -> _JobDraft | None:
        draft = self._jobs.get(job_id)
        if draft is None:
            locked = self.locked.jobs.get(job_id)
            if locked is None:
                return None
            draft = self._jobs[job_id] = _JobDraft(locked, locked.history_seq, locked.state)
        return draft


def _rivals(row: ExecutionRow, other: ExecutionRow) -> bool:
    return (
        other.id != row.id
        and other.job_version == row.job_version
        and other.live
        and not other.revoked
        and other.state is not ExecutionState.UNKNOWN
    )


def _job_change(draft: _JobDraft) -> JobChange:
    return JobChange(
        id=draft.locked.id,
        history_seq=draft.history_seq,
        state=None if draft.state is draft.locked.state else draft.state,
        message=draft.message,
        details=draft.details,
        won=tuple(draft.won),
        waiting=draft.waiting,
    )
