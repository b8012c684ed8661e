import threading
from collections.abc import Iterator
from typing import Any

import pytest

from skrei.cli import live_logs, several_logs
from skrei.cli.ask import Ask
from skrei.cli.live_logs import LiveLogs
from skrei.cli.several_logs import labels_of
from skrei.log_query import LogQuery
from skrei.log_units import chosen
from skrei.progress import Progress
from skrei.views import Execution, Job, LogLine
from tests.support.fake_api import job


def an_execution(id_: str, task: str, partition: int, state: int = 9) -> Execution:
    document: dict[str, Any] = {
        "ID": id_, "JobID": "j-1", "NodeID": "n-1", "Task": task, "PartitionIndex": partition,
        "ComputeState": {"StateType": state}, "DesiredState": {"StateType": 1}, "Revision": 1,
        "CreateTime": 1, "ModifyTime": 1,
    }  # fmt: skip
    return Execution.parse(document)


ALL = (
    an_execution("e-1", "main", 0),
    an_execution("e-2", "main", 1, state=10),
    an_execution("e-3", "main", 0, state=10),
    an_execution("e-4", "main", 1, state=6),
    an_execution("e-5", "then", 0, state=6),
)


def test_of_each_unit_the_one_that_counts_is_chosen_else_the_newest() -> None:
    assert [one.id for one in chosen(ALL, LogQuery("j-1"))] == ["e-1", "e-4", "e-5"]
    assert [one.id for one in chosen(ALL, LogQuery("j-1", task="main"))] == ["e-1", "e-4"]
    assert [one.id for one in chosen(ALL, LogQuery("j-1", partition=0))] == ["e-1", "e-5"]


def test_a_line_says_what_tells_its_unit_from_the_others_and_no_more() -> None:
    assert labels_of(ALL) == {("main", 0): "main 0", ("main", 1): "main 1", ("then", 0): "then"}
    assert labels_of(ALL[:2]) == {("main", 0): "0", ("main", 1): "1"}


def test_what_runs_on_every_node_is_told_by_its_node() -> None:
    assert labels_of(ALL[:2], by_node=True) == {("main", 0): "n-1", ("main", 1): "n-1"}


class Node:
    """Says what each execution has said and says now, as far as that is asked for."""

    def __init__(self) -> None:
        self.asked: list[LogQuery] = []
        self.speaks = threading.Event()

    def frames(self, endpoint: str, query: LogQuery) -> Iterator[LogLine | None]:
        self.asked.append(query)
        yield None
        if not query.tail:
            yield LogLine(1, f"{query.execution} before\n")
        if query.follow:
            assert self.speaks.wait(30)
            yield LogLine(1, f"{query.execution} now\n")

    def looks(self, *found: tuple[Execution, ...]) -> Iterator[Progress]:
        """Yield looks that find this, the last of them the end; what is followed ends between them."""
        for number, executions in enumerate(found, 1):
            yield Progress(Job.parse(job("Completed" if number == len(found) else "Running")), (), executions)
            self.speaks.set()
            for thread in threading.enumerate():
                if isinstance(thread, LiveLogs):
                    thread.join()
            self.speaks.clear()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node()
    monkeypatch.setattr(live_logs, "frames", node.frames)
    monkeypatch.setattr(several_logs, "frames", node.frames)
    monkeypatch.setattr(several_logs, "MOST_FOLLOWED", 1)
    return node


FIRST, SECOND = an_execution("e-1", "main", 0, state=6), an_execution("e-2", "main", 1, state=6)
FIRST_ENDED, SECOND_ENDED = an_execution("e-1", "main", 0), an_execution("e-2", "main", 1)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        # The second has its turn once the first has ended: what it said before is still not asked for.
        ([(FIRST, SECOND), (FIRST_ENDED, SECOND), (FIRST_ENDED, SECOND_ENDED)], "e-1 now\ne-2 now\n"),
        # One that ends before its turn has said what it said before.
        ([(FIRST, SECOND), (FIRST_ENDED, SECOND_ENDED)], "e-1 now\n"),
        # One that began and ended between two looks has said nothing before.
        ([(FIRST,), (FIRST_ENDED, SECOND_ENDED)], "e-1 now\ne-2 before\n"),
        ([(FIRST_ENDED, SECOND), (FIRST_ENDED, SECOND_ENDED)], "e-2 now\n"),
    ],
)
def test_of_what_spoke_before_only_what_is_new_is_shown(
    found: list[tuple[Execution, ...]],
    told: str,
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(several_logs, "looks", lambda ask, job_id: node.looks(*found))
    several_logs.show(Ask("http://127.0.0.1:9"), found[-1], LogQuery("j-1", follow=True, tail=True))
    assert capfd.readouterr().out == told
    assert {query.tail for query in node.asked if query.follow} == {True}
