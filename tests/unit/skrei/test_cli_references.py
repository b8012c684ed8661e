"""How parts of a job are named on the command line, and what is told to who names one that there is not."""

from collections.abc import Callable

import httpx2
import pytest

from skrei.cli.archive_entries import Choice
from skrei.cli.references import MOST_NAMED, node_named, task_named
from skrei.errors import Rejected
from skrei.job_parts import Result
from skrei.views import Job
from tests.support.fake_api import FakeApi, job
from tests.support.served_api import serving

NODES = "/api/v1/orchestrator/nodes"
ONE = Job.parse(job())
SEVERAL = Job.parse(job(Tasks=[{"Name": "build"}, {"Name": "test"}]))
LEFT = [
    Result(url="/1", execution_id="e-1", partition=0, task="build", node_id="n-1a", node_name="box"),
    Result(url="/2", execution_id="e-2", partition=1, task="build", node_id="n-1b", node_name="tank"),
    Result(url="/3", execution_id="e-3", partition=0, task="test", node_id="n-1a", node_name="box"),
]


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        (Choice(), ["e-1", "e-2", "e-3"]),
        (Choice(task="build"), ["e-1", "e-2"]),
        (Choice(partition=0), ["e-1", "e-3"]),
        (Choice(task="test", partition=1), []),
        (Choice(node="box"), ["e-1", "e-3"]),
        (Choice(node="n-1b"), ["e-2"]),
        (Choice(task="build", node="box"), ["e-1"]),
    ],
)
def test_results_are_chosen_by_task_partition_and_node(choice: Choice, meant: list[str]) -> None:
    assert [one.execution_id for one in choice.of(SEVERAL, LEFT)] == meant


def test_the_task_of_a_job_of_one_may_be_named_although_its_results_do_not_tell_it() -> None:
    left = [Result(url="/", execution_id="e-1", partition=0)]
    assert Choice(task="main").of(ONE, left) == left
    with pytest.raises(Rejected, match="no task 'mian'"):
        Choice(task="mian").of(ONE, left)


def test_a_task_that_there_is_not_is_told_with_the_nearest_and_with_all() -> None:
    assert task_named("test", SEVERAL) == "test"
    with pytest.raises(Rejected) as raised:
        task_named("biuld", SEVERAL)
    assert raised.value.message == "The job has no task 'biuld'."
    assert raised.value.hint == "Did you mean build? Its tasks: build, test"
    many = Job.parse(job(Tasks=[{"Name": f"t{number}"} for number in range(MOST_NAMED + 2)]))
    with pytest.raises(Rejected) as raised:
        task_named("xyz", many)
    assert raised.value.hint.endswith(f"t{MOST_NAMED - 1}, and 2 more")


def state(node_id: str, name: str) -> dict[str, object]:
    return {"Info": {"NodeID": node_id, "Labels": {"name": name}}}


def test_a_node_is_looked_at_by_its_name_where_no_id_begins_so(skrei: Callable[..., int]) -> None:
    api = FakeApi({
        f"GET {NODES}/n-1a": {"Node": state("n-1a", "box")},
        f"PUT {NODES}/n-1a": {},
        f"GET {NODES}": {"Nodes": [state("n-1a", "box"), state("n-1b", "twin"), state("n-1c", "twin")]},
    })  # fmt: skip
    with serving(api) as url:
        for words in (("describe", "n-1a"), ("describe", "box"), ("reject", "box")):
            assert skrei("node", *words, "--api", url) == 0
    asked = [f"{request.method} {request.url.path}" for request in api.requests]
    assert asked[:4] == [f"GET {NODES}/n-1a", f"GET {NODES}/box", f"GET {NODES}", f"GET {NODES}/n-1a"]
    assert asked[4:] == [f"PUT {NODES}/box", f"GET {NODES}", f"PUT {NODES}/n-1a"]


def test_a_node_is_found_by_its_name_on_whatever_page_of_the_list_it_is(skrei: Callable[..., int]) -> None:
    def nodes(request: httpx2.Request) -> httpx2.Response:
        pages = {None: {"Nodes": [state("n-1a", "box")], "NextToken": "t"}, "t": {"Nodes": [state("n-1b", "late")]}}
        return httpx2.Response(200, json=pages[request.url.params.get("next_token") or None])

    with serving(FakeApi({f"GET {NODES}": nodes, f"PUT {NODES}/n-1b": {}})) as url:
        assert skrei("node", "reject", "late", "--api", url) == 0


def test_a_name_of_several_nodes_or_of_none_is_told(
    skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeApi({f"GET {NODES}": {"Nodes": [state("n-1b", "twin"), state("n-1c", "twin")]}})) as url:
        assert skrei("node", "reject", "twin", "--api", url) == 1
        assert capsys.readouterr().err == "Error: 2 nodes are named 'twin'.\nGive an id: n-1b, n-1c\n"
        assert skrei("node", "reject", "box", "--api", url) == 1
        assert capsys.readouterr().err.endswith("\nskrei node list shows what there is.\n")


def test_a_node_is_named_by_its_name_its_id_or_the_beginning_of_that() -> None:
    assert [node_named(typed, LEFT) for typed in ("box", "n-1a", "n-1b", "tank")] == ["n-1a", "n-1a", "n-1b", "n-1b"]
    with pytest.raises(Rejected) as raised:
        node_named("n-1", LEFT)
    assert (raised.value.message, raised.value.hint) == ("2 nodes are named 'n-1'.", "Give an id: n-1a, n-1b")
    with pytest.raises(Rejected) as raised:
        node_named("tnak", LEFT)
    assert raised.value.hint == "Did you mean tank? Nodes with one: box, tank"
