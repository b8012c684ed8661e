from typing import Any

from skrei.cli.several_logs import labels_of
from skrei.log_query import LogQuery
from skrei.log_units import chosen
from skrei.views import Execution


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
