"""A record in memory that refuses what the real one's constraints refuse: what a commit of the leader is checked by."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_scheduling.changes import (
    Changes,
    EvaluationNew,
    HistoryNew,
    JobChange,
    Locked,
    LockedJob,
    ResultNew,
    Rollback,
)
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, NodeRow, Unit
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW


@dataclass
class Waiting:
    """An evaluation in the record, and when it is due."""

    evaluation: EvaluationNew
    due: timedelta


class Ledger:
    """Jobs, executions, history, results, evaluations; every `commit` is checked against the rules."""

    def __init__(self) -> None:
        self.at = timedelta()
        self.jobs: dict[str, JobRow] = {}
        self.messages: dict[str, str] = {}
        self.history_seq: dict[str, int] = {}
        self.versions: dict[tuple[str, int], JobRow] = {}
        self.executions: dict[str, ExecutionRow] = {}
        self.nodes: dict[str, NodeRow] = {}
        self.history: list[HistoryNew] = []
        self.results: list[ResultNew] = []
        self.won: dict[str, set[Unit]] = {}
        self.won_at: dict[str, dict[str, datetime]] = {}
        self.claimed: dict[str, tuple[object, ...]] = {}  # execution -> its unit, won once its result is final
        self.staged: dict[str, str] = {}  # execution -> digest of a result that is not final yet
        self.readable: set[str] = set()  # executions whose uploaded result is final
        self.evaluations: dict[str, Waiting] = {}

    @property
    def now(self):  # type: ignore[no-untyped-def]
        return NOW + self.at

    def submit(self, job: JobRow, evaluation_id: str) -> None:
        self.jobs[job.id] = job
        self.versions[job.id, job.version] = job
        self.history_seq[job.id] = 1
        self.history.append(HistoryNew(job.id, 1, job.version, "Submission", "Job submitted"))
        self.won[job.id] = set()
        self.won_at[job.id] = {}
        self._ask(EvaluationNew(evaluation_id, job.id, job.namespace, "job-register"))

    def stop(self, job_id: str, evaluation_id: str) -> None:
        """What the API does for a stop, when the state allows it."""
        job = self.jobs[job_id]
        if job.state.is_terminal:
            return
        self.jobs[job_id] = replace(job, state=JobState.STOPPED, generation=job.generation + 1)
        self.history_seq[job_id] += 1
        self.history.append(HistoryNew(job_id, self.history_seq[job_id], job.version, "Scheduling", "Job requested"))
        self._ask(EvaluationNew(evaluation_id, job_id, job.namespace, "job-cancel"))

    def update(self, new: JobRow, evaluation_id: str, trigger: str = "job-update", *, anew: bool = False) -> None:
        """What the API does for a new version: `new` is the job as its new spec makes it; `anew` if that is the old."""
        old = self.jobs[new.id]
        self.jobs[new.id] = replace(
            new,
            state=JobState.PENDING,
            generation=old.generation + 1,
            version=old.version + 1,
            created_at=old.created_at,
            good_version=old.good_version,
            asked_at=self.now,
            progress=0,
            progress_at=None,
            paused=False,
            anew=old.version + 1 if anew else old.anew,
            targets={},  # each version has its own, and what was given up of one is nothing to the next
            failed={},
            won=frozenset(),
            won_at={},
        )
        self.versions[new.id, old.version + 1] = self.jobs[new.id]
        self.won[new.id] = set()
        self.won_at[new.id] = {}
        self.history_seq[new.id] += 1
        self.history.append(HistoryNew(new.id, self.history_seq[new.id], old.version + 1, "Submission", "Job updated"))
        self._ask(EvaluationNew(evaluation_id, new.id, new.namespace, trigger))

    def fresh(self, job_id: str) -> JobRow:
        """The job as a reader finds it."""
        version = self.jobs[job_id].version
        rows = [row for row in self.executions.values() if (row.job_id, row.job_version) == (job_id, version)]
        attempts: dict[Unit, int] = {}
        bad: dict[Unit, frozenset[str]] = {}
        for row in rows:
            attempts[row.unit] = max(attempts.get(row.unit, 0), row.attempt)
            ended_badly = row.state in {ExecutionState.FAILED, ExecutionState.REFUSED, ExecutionState.LOST}
            if ended_badly and self.jobs[job_id].kind is Kind.BATCH:
                bad[row.unit] = bad.get(row.unit, frozenset()) | {row.node_id}
        return replace(
            self.jobs[job_id],
            won=frozenset(self.won[job_id]),
            attempts=attempts,
            refused_by=bad,
            won_at=dict(self.won_at[job_id]),
        )

    def due(self) -> list[Evaluation]:
        """The due evaluations, each with its job as freshly read."""
        return [
            Evaluation(
                each.evaluation.id,
                each.evaluation.job_id,
                each.evaluation.trigger,
                self.fresh(each.evaluation.job_id),
                each.evaluation.comment,
                each.evaluation.version,
            )
            for each in self.evaluations.values()
            if each.due <= self.at
        ]

    def view(self) -> ClusterView:
        """A view rebuilt from scratch, as at takeover."""
        held = [row for row in self.executions.values() if row.live or row.holds]
        needed = {row.job_id for row in held}
        jobs = [self.fresh(id) for id, job in self.jobs.items() if not job.state.is_terminal or id in needed]
        return ClusterView.load(list(self.nodes.values()), jobs, held)

    def commit(self, jobs: Iterable[str], evaluations: Iterable[str], decide: Callable[[Locked], Changes]) -> Changes:
        """Lock, decide, check, write."""
        locked = Locked(
            now=self.now,
            jobs={
                id: LockedJob(
                    id,
                    self.jobs[id].generation,
                    self.jobs[id].version,
                    self.jobs[id].state,
                    self.history_seq[id],
                    len(self.won[id]),
                )
                for id in jobs
                if id in self.jobs
            },
            evaluations=frozenset(id for id in evaluations if id in self.evaluations),
        )
        changes = decide(locked)
        self._write(changes, locked)
        return changes

    def _write(self, changes: Changes, locked: Locked) -> None:
        for change in changes.executions:
            old, new = self.executions[change.row.id], change.row
            assert new.changes > old.changes
            assert new.revision >= old.revision
            assert new.seen_revision >= old.seen_revision
            assert old.holds or not new.holds, "a reservation came back"
            assert not (old.revoked and not new.revoked), "a revocation was taken back"
            if new.job_version != old.job_version:
                assert not new.revoked, "what is wanted stopped was kept"
                job = self.jobs[new.job_id]
                assert new.job_version == job.version > old.job_version, "kept for another version than the current"
                assert job.what_runs == old.what_runs != "", "kept, though it runs something else"
                assert old.job_version >= job.anew, "kept, though all was to begin anew"
            assert not old.state.is_terminal or new.state is old.state, f"{old.state} became {new.state}"
            self.executions[new.id] = new
            self._check_unit(new)
        for row in changes.executions_new:
            assert row.id not in self.executions
            assert not self.jobs[row.job_id].state.is_terminal, "placed for a job that has ended"
            assert row.job_version == self.jobs[row.job_id].version, "placed for a version that is over"
            assert row.unit not in self.won[row.job_id], "placed for a unit that is won"
            self._check_order(row)
            assert row.unit not in self.jobs[row.job_id].failed, "placed for a unit that was given up"
            self.executions[row.id] = row
            self._check_unit(row)
        for result in changes.results:
            assert result.execution_id not in {each.execution_id for each in self.results}
            current = result.job_version == self.jobs[result.job_id].version
            assert current or not result.committed, "a result of a version that is over counts"
            if result.committed and result.staged is not None:
                row = self.executions[result.execution_id]
                unit = (result.task, result.partition)
                assert row.staged, "a result is staged, and its execution does not say so"
                assert unit not in self.won[result.job_id], "a unit was won twice"
                claim = (row.job_id, row.job_version, *unit)
                assert claim not in self.claimed.values(), "a unit was claimed twice"
                assert not row.revoked, "a revoked execution claimed its unit"
                self.claimed[row.id] = claim
                self.staged[row.id] = result.result.digest
            elif result.staged is not None:
                self.staged[result.execution_id] = result.result.digest
            elif result.committed:
                unit = (result.task, result.partition)
                row = self.executions[result.execution_id]
                assert unit not in self.won[result.job_id], "a unit was won twice"
                assert not row.revoked, "a revoked execution won"
                assert not locked.jobs[result.job_id].state.is_terminal, "a job that has ended won a unit"
                self.won[result.job_id].add(unit)
            self.results.append(result)
        self._write_ends(changes, locked)
        for entry in changes.history:
            self.history_seq[entry.job_id] += 1
            assert entry.seq == self.history_seq[entry.job_id], "history has a gap"
            self.history.append(entry)
        for changed in changes.jobs:
            assert changed.id in locked.jobs, "a job was changed that was not locked"
            assert changed.history_seq == self.history_seq[changed.id]
            job = self.jobs[changed.id]
            if job.ordered and changed.won_at is not None:
                self.won_at[job.id].update(dict.fromkeys((task for task, _ in changed.won), changed.won_at))
            if changed.state is not None:
                assert not job.state.is_terminal, "a job left a terminal state"
                job = replace(job, state=changed.state)
            job = self._write_targets(job, changed)
            if changed.good_version is not None:
                assert job.kind is Kind.SERVICE, "only a service is ready as a whole"
                job = replace(job, good_version=changed.good_version)
            if changed.progress is not None:
                assert changed.progress > job.progress, "progress was taken back, or told twice"
                job = replace(job, progress=changed.progress)
            job = replace(job, progress_at=changed.progress_at or job.progress_at)
            job = replace(job, paused=job.paused if changed.paused is None else changed.paused)
            if changed.message is not None:
                self.messages[changed.id] = changed.message
            self.jobs[changed.id] = job
            if job.state is JobState.COMPLETED:
                assert not job.kind.endless, "what runs until it is stopped has completed"
                assert len(self.won[job.id]) == job.units
        self._check_targets(changes)
        self._check_stops(changes)
        for rollback in changes.rollbacks:
            self._roll_back(rollback)
        for asked in changes.evaluations_new:
            self._ask(asked)
        for id in changes.evaluations_done:
            del self.evaluations[id]
        for node in changes.nodes:
            self.nodes[node.id] = node

    def _roll_back(self, rollback: Rollback) -> None:
        """The next version is again what an earlier one was."""
        old, good = self.jobs[rollback.job_id], self.versions[rollback.job_id, rollback.good]
        assert not old.state.is_terminal
        assert (old.good_version, old.version + 1) == (rollback.good, rollback.version)
        new = replace(
            good,
            state=JobState.PENDING,
            generation=old.generation + 1,
            version=rollback.version,
            good_version=rollback.version,
            created_at=old.created_at,
            asked_at=self.now,
            progress=0,
            progress_at=None,
            paused=False,
            anew=old.anew,
        )
        self.jobs[old.id] = self.versions[old.id, new.version] = new
        self.won[old.id], self.won_at[old.id] = set(), {}
        self.rolled_back(old.id, rollback.good, rollback.version)

    def rolled_back(self, job_id: str, good: int, version: int) -> None:
        """Whoever keeps specs by version has one more."""

    def _write_targets(self, job: JobRow, changed: JobChange) -> JobRow:
        """Each node once, each with a number of its own; what was given up has no result."""
        targets = dict(job.targets)
        for node_id, partition in changed.targets:
            assert node_id not in targets, f"{node_id} is a target twice"
            assert partition not in targets.values(), f"partition {partition} was given twice"
            targets[node_id] = partition
        failed = dict(changed.failed)
        assert not failed.keys() & self.won[job.id], "a unit was given up that is won"
        assert not failed.keys() & job.failed.keys(), "a unit was given up twice"
        if changed.units is not None:
            apart = [task for task in job.tasks if task.split or job.kind.per_node]
            others = sum(task.count for task in job.tasks if task not in apart)
            assert changed.units == len(targets) * len(apart) + others
        return replace(job.with_targets(targets), failed={**job.failed, **failed})

    def _check_targets(self, changes: Changes) -> None:
        """What runs once a node runs on the node whose number it has."""
        for row in changes.executions_new:
            job = self.jobs[row.job_id]
            if job.kind.per_node or job.task(row.task).split:
                assert job.targets[row.node_id] == row.partition, f"{row.id} runs on another's node"

    def _check_stops(self, changes: Changes) -> None:
        """Of a job that has ended nothing is wanted any more, or somebody will look at it once more."""
        asked = {each.evaluation.job_id for id, each in self.evaluations.items() if id not in changes.evaluations_done}
        asked |= {each.job_id for each in changes.evaluations_new}
        for job_id in {changed.id for changed in changes.jobs if self.jobs[changed.id].state.is_terminal} - asked:
            left = [r.id for r in self.executions.values() if r.job_id == job_id and r.live and not r.revoked]
            assert not left, f"{job_id} has ended, and nobody will stop {left}"

    def _write_ends(self, changes: Changes, locked: Locked) -> None:
        """What became of staged results: a winner counts from here on, and can be read."""
        for execution_id, digest in changes.results_finalised:
            if self.staged.get(execution_id) != digest:
                continue  # it was final already, or never there
            del self.staged[execution_id]
            self.readable.add(execution_id)
            if execution_id in self.claimed and execution_id not in changes.results_withdrawn:
                del self.claimed[execution_id]
                row = self.executions[execution_id]
                assert row.state is ExecutionState.COMPLETED, "what it left is final, and it is not Completed"
                assert not locked.jobs[row.job_id].state.is_terminal, "a job that has ended won a unit"
                assert row.job_version == self.jobs[row.job_id].version, "a version that is over won a unit"
                self.won[row.job_id].add(row.unit)
        for execution_id, _ in changes.results_refused:
            self.staged.pop(execution_id, None)
            self.claimed.pop(execution_id, None)
        for execution_id in changes.results_withdrawn:
            self.claimed.pop(execution_id, None)
        for row in self.executions.values():
            assert row.staged == (row.id in self.claimed), f"{row.id}: staged {row.staged}, claims {self.claimed}"

    def _check_order(self, row: ExecutionRow) -> None:
        """Nothing begins before what it waits for is on the record."""
        job = self.jobs[row.job_id]
        for need in job.task(row.task).needs:
            partitions = [row.partition] if need.same else range(job.task(need.task).count)
            left = [each for each in partitions if (need.task, each) not in self.won[job.id]]
            assert not left, f"{row.id} of {row.unit} began before {need.task} {left} were won"

    def _check_unit(self, row: ExecutionRow) -> None:
        """The partial unique index, checked row by row as the real one is."""
        live = [
            each.id
            for each in self.executions.values()
            if (each.job_id, each.job_version, each.unit) == (row.job_id, row.job_version, row.unit)
            and each.live
            and not each.revoked
            and not each.leaving
            and not each.staged
            and each.state is not ExecutionState.UNKNOWN
        ]
        assert len(live) <= 1, f"two live executions of {row.unit}: {live}"

    def _ask(self, evaluation: EvaluationNew) -> None:
        assert evaluation.id not in self.evaluations
        self.evaluations[evaluation.id] = Waiting(evaluation, self.at + timedelta(seconds=evaluation.delay_seconds))
