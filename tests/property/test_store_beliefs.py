"""What is believed of a job's row is what the row says, as long as nobody but the leader has written to it."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.lifecycle import JobState
from skrei_scheduling.changes import Changes, JobChange, Locked, LockedJob
from skrei_scheduling.rows import JobRow
from skrei_store.believed import Beliefs
from tests.support.builders import a_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATES = (None, JobState.QUEUED, JobState.RUNNING, JobState.COMPLETED, JobState.FAILED)

step = st.tuples(
    st.sampled_from(["j-1", "j-2", "j-3"]),
    st.integers(0, 3),  # history rows
    st.sampled_from(STATES),
    st.booleans(),  # whether a unit is won
    st.booleans(),  # whether somebody else has written to the row just before
)


@given(st.lists(step, max_size=30))
def test_a_belief_is_the_row_unless_somebody_else_has_written(
    steps: list[tuple[str, int, JobState | None, bool, bool]],
) -> None:
    beliefs = Beliefs()
    rows = {id_: LockedJob(id_, 1, 1, JobState.PENDING, 1, 0) for id_ in ("j-1", "j-2", "j-3")}
    view = {id_: replace(a_job(id_, count=100), state=JobState.PENDING) for id_ in rows}
    for id_, told, state, wins, foreign in steps:
        if rows[id_].state.is_terminal:
            continue
        if foreign:
            rows[id_] = replace(rows[id_], generation=rows[id_].generation + 1, history_seq=rows[id_].history_seq + 1)
            view[id_] = replace(view[id_], generation=rows[id_].generation)
        believed = beliefs.of([view[id_]], ["v-1"], NOW)
        assert believed.evaluations == {"v-1"}
        assert foreign != (believed.jobs == {id_: rows[id_]}), "a foreign write always shows: it tells history"
        rows[id_], view[id_], changes = written(rows[id_], view[id_], told, state, wins=wins)
        beliefs.learn(
            Locked(NOW, {id_: replace(rows[id_], history_seq=rows[id_].history_seq - told)}, frozenset()), changes
        )
    assert len(beliefs) <= sum(not row.state.is_terminal for row in rows.values()), "what has ended is forgotten"


def written(
    row: LockedJob, job: JobRow, told: int, state: JobState | None, *, wins: bool
) -> tuple[LockedJob, JobRow, Changes]:
    """Return row, view and changes of a commit of the leader."""
    won = job.won | {("main", len(job.won))} if wins else job.won
    new = replace(row, history_seq=row.history_seq + told, state=state or row.state, units_won=len(won))
    change = JobChange(row.id, new.history_seq, state=state)
    return new, replace(job, state=new.state, won=won), Changes(jobs=(change,))
