"""One commit in the making: every decision of a commit is added to one builder, so that its history has no gap.

The builder sees the view through what it has already added: a row that was changed twice in one commit is written
once, and a unit won early in the commit is won for everything that follows. It refuses by rule, not by exception:
what may not happen under the locked rows is left out or written as late.
"""

from collections.abc import Iterator, Sequence

from skrei_domain.ids import short
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ExecutionState, JobState, Want
from skrei_domain.messages import ResultRef
from skrei_scheduling import texts
from skrei_scheduling.changes import Changes, EvaluationNew, Place, ResultNew
from skrei_scheduling.draft import CommitDraft, JobDraft
from skrei_scheduling.rows import ExecutionRow, JobRow, Unit


class ChangesBuilder(CommitDraft):
    """The verbs of a commit. Used once, inside `decide`; `build` returns the changes."""

    def has_rival(self, row: ExecutionRow) -> bool:
        """Whether another live execution, neither revoked nor Unknown, stands for the same unit."""
        return any(_rivals(row, other) for other in self.rows_of_unit(row.job_id, row.unit))

    def had_rival(self, row: ExecutionRow) -> bool:
        """Whether there is a rival, or was one when the commit began.

        A unit has one live unrevoked execution that is neither Unknown nor leaving, and the record checks that row by
        row: one may step in only in a commit after the one in which the other stepped out.
        """
        return self.has_rival(row) or any(_rivals(row, other) for other in self.view.of_unit(row.job_id, row.unit))

    def has_twin(self, row: ExecutionRow) -> bool:
        """Whether another execution that is wanted stands for the same unit, be it Unknown."""
        twins = (each for each in self.rows_of_unit(row.job_id, row.unit) if each.id != row.id)
        return any(each.live and not each.revoked and each.job_version == row.job_version for each in twins)

    def counts(self, row: ExecutionRow) -> bool:
        """Whether what this execution does still counts: job locked, not terminal, this version, not revoked."""
        draft = self.draft(row.job_id)
        return (
            draft is not None
            and not draft.state.is_terminal
            and draft.locked.version == row.job_version
            and not row.revoked
        )

    def won(self, row: ExecutionRow) -> bool:
        """Whether the execution's unit has a winner."""
        job, draft = self.job(row.job_id), self.draft(row.job_id)
        return (job is not None and row.unit in job.won) or (draft is not None and row.unit in draft.won)

    def closed(self, row: ExecutionRow) -> bool:
        """Whether the execution's unit has a winner, or was given up."""
        job, draft = self.job(row.job_id), self.draft(row.job_id)
        given_up = (job is not None and row.unit in job.failed) or (
            draft is not None and any(unit == row.unit for unit, _ in draft.failed)
        )
        return given_up or self.won(row)

    def set_targets(self, job: JobRow, new: Sequence[tuple[str, int]]) -> None:
        """Give nodes their partitions in a job, or task, that runs once a node."""
        draft = self.draft(job.id)
        if draft is not None and new:
            draft.targets += new
            draft.units = job.with_targets(dict(new)).units
            draft.changed = True

    def give_up(self, job_id: str, unit: Unit, reason: str) -> None:
        """Let nothing more run of a unit, though it has no result; once is enough."""
        job, draft = self.job(job_id), self.draft(job_id)
        if job is None or draft is None or job.closed(unit) or unit in draft.won:
            return
        if all(unit != given_up for given_up, _ in draft.failed):
            draft.failed.append((unit, reason))
            draft.changed = True

    def place(self, row: ExecutionRow) -> None:
        """Add a new execution."""
        self.add(row)
        text = texts.REQUESTED_BECAUSE if row.why else texts.REQUESTED
        details = {texts.NODE_ID: row.node_id, texts.WHY: row.why} if row.why else {texts.NODE_ID: row.node_id}
        told = text.format(node=short(row.node_id), why=row.why)
        self.history(row.job_id, texts.SCHEDULING, told, row=row, details=details)

    def keep_for(self, row: ExecutionRow, version: int) -> None:
        """Let a live execution of an older version be one of `version`, which runs the same."""
        row = self.row(row.id) or row
        if row.live and not row.revoked and row.job_version < version:
            kept = row.evolve(job_version=version)
            self.put(kept)
            self.history(row.job_id, texts.SCHEDULING, texts.KEPT_FOR.format(version=version), row=kept)

    def come_back(self, row: ExecutionRow) -> None:
        """Let an Unknown execution be what its facts last told, unless another stands for its unit."""
        row = self.row(row.id) or row
        free = row.revoked or row.leaving or not self.had_rival(row)
        if row.live and row.state is ExecutionState.UNKNOWN and free:
            self.put(row.evolve(state=row.observed))
            message = texts.RETURNED.format(state=row.observed.value.capitalize())
            self.history(row.job_id, texts.EXECUTION, message, row=row)

    def leave(self, row: ExecutionRow) -> None:
        """Let another one take an execution's place, which serves until that does."""
        row = self.row(row.id) or row
        if row.live and not row.revoked and not row.leaving:
            self.put(row.evolve(leaving=True))
            self.history(row.job_id, texts.SCHEDULING, texts.MOVES, row=row, details={texts.NODE_ID: row.node_id})

    def stay(self, row: ExecutionRow) -> None:
        """Let an execution that was leaving stand for its unit again, unless another does."""
        row = self.row(row.id) or row
        if row.live and not row.revoked and row.leaving and not self.had_rival(row):
            self.put(row.evolve(leaving=False))
            self.history(row.job_id, texts.SCHEDULING, texts.STAYS, row=row, details={texts.NODE_ID: row.node_id})

    def stop(self, row: ExecutionRow, reason: str, *, lost: bool = False) -> None:
        """Revoke a live execution and want it stopped. `lost` ends it at once (its reservation counts on)."""
        if row.revoked or not row.live:
            return
        if row.staged:
            self._withdraw_staged(row, reason)
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

    def _withdraw_staged(self, row: ExecutionRow, reason: str) -> None:
        """End an execution that had won its unit before its result was final: nothing of it is left on its node."""
        ended = row.evolve(
            state=ExecutionState.STOPPED, want=Want.STOP, revoked=True, staged=False, reason=reason, message=reason
        )
        self.put(ended)
        self.withdraw(row.id)
        self.history(row.job_id, texts.SCHEDULING, reason, row=ended, details={texts.REASON: reason})

    def may_win(self, row: ExecutionRow) -> bool:
        """Whether an execution's unit is still to be won, and it may."""
        return (
            self.counts(row)
            and self.job(row.job_id) is not None
            and not self.won(row)
            and not any(other.staged and other.id != row.id for other in self._siblings(row))
        )

    def win(self, row: ExecutionRow, result: ResultRef, place: Place | None = None) -> bool:
        """Let an execution win its unit, or keep its result beside the winner's; returns whether it won."""
        wins = place is None and self.may_win(row)
        self.result(row, result if wins else never_shown(result), committed=wins, place=place)
        if wins:
            self._has_won(row)
            self._stop_others(row)
        return wins

    def claim(self, row: ExecutionRow, result: ResultRef, place: Place) -> None:
        """Let an execution that may win have its unit; it has won once its result is final (`finish`)."""
        self.result(row, result, committed=True, place=place)
        self._stop_others(row)

    def finish(self, row: ExecutionRow) -> None:
        """Let an execution that has its unit have won it."""
        self._has_won(row)

    def _has_won(self, row: ExecutionRow) -> None:
        draft = self.draft(row.job_id)
        assert draft is not None  # `counts` has looked
        draft.won.append(row.unit)
        draft.changed = True

    def _stop_others(self, row: ExecutionRow) -> None:
        for other in list(self._siblings(row)):
            if other.id != row.id and other.live and not other.revoked:
                self.stop(other, texts.STOP_NOT_NEEDED, lost=other.state is ExecutionState.UNKNOWN)

    def _siblings(self, row: ExecutionRow) -> Iterator[ExecutionRow]:
        """Yield the executions of the unit in its version; those of an older one are stopped by the plan of the new."""
        return (each for each in self.rows_of_unit(row.job_id, row.unit) if each.job_version == row.job_version)

    def complete(self, job_id: str) -> None:
        """Let a job whose last unit was won (or, on every node, given up) by this commit end."""
        job, draft = self.job(job_id), self.draft(job_id)
        if job is None or draft is None or job.kind.endless:
            return
        if job.kind is Kind.OPS:
            self._complete_ops(job, draft)
            return
        if not draft.won:
            return
        if draft.locked.units_won + len(draft.won) >= job.units:
            self.set_state(job_id, JobState.COMPLETED)

    def _complete_ops(self, job: JobRow, draft: JobDraft) -> None:
        """A job that runs once on every node ends when each has ended: as Failed if it was given up on any."""
        failed = {**job.failed, **dict(draft.failed)}
        if not (draft.won or draft.failed) or draft.locked.units_won + len(draft.won) + len(failed) < job.units:
            return
        if not failed:
            self.set_state(job.id, JobState.COMPLETED)
            return
        (task, partition), reason = min(failed.items())
        node = next((node for node, number in job.targets.items() if number == partition), task)
        message = texts.NODES_FAILED.format(failed=len(failed), targets=job.units, node=short(node), reason=reason)
        details = {texts.IS_ERROR: "true", texts.REASON: message}
        self.set_state(
            job.id,
            JobState.FAILED,
            message=message,
            details=details,
            topic=texts.SCHEDULING,
            text=texts.EXECUTIONS_FAILED,
        )

    def build(self) -> Changes:
        """Return all that was added; a task that waits no more by what this commit lets win is looked at at once."""
        for draft in self._jobs.values():
            if draft.many and draft.won and not draft.state.is_terminal:
                job = self.job(draft.locked.id)
                graph = None if job is None else self.view.graph(job)
                if job is not None and graph is not None and graph.frees(draft.won):
                    self.evaluation(EvaluationNew(self.new_id("v"), job.id, job.namespace, texts.TRIGGER_TASK_FREE))
        return super().build()

    def result(self, row: ExecutionRow, result: ResultRef, *, committed: bool, place: Place | None = None) -> None:
        """Keep what an execution left."""
        self.keep(ResultNew(row.id, row.job_id, row.job_version, row.task, row.partition, committed, result, place))


def never_shown(result: ResultRef) -> ResultRef:
    """Return what is kept of one that was to count, and does not: where it stays its node removes it, and what was told
    of it is all there is.
    """
    return result if result.left_at is None else result.model_copy(update={"left_at": None, "left_bytes": 0})


def _rivals(row: ExecutionRow, other: ExecutionRow) -> bool:
    return (
        other.id != row.id
        and other.job_version == row.job_version
        and other.live
        and not other.revoked
        and not other.leaving
        and other.state is not ExecutionState.UNKNOWN
    )
