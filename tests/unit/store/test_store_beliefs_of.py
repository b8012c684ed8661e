"""Of which jobs a leader believes anything."""

from typing import Any

from skrei_domain.lifecycle import JobState
from skrei_store.believed import MOST_JOBS
from skrei_store.leader import LeaderRecord
from tests.support.builders import NOW, a_job


def test_nothing_is_believed_of_what_has_ended_of_nobody_and_of_too_many() -> None:
    nowhere: Any = None  # nothing is asked of the record
    record = LeaderRecord(nowhere, 1)
    jobs = [a_job(f"j-{number}", state=JobState.RUNNING) for number in range(MOST_JOBS + 1)]
    assert record.believe([], [], NOW) is None
    assert record.believe(jobs, [], NOW) is None
    believed = record.believe(jobs[1:], ["v-1"], NOW)
    assert believed is not None
    assert (set(believed.jobs), believed.evaluations) == ({job.id for job in jobs[1:]}, {"v-1"})
    for state in JobState:
        known = record.believe([*jobs[:3], a_job("j-other", state=state)], [], NOW) is not None
        assert known is not state.is_terminal, state
