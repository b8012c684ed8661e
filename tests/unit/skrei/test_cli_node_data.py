"""`skrei node data …`: what a machine's owner says of it, in a file that its agent watches."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx2
import pytest

from skrei.cli import node_files
from skrei_domain.data_sets import DATA_FILE, MAX_DATA_SETS
from tests.support.fake_api import FakeApi
from tests.support.served_api import serving

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def agent(own_agent: Path, tmp_path: Path) -> Path:
    (tmp_path / "books").mkdir()
    return own_agent


@pytest.fixture
def run(printed: Run) -> Run:
    """Runs `skrei node data` with these words; returns its exit code and what it printed."""
    return partial(printed, "node", "data")


def declared(agent: Path) -> dict[str, str]:
    return json.loads((agent / DATA_FILE).read_text())


def test_what_is_added_is_listed_until_it_is_removed(agent: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run("add", "books", "books")
    assert (code, out) == (
        0,
        f"books is {tmp_path}/books: every job of the cluster that names it may read it.\n",
    )
    assert err == "No node runs here now: the cluster hears of it when one does.\n"
    run("add", "out", "./books:rw")
    assert declared(agent) == {"books": f"{tmp_path}/books:ro", "out": f"{tmp_path}/books:rw"}
    _, out, _ = run("list")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["books", f"{tmp_path}/books", "read"],
        ["out", f"{tmp_path}/books", "read,", "write"],
    ]
    (tmp_path / "books").rmdir()
    assert "not there" in run("list")[1]
    assert run("remove", "books")[0] == 0
    _, out, _ = run("list", "-o", "json")
    assert json.loads(out)["DataSets"] == [{"Name": "out", "Path": f"{tmp_path}/books", "ReadWrite": True}]


def test_who_adds_data_waits_until_the_cluster_knows_since_the_next_command_means_it(
    agent: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_files, "LOOK_SECONDS", 0.0)
    told: list[list[dict[str, object]]] = [[], [{"Name": "books", "ReadWrite": True}], [{"Name": "books"}], []]

    def node(_: httpx2.Request) -> httpx2.Response:
        sets = told.pop(0) if len(told) > 1 else told[0]
        return httpx2.Response(200, json={"Node": {"Info": {"NodeID": "n-1", "ComputeNodeInfo": {"DataSets": sets}}}})

    with serving(FakeApi({"GET /api/v1/orchestrator/nodes/n-1": node})) as url:
        stack = {"pid": os.getpid(), "api_url": url, "node_id": "n-1"}
        (agent.parent / "stack.json").write_text(json.dumps(stack))
        assert run("add", "books", "books")[2] == "The cluster knows: skrei node list --show data\n"
        assert told == [[]], "asked until it was told as it was meant"
        assert run("remove", "books")[2] == "The cluster knows: skrei node list --show data\n"
    assert "within 10 s" in run("add", "books", "books")[2], "nobody could be asked"


def test_a_name_that_is_taken_is_given_its_new_place(agent: Path, tmp_path: Path, run: Run) -> None:
    run("add", "books", "books:rw")
    run("add", "books", str(tmp_path))
    assert declared(agent) == {"books": f"{tmp_path}:ro"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "books", "none"), "none is not there.\nName a folder or file of this machine.\n"),
        (("add", "My Books", "books"), "'My Books' is no name of a data set: lower case letters"),
        (("remove", "boks"), "No data set boks was added here. Did you mean books?\n"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(agent: Path, run: Run, words: tuple[str, ...], told: str) -> None:
    run("add", "books", "books")
    before = declared(agent)
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert told in err
    assert declared(agent) == before


def test_without_a_node_there_is_nothing_to_add_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("SKREI_DATA_DIR", str(tmp_path / "none"))
    code, _, err = run("add", "books", str(tmp_path))
    assert code == 1
    assert f"There is no node of this user in {tmp_path}/none." in err
    assert "skrei serve" in err


def test_a_file_that_was_spoiled_by_hand_is_not_written_over(agent: Path, run: Run) -> None:
    (agent / DATA_FILE).write_text("{")
    code, _, err = run("add", "books", "books")
    assert code == 1
    assert "Mend or remove it." in err
    assert (agent / DATA_FILE).read_text() == "{"


def test_the_most_that_a_node_may_have_is_the_most_that_is_added(agent: Path, tmp_path: Path, run: Run) -> None:
    (agent / DATA_FILE).write_text(json.dumps({f"set{number}": str(tmp_path) for number in range(MAX_DATA_SETS)}))
    assert run("add", "books", "books")[0] == 1
    assert run("add", "set3", "books")[0] == 0


def test_the_folder_of_an_agent_itself_may_be_named(agent: Path, run: Run) -> None:
    assert run("add", "books", "books", "--data-dir", str(agent))[0] == 0
    assert "books" in declared(agent)


def test_a_list_of_nodes_shows_what_they_have(skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    sets = [
        {"Name": "books", "ReadWrite": False, "Size": 61_000_000, "AtLeast": False},
        {"Name": "logs", "ReadWrite": True, "Size": 5_000_000_000, "AtLeast": True},
        {"Name": "new", "ReadWrite": False},
    ]
    node = {"Info": {"NodeID": "n-1", "ComputeNodeInfo": {"DataSets": sets}}}
    api = FakeApi({"GET /api/v1/orchestrator/nodes": {"NextToken": "", "Nodes": [node]}})
    with serving(api) as url:
        assert skrei("node", "list", "--show", "data", "--api", url) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("books 61 MB, logs:rw >5.0 GB, new")
