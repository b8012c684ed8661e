"""Jobs of several tasks as the client shows them: a folder for each task, and whose an execution is."""

from pathlib import Path
from typing import Any

import pytest

from skrei.client import AsyncClient
from skrei.job_parts import Result
from skrei.progress import Progress, best_attempts, of_several_tasks, unit_name
from skrei.result_names import part_names, task_folders
from skrei.results import Fetched, Wish, fetch
from skrei.views import Execution, Job
from tests.support.door import Door, archive, digest_of, names_below
from tests.support.fake_api import FakeApi, execution, job

BASE = "/api/v1/orchestrator/jobs/x"


def api_of(*left: tuple[str, int, bytes], nodes: tuple[tuple[str, str], ...] = ()) -> FakeApi:
    """An API whose job left this: (task, partition, archive) each; `nodes` are the id and name of who made each."""
    executions = [execution(number, partition) for number, (_, partition, _) in enumerate(left)]
    door = Door({str(one["ID"]): content for one, (_, _, content) in zip(executions, left, strict=True)})
    items = [
        {
            "Type": "urlDownload",
            "Params": {
                "URL": f"http://127.0.0.1:8/results/{one['ID']}.tar.gz?token=t",
                "ExecutionID": one["ID"],
                "PartitionIndex": partition,
                "Size": len(content),
                "Digest": digest_of(content),
                "Task": task,
            },
        }
        for one, (task, partition, content) in zip(executions, left, strict=True)
    ]
    for item, (node_id, name) in zip(items, nodes, strict=False):
        item["Params"] |= {"NodeID": node_id, "NodeName": name}  # type: ignore[operator]  # a dict of its own
    answers: dict[str, Any] = {f"GET {BASE}/results": {"NextToken": "", "Items": items}}
    return FakeApi(answers | {f"GET /results/{one['ID']}.tar.gz": door for one in executions})


async def fetched(api: FakeApi, target: Path, **wish: Any) -> Fetched:
    async with AsyncClient("http://127.0.0.1:9", transport=api.transport) as client:
        return await fetch(client, "x", target, Wish(**wish))


async def test_each_task_has_a_folder_in_which_its_partitions_lie_as_ever(tmp_path: Path) -> None:
    api = api_of(
        ("train", 0, archive(stdout="0", out__a="x")),
        ("train", 1, archive(stdout="1", out__b="y")),
        ("a/b", 0, archive(stdout="2")),
    )
    got = await fetched(api, tmp_path / "out")
    assert names_below(tmp_path / "out") == ["a_b/stdout", "train/out/a", "train/out/b", "train/stdout"]
    assert (tmp_path / "out/train/stdout").read_text() == "01"
    assert got.partitions == {
        "train/0": tmp_path / "out/train",
        "train/1": tmp_path / "out/train",
        "a/b/0": tmp_path / "out/a_b",
    }


async def test_what_clashes_in_one_task_keeps_that_task_s_partitions_apart_alone(tmp_path: Path) -> None:
    api = api_of(
        ("train", 0, archive(stdout="0", out__a="x")),
        ("train", 1, archive(stdout="1", out__a="y")),
        ("test", 0, archive(stdout="2")),
        ("test", 1, archive(stdout="3")),
    )
    got = await fetched(api, tmp_path / "out")
    assert names_below(tmp_path / "out") == ["test/stdout", "train/0/out/a", "train/1/out/a", "train/stdout"]
    assert got.clashes == ("train/out/a",)
    assert got.partitions["train/1"] == tmp_path / "out/train/1"
    assert got.partitions["test/1"] == tmp_path / "out/test"


async def test_partitions_apart_lie_below_their_task(tmp_path: Path) -> None:
    api = api_of(("a", 0, archive(stdout="0")), ("a", 1, archive(stdout="1")), ("b", 0, archive(stdout="2")))
    await fetched(api, tmp_path / "out", apart=True)
    assert names_below(tmp_path / "out") == ["a/0/stdout", "a/1/stdout", "b/stdout"]


async def test_results_that_lie_there_already_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "stdout").touch()
    api = api_of(("a", 0, archive(stdout="0")), ("b", 0, archive(stdout="1")))
    await fetched(api, tmp_path)
    assert names_below(tmp_path) == ["a/stdout", "b/stdout", "stdout"]


async def test_one_task_s_result_alone_lies_in_the_folder_itself(tmp_path: Path) -> None:
    await fetched(api_of(("a", 0, archive(stdout="0"))), tmp_path / "out")
    assert names_below(tmp_path / "out") == ["stdout"]


@pytest.mark.row("6.3/several-nodes")
async def test_what_each_node_left_lies_in_a_folder_named_as_it_calls_itself_also_of_one_alone(tmp_path: Path) -> None:
    two = api_of(
        ("", 0, archive(stdout="0")), ("", 1, archive(stdout="1")), nodes=(("n-1", "box one"), ("n-2", "box-two"))
    )
    got = await fetched(two, tmp_path / "two", by_node=True)
    assert names_below(tmp_path / "two") == ["box-two/stdout", "box_one/stdout"]
    assert got.by_node
    assert got.partitions == {"box_one": tmp_path / "two/box_one", "box-two": tmp_path / "two/box-two"}
    await fetched(api_of(("", 0, archive(stdout="0")), nodes=(("n-1", "box"),)), tmp_path / "one", by_node=True)
    assert names_below(tmp_path / "one") == ["box/stdout"]


async def test_of_several_tasks_on_several_nodes_each_task_has_its_nodes(tmp_path: Path) -> None:
    nodes = (("n-1", "one"), ("n-2", "two"), ("n-1", "one"))
    api = api_of(
        ("a", 0, archive(stdout="0")), ("a", 1, archive(stdout="1")), ("b", 0, archive(stdout="2")), nodes=nodes
    )
    got = await fetched(api, tmp_path / "out", by_node=True)
    assert names_below(tmp_path / "out") == ["a/one/stdout", "a/two/stdout", "b/one/stdout"]
    assert got.partitions["b/one"] == tmp_path / "out/b/one"


def made_on(*nodes: tuple[str, str]) -> list[Result]:
    return [
        Result(url="/", execution_id=f"e-{number}", partition=number, node_id=node_id, node_name=name)
        for number, (node_id, name) in enumerate(nodes)
    ]


def test_nodes_that_call_themselves_the_same_are_told_apart_by_their_ids() -> None:
    same = made_on(("n-11111111-a", "box"), ("n-22222222-b", "Box"), ("n-3", ""))
    assert part_names(same, by_node=True) == {"e-0": "box-n-11111111", "e-1": "Box-n-22222222", "e-2": "n-3"}
    assert part_names(same) == {"e-0": "0", "e-1": "1", "e-2": "2"}


def test_results_of_nodes_that_nobody_names_are_told_apart_by_partition() -> None:
    assert part_names(made_on(("", ""), ("", "")), by_node=True) == {"e-0": "0", "e-1": "1"}


def test_tasks_whose_names_are_one_to_a_file_system_have_folders_apart() -> None:
    names = ["a", "A", "a/", "..", "a_"]
    found = task_folders([Result(url="", execution_id=name, partition=0, task=name) for name in names])
    assert found == {"a": "a", "A": "A-2", "a/": "a_", "..": "result", "a_": "a_-2"}


def test_partitions_of_several_tasks_are_told_apart() -> None:
    documents = [
        execution(1, 0, Task="b"),
        execution(2, 0, Task="a"),
        execution(3, 1, Task="b", state=10),
        execution(4, 1, Task="b"),
    ]
    executions = [Execution.parse(each) for each in documents]
    best = best_attempts(executions)
    assert [(one.task, one.partition, one.state) for one in best] == [
        ("b", 0, "Completed"),
        ("b", 1, "Completed"),
        ("a", 0, "Completed"),
    ]
    assert of_several_tasks(best)
    assert unit_name(best[1], named=True) == "task b, partition 1"
    tasks = [{"Name": "b", "Count": 2}, {"Name": "a"}, {"Name": "c", "Count": 3}]
    looked = Progress(Job.parse(job(Tasks=tasks)), (), tuple(executions))
    assert looked.partitions == {"Completed": 3, "Waiting": 3}
