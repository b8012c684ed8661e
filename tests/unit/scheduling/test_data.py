"""Where work goes that names data: to nodes that have it, all of them or one each, and what is said where none has."""

from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.job import parse_job
from skrei_domain.lifecycle import ExecutionState, JobState, Membership
from skrei_domain.node import NodeInfo
from skrei_scheduling import memory
from skrei_scheduling.changes import Changes
from skrei_scheduling.compile import compile_job
from skrei_scheduling.feasibility import accepts, compute
from skrei_scheduling.rows import JobRow, NodeRow
from tests.support.builders import NOW, a_job, a_node, a_requirement, a_task_plan
from tests.support.task_life import Life

S = ExecutionState
BOOKS = a_requirement(data=["books"])
SPLIT = a_task_plan("count", requirement=BOOKS, split=True)


def named(node: NodeRow, name: str) -> NodeRow:
    return replace(node, info=node.info.model_copy(update={"name": name}))


def nodes_of(life: Life, task: str = "") -> dict[int, str]:
    rows = life.record.executions.values()
    return {row.partition: row.node_id for row in rows if not task or row.task == task}


def state(life: Life) -> JobState:
    return life.record.jobs["j-1"].state


def told(life: Life) -> str:
    return life.record.messages["j-1"]


def test_it_goes_to_a_node_that_has_it_however_full_that_is() -> None:
    life = Life([a_job(count=5, requirement=BOOKS)], [a_node("n-1"), a_node("n-2", cpu="1", data=["books", "logs"])])
    life.plan()
    assert set(nodes_of(life).values()) == {"n-2"}


def test_what_is_only_to_be_read_is_not_handed_out_to_who_writes() -> None:
    writes = a_requirement(data=["books:rw"])
    life = Life([a_job(requirement=writes)], [a_node("n-1", data=["books"])])
    life.plan()
    assert state(life) is JobState.QUEUED
    assert "lets data set books be read, not written" in told(life)
    life.put(a_node("n-1", data=["books:rw"]))
    life.plan()
    assert nodes_of(life) == {0: "n-1"}


def test_the_mask_says_of_each_node_what_is_said_of_it_alone() -> None:
    life = Life([], [a_node("n-1", data=["books"]), a_node("n-2"), a_node("n-3", data=["books:rw", "logs"])])
    for wanted in (["books"], ["books:rw"], ["books", "logs"], ["none"], []):
        requirement, matrix = a_requirement(data=wanted), life.view.matrix
        mask = compute(requirement, matrix).possible
        assert [accepts(requirement, matrix, row) for row in range(matrix.rows)] == mask.tolist()


def test_where_no_node_has_it_the_job_waits_and_says_what_there_is() -> None:
    nodes = [
        named(a_node("n-1", data=["books"]), "oslo"),
        named(a_node("n-2", data=["books", "logs"]), "ship"),
        a_node("n-3"),
    ]
    life = Life([a_job(requirement=a_requirement(data=["boks"]))], nodes)
    life.plan()
    assert state(life) is JobState.QUEUED
    assert told(life) == (
        "waiting for data that no node has: boks, did you mean books? There are books (oslo, ship), logs (ship)"
    )
    life = Life([a_job(requirement=BOOKS)], [a_node()])
    life.plan()
    assert "`skrei node data add books PATH`" in told(life)


def test_what_lacks_more_than_data_is_refused_for_good_all_the_same() -> None:
    life = Life([a_job(requirement=a_requirement(engine="docker", data=["books"]))], [a_node(data=["logs"])])
    life.plan()
    assert state(life) is JobState.FAILED


def test_who_waits_for_data_is_woken_by_the_node_that_gets_it() -> None:
    life = Life([a_job(requirement=BOOKS)], [a_node("n-1"), a_node("n-2")])
    life.plan()
    assert state(life) is JobState.QUEUED
    life.put(a_node("n-2", data=["books"]))
    life.plan()
    assert nodes_of(life) == {0: "n-2"}


def test_an_ops_job_runs_on_every_holder_and_waits_while_there_is_none() -> None:
    life = Life([a_job(type="ops", requirement=BOOKS)], [a_node("n-1"), a_node("n-2")])
    life.plan()
    assert state(life) is JobState.QUEUED
    life.put(a_node("n-2", data=["books"]))
    life.plan()
    assert nodes_of(life) == {0: "n-2"}


def test_one_partition_runs_on_each_holder_and_count_follows() -> None:
    nodes = [a_node("n-1", data=["books"]), a_node("n-2"), named(a_node("n-3", data=["books:rw"]), "ship")]
    life = Life([a_job(tasks=[SPLIT])], nodes)
    life.plan()
    assert nodes_of(life) == {0: "n-1", 1: "n-3"}
    assert life.view.jobs["j-1"].units == 2
    assert "Split over the nodes that hold books: n-1, ship" in [each.message for each in life.record.history]
    life.end(life.live())
    assert state(life) is JobState.COMPLETED


def test_what_follows_waits_for_every_part_however_many_there_are() -> None:
    tasks = [a_task_plan("merge", "count"), SPLIT]
    life = Life([a_job(tasks=tasks)], [a_node(f"n-{number}", data=["books"]) for number in range(3)])
    life.plan()
    assert nodes_of(life, "count") == {0: "n-0", 1: "n-1", 2: "n-2"}
    life.end(life.live()[:2])
    life.plan()
    assert nodes_of(life, "merge") == {}
    life.end(life.live())
    life.plan()
    assert len(nodes_of(life, "merge")) == 1


def test_nothing_of_a_job_begins_before_its_parts_are_known() -> None:
    life = Life([a_job(tasks=[SPLIT, a_task_plan("side"), a_task_plan("merge", "count")])], [a_node("n-1")])
    life.plan()
    assert (nodes_of(life), state(life)) == ({}, JobState.QUEUED)
    assert told(life).startswith("Task count: waiting for data that no node has: books.")
    life.take_over()
    life.put(a_node("n-2", data=["books"]))
    life.plan()
    assert (nodes_of(life, "count"), len(nodes_of(life, "side"))) == ({0: "n-2"}, 1)


def test_a_later_holder_is_no_part_of_the_version_and_of_the_next() -> None:
    life = Life([a_job(tasks=[SPLIT])], [a_node("n-1", data=["books"])])
    life.plan()
    life.put(a_node("n-2", data=["books"]))
    life.plan()
    assert nodes_of(life) == {0: "n-1"}
    life.end(life.live())
    assert state(life) is JobState.COMPLETED
    life.record.update(a_job(tasks=[SPLIT]), life.ids("v"))
    life.plan()
    rows = [row for row in life.record.executions.values() if row.job_version == 2]
    assert {row.partition: row.node_id for row in rows} == {0: "n-1", 1: "n-2"}


def test_a_holder_that_is_away_when_it_is_split_is_named() -> None:
    away = named(a_node("n-2", data=["books"], connected=False), "ship")
    life = Life([a_job(tasks=[SPLIT])], [a_node("n-1", data=["books"]), away])
    life.plan()
    assert nodes_of(life) == {0: "n-1"}
    assert "Split over the nodes that hold books: n-1; ship too, away or closed now: no part of this version" in [
        each.message for each in life.record.history
    ]


def test_a_part_waits_for_its_own_node_and_runs_on_no_other() -> None:
    life = Life([a_job(tasks=[SPLIT])], [a_node("n-1", data=["books"]), a_node("n-2", cpu="2", data=["books"])])
    life.plan()
    first = next(row.id for row in life.record.executions.values() if row.node_id == "n-2")
    life.put(a_node("n-2"))  # it has lost it
    life.end([first], [S.REFUSED])
    life.later(60)
    life.plan()
    assert [row.node_id for row in life.record.executions.values()].count("n-2") == 1
    life.put(a_node("n-2", data=["books"]))
    life.plan()
    assert [row.node_id for row in life.record.executions.values()].count("n-2") == 2


@pytest.mark.parametrize("how", ["gone", "rejected"])
def test_a_part_whose_node_is_no_member_any_more_fails_the_job_with_what_to_do(how: str) -> None:
    life = Life([a_job(tasks=[SPLIT])], [a_node("n-1", data=["books"]), a_node("n-2", data=["books"])])
    life.plan()
    mine = next(row.id for row in life.record.executions.values() if row.node_id == "n-2")
    if how == "gone":
        del life.record.nodes["n-2"]
        life.apply(life.record.commit([], [], lambda _: Changes(nodes_gone=("n-2",))))
    else:
        life.put(a_node("n-2", data=["books"], membership=Membership.REJECTED))
    life.end([mine], [S.REFUSED])
    life.later(60)
    life.plan()
    assert state(life) is JobState.FAILED
    assert "`skrei job rerun`" in told(life)


def test_data_that_went_is_waited_for_a_while_on_every_node_of_an_ops_job() -> None:
    node = a_node("n-1", data=["books"])
    bare: NodeInfo = node.info.model_copy(update={"data": ()})
    lost = memory.renewed(node, bare, NOW)
    assert memory.waited_for(BOOKS, lost, NOW + timedelta(minutes=14))
    assert not memory.waited_for(BOOKS, lost, NOW + timedelta(minutes=16))
    assert memory.renewed(lost, node.info, NOW).gone == ()


def compiled(**more: object) -> JobRow:
    sources = [
        {"Source": {"Type": "data", "Params": {"Name": name, **extra}}, "Target": f"/{index}"}
        for index, (name, extra) in enumerate((("logs", {}), ("books", {"ReadWrite": True}), ("books", {"Path": "x"})))
    ]
    task = {"Name": "main", "Engine": {"Type": "wasm", "Params": {"EntryModule": "/m"}}, "InputSources": sources}
    spec, _ = parse_job({"Type": "batch", "Tasks": [task | more]})
    return compile_job(
        spec,
        id="j-1",
        namespace="default",
        name="x",
        generation=1,
        version=1,
        state=JobState.PENDING,
        created_at=NOW,
        targets={"n-1": 0, "n-2": 1} if more else None,
    )


def test_a_job_is_compiled_to_what_it_reads_and_writes() -> None:
    (task,) = compiled().tasks
    assert task.requirement.data == (("books", True), ("logs", False))
    assert task.requirement.storages == {"data"}
    assert (task.count, task.split) == (1, False)


def test_a_job_whose_holders_are_recorded_has_as_many_parts() -> None:
    job = compiled(Split="holder")
    assert (job.units, job.split) == (2, True)
