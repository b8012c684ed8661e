"""`skrei node service …`: what of a machine jobs may use by name, in a file that its agent watches."""

import itertools
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from skrei.cli import node_files
from skrei_domain.node_services import MAX_SERVICES, SERVICES_FILE
from tests.support.fake_api import FakeApi
from tests.support.served_api import serving

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def agent(own_agent: Path, tmp_path: Path) -> Path:
    (tmp_path / "x.duckdb").touch()
    return own_agent


@pytest.fixture
def run(printed: Run) -> Run:
    """Runs `skrei node service` with these words; returns its exit code and what it printed."""
    return partial(printed, "node", "service")


def offered(agent: Path) -> dict[str, str]:
    return json.loads((agent / SERVICES_FILE).read_text())


def test_what_is_added_is_listed_until_it_is_removed(agent: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run("add", "mongodb", "127.0.0.1:27017")
    assert (code, out) == (0, "mongodb is 127.0.0.1:27017: every job of the cluster that names it may use it.\n")
    assert err == "No node runs here now: the cluster hears of it when one does.\n"
    _, out, _ = run("add", "duckdb", "./x.duckdb:rw")
    assert out == f"duckdb is {tmp_path}/x.duckdb: every job of the cluster that names it may read and write it.\n"
    assert offered(agent) == {"mongodb": "127.0.0.1:27017", "duckdb": f"file://{tmp_path}/x.duckdb:rw"}
    (tmp_path / "x.duckdb").unlink()
    _, out, _ = run("list")
    assert [line.split(maxsplit=2) for line in out.splitlines()[1:]] == [
        ["duckdb", f"{tmp_path}/x.duckdb", "read, write  not there"],
        ["mongodb", "127.0.0.1:27017", "use"],
    ]
    assert run("remove", "duckdb")[0] == 0
    _, out, _ = run("list", "-o", "json")
    assert json.loads(out)["Services"] == [
        {"Name": "mongodb", "Kind": "address", "Address": "127.0.0.1:27017", "ReadWrite": False}
    ]


def test_who_adds_what_does_not_answer_is_told_so(agent: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(0, node_files.KNOWN_SECONDS / 3)
    monkeypatch.setattr(node_files, "time", SimpleNamespace(monotonic=lambda: next(ticks), sleep=lambda _: None))
    away = [
        {"Kind": "data", "Name": "mongodb", "Reason": "of another kind"},
        {"Kind": "service", "Name": "mongodb", "Reason": "nothing answers at its address"},
    ]
    node = {"Node": {"Info": {"NodeID": "n-1", "ComputeNodeInfo": {"Services": [], "Absent": away}}}}
    with serving(FakeApi({"GET /api/v1/orchestrator/nodes/n-1": node})) as url:
        (agent.parent / "stack.json").write_text(json.dumps({"pid": os.getpid(), "api_url": url, "node_id": "n-1"}))
        told = run("add", "mongodb", "127.0.0.1:27017")[2]
    assert told.startswith("The node cannot use mongodb now: nothing answers at its address.")
    assert "The cluster knows" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "x", "file:///none"), "/none is not there.\nName a file or folder of this machine.\n"),
        (("add", "My DB", "h:1"), "'My DB' is no name of a service: lower case letters"),
        (("add", "db", "mongodb://h:1"), "'mongodb://h:1' is not where a service is: an address such as"),
        (("add", "db", "27017"), "For example skrei node service add mongodb 127.0.0.1:27017"),
        (("remove", "mongo"), "No service mongo was added here. Did you mean mongodb?\n"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(agent: Path, run: Run, words: tuple[str, ...], told: str) -> None:
    run("add", "mongodb", "127.0.0.1:27017")
    before = offered(agent)
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert told in err
    assert offered(agent) == before


def test_the_most_that_a_node_may_have_is_the_most_that_is_added(agent: Path, run: Run) -> None:
    (agent / SERVICES_FILE).write_text(json.dumps({f"s{number}": "h:1" for number in range(MAX_SERVICES)}))
    assert run("add", "db", "h:1")[0] == 1
    assert run("add", "s3", "h:2")[0] == 0


def test_a_list_of_nodes_shows_what_they_offer(skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    some = [
        {"Name": "duckdb", "Kind": "file", "ReadWrite": True},
        {"Name": "mongodb", "Kind": "address", "ReadWrite": False},
    ]
    node = {"Info": {"NodeID": "n-1", "ComputeNodeInfo": {"Services": some}}}
    with serving(FakeApi({"GET /api/v1/orchestrator/nodes": {"NextToken": "", "Nodes": [node]}})) as url:
        assert skrei("node", "list", "--show", "services", "--api", url) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("duckdb (file:rw), mongodb")
