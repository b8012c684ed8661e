"""`skrei node data …`: what a machine's owner says of it, in a file that its agent watches."""

import json
import sys
from pathlib import Path

import pytest

from skrei.cli.main import main
from skrei_domain.data_sets import DATA_FILE, MAX_DATA_SETS
from tests.support.fake_api import FakeApi
from tests.support.served_api import serving


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of this user's node, in whose usual place everything is looked for."""
    monkeypatch.setenv("SKREI_DATA_DIR", str(tmp_path / "stack"))
    monkeypatch.delenv("SKREI_API_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "stack" / "agent"
    (folder / "journal").mkdir(parents=True)
    (tmp_path / "books").mkdir()
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = skrei("node", "data", *words)
    told = capsys.readouterr()
    return code, told.out, told.err


def skrei(*words: str) -> int:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["skrei", *words])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


def declared(agent: Path) -> dict[str, str]:
    return json.loads((agent / DATA_FILE).read_text())


def test_what_is_added_is_listed_until_it_is_removed(
    agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "add", "books", "books")
    assert (code, out) == (
        0,
        f"books is {tmp_path}/books: every job of the cluster that names it may read it.\n",
    )
    assert err == "No node runs here now: the cluster hears of it when one does.\n"
    run(capsys, "add", "out", "./books:rw")
    assert declared(agent) == {"books": f"{tmp_path}/books:ro", "out": f"{tmp_path}/books:rw"}
    _, out, _ = run(capsys, "list")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["books", f"{tmp_path}/books", "read"],
        ["out", f"{tmp_path}/books", "read,", "write"],
    ]
    (tmp_path / "books").rmdir()
    assert "not there" in run(capsys, "list")[1]
    assert run(capsys, "remove", "books")[0] == 0
    _, out, _ = run(capsys, "list", "-o", "json")
    assert json.loads(out)["DataSets"] == [{"Name": "out", "Path": f"{tmp_path}/books", "ReadWrite": True}]


def test_a_name_that_is_taken_is_given_its_new_place(
    agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "add", "books", "books:rw")
    run(capsys, "add", "books", str(tmp_path))
    assert declared(agent) == {"books": f"{tmp_path}:ro"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "books", "none"), "none is not there.\nName a folder or file of this machine.\n"),
        (("add", "My Books", "books"), "'My Books' is no name of a data set: lower case letters"),
        (("remove", "boks"), "No data set boks was added here. Did you mean books?\n"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(
    agent: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    run(capsys, "add", "books", "books")
    before = declared(agent)
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "")
    assert told in err
    assert declared(agent) == before


def test_without_a_node_there_is_nothing_to_add_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKREI_DATA_DIR", str(tmp_path / "none"))
    code, _, err = run(capsys, "add", "books", str(tmp_path))
    assert code == 1
    assert f"There is no node of this user in {tmp_path}/none." in err
    assert "skrei serve" in err


def test_a_file_that_was_spoiled_by_hand_is_not_written_over(agent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (agent / DATA_FILE).write_text("{")
    code, _, err = run(capsys, "add", "books", "books")
    assert code == 1
    assert "Mend or remove it." in err
    assert (agent / DATA_FILE).read_text() == "{"


def test_the_most_that_a_node_may_have_is_the_most_that_is_added(
    agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (agent / DATA_FILE).write_text(json.dumps({f"set{number}": str(tmp_path) for number in range(MAX_DATA_SETS)}))
    assert run(capsys, "add", "books", "books")[0] == 1
    assert run(capsys, "add", "set3", "books")[0] == 0


def test_the_folder_of_an_agent_itself_may_be_named(agent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "add", "books", "books", "--data-dir", str(agent))[0] == 0
    assert "books" in declared(agent)


def test_a_list_of_nodes_shows_what_they_have(capsys: pytest.CaptureFixture[str]) -> None:
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
