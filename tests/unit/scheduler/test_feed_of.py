"""What the leader tells listeners of its commits."""

from skrei_domain.feed import EXECUTION, JOB, Change
from skrei_scheduler.leader import feed_of
from skrei_scheduling.changes import Changes, HistoryNew
from skrei_scheduling.view import ClusterView
from tests.support.builders import a_job


def test_a_commits_history_is_told_by_the_namespace_of_its_jobs() -> None:
    view = ClusterView.load([], [a_job("j-1")], [])
    history = (
        HistoryNew("j-1", 4, 1, "Execution", "Running", execution_id="e-1"),
        HistoryNew("j-1", 5, 1, "State Update", "Running"),
        HistoryNew("j-gone", 9, 1, "Execution", "late", execution_id="e-2"),
    )
    assert feed_of(Changes(history=history), view) == [
        Change("default", EXECUTION, "j-1", 4),
        Change("default", JOB, "j-1", 5),
    ]
    assert feed_of(Changes(), view) == []
