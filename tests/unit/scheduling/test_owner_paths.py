"""Where work goes that wants paths which only the owner's own node hands out."""

from dataclasses import replace

import pytest

from skrei_domain.node import PATH, Absent
from skrei_domain.paths import LocalPath
from skrei_scheduling.explain import explain
from skrei_scheduling.feasibility import accepts, compute
from skrei_scheduling.plan import Plan
from skrei_scheduling.rows import JobRow, NodeRow
from skrei_scheduling.schedule import schedule
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_job, a_node, a_requirement, an_evaluation, counting_ids


def node(id_: str, *entries: str, owner: bool = False) -> NodeRow:
    made = a_node(id_)
    return replace(made, info=made.info.model_copy(update={"local_paths": entries, "owner_paths": owner}))


def job(*paths: LocalPath, count: int = 1) -> JobRow:
    made = a_job(count=count)
    task = replace(made.tasks[0], requirement=replace(a_requirement(), local=paths, owner=True))
    return replace(made, tasks=(task,), owner=True)


def plan(view: ClusterView, wanted: JobRow) -> Plan:
    return schedule(view, [an_evaluation(wanted)], NOW, 0, counting_ids())


def view_of(*nodes: NodeRow) -> ClusterView:
    return ClusterView.load(nodes, [], [])


HOME = LocalPath("/srv/mine/data")


def test_it_goes_to_the_node_that_hands_them_out_however_full_that_is() -> None:
    view = view_of(node("n-1"), node("n-2", "/data/**"), node("n-3", owner=True))
    placed = plan(view, job(HOME, count=3)).placements
    assert {row.node_id for row in placed} == {"n-3"}


def test_an_entry_of_a_joined_node_is_as_good() -> None:
    view = view_of(node("n-1"), node("n-2", "/srv/mine/**"))
    assert [row.node_id for row in plan(view, job(HOME)).placements] == ["n-2"]


def test_where_no_node_does_the_reason_names_path_and_command() -> None:
    view = view_of(node("n-1"), node("n-2", "/data/**"))
    assert plan(view, job(HOME)).placements == ()
    told = explain(job(HOME).tasks[0].requirement, view.matrix, view.nodes, requested=1, now=NOW)
    assert told.for_good
    assert "does not hand out /srv/mine/data; `skrei serve --allow-local '/srv/mine/data'`" in told.text


@pytest.mark.parametrize(
    ("made", "path", "good"),
    [
        (node("n", owner=True), HOME, True),
        (node("n", owner=True), LocalPath("/srv/mine/out", writes=True), False),
        (node("n", "/srv/mine/out:rw", owner=True), LocalPath("/srv/mine/out", writes=True), True),
        (node("n"), HOME, False),
    ],
)
def test_one_row_and_all_rows_say_the_same(made: NodeRow, path: LocalPath, good: bool) -> None:
    view = view_of(made)
    requirement = job(path).tasks[0].requirement
    assert bool(compute(requirement, view.matrix).possible[0]) is accepts(requirement, view.matrix, 0) is good


def test_a_node_that_changes_its_list_is_looked_at_anew() -> None:
    view = view_of(node("n-1"))
    requirement = job(HOME).tasks[0].requirement
    assert not view.feasibility.of(requirement).possible.any()
    view.matrix.set(node("n-1", "/srv/mine/data"), old=view.nodes["n-1"])
    assert view.feasibility.of(requirement).possible.all()


@pytest.mark.parametrize(
    ("path", "here"),
    [
        (LocalPath("/mnt/late"), False),
        (LocalPath("/mnt/late/part/1"), False),
        (LocalPath("/mnt/late/../late/part"), False),
        (LocalPath("/mnt/later"), True),
        (LocalPath("/mnt"), True),
        (LocalPath("/mnt/late/new", writes=True, creates=True), True),
    ],
)
@pytest.mark.parametrize("owner", [True, False])
@pytest.mark.row("4.8/locality")
def test_a_path_that_a_node_misses_now_is_not_looked_for_there(path: LocalPath, here: bool, owner: bool) -> None:
    made = node("n-1", "/mnt/late/**:rw" if path.writes else "/mnt/late/**", owner=True)
    away = made.info.model_copy(update={"absent": (Absent(kind=PATH, name="/mnt/late", reason="it is not there"),)})
    view = view_of(replace(made, info=away))
    requirement = replace(a_requirement(), local=(path,), owner=owner)
    assert bool(compute(requirement, view.matrix).possible[0]) is accepts(requirement, view.matrix, 0) is here
    if not here:
        told = explain(requirement, view.matrix, view.nodes, requested=1, now=NOW)
        assert f"{path.path} is not on this node now" in told.text


def anybodys(*paths: LocalPath, required: bool = False) -> JobRow:
    made = a_job()
    wanted = replace(a_requirement(), local=paths, handed_out=required)
    return replace(made, tasks=(replace(made.tasks[0], requirement=wanted),))


def test_a_node_that_hands_the_paths_out_is_liked_more_than_an_empty_one() -> None:
    view = view_of(node("n-1"), node("n-2", "/data/**"), node("n-3", "/other/**"))
    wanted = anybodys(LocalPath("/data/a"))
    view.matrix.reserve("n-2", a_requirement(cpu="1").resources)  # half of it is in use, and nothing of the others
    assert [row.node_id for row in plan(view, wanted).placements] == ["n-2"]


def test_the_more_of_the_paths_the_better_and_none_refuses_a_node() -> None:
    both = anybodys(LocalPath("/data/a"), LocalPath("/logs/b"))
    one, two, none = node("n-1", "/data/**"), node("n-2", "/data/**", "/logs/**"), node("n-3")
    assert [row.node_id for row in plan(view_of(one, two, none), both).placements] == ["n-2"]
    assert [row.node_id for row in plan(view_of(one, none), both).placements] == ["n-1"]
    assert [row.node_id for row in plan(view_of(none), both).placements] == ["n-3"], "it knows where its links lead"


def test_with_locality_required_no_other_node_is_asked() -> None:
    wanted = anybodys(LocalPath("/data/a", writes=True), required=True)
    view = view_of(node("n-1", owner=True), node("n-2", "/data/**"))
    assert plan(view, wanted).placements == ()
    told = explain(wanted.tasks[0].requirement, view.matrix, view.nodes, requested=1, now=NOW)
    assert told.for_good
    assert "does not hand out /data/a to be written; `skrei serve --allow-local '/data/a:rw'`" in told.text
    view = view_of(node("n-1", owner=True), node("n-2", "/data/**:rw"))
    assert [row.node_id for row in plan(view, wanted).placements] == ["n-2"]


def test_a_node_that_begins_to_hand_a_path_out_is_liked_from_then_on() -> None:
    view = view_of(node("n-1"), node("n-2"))
    wanted = anybodys(LocalPath("/data/a")).tasks[0].requirement
    assert view.feasibility.of(wanted).bonus is not None
    view.matrix.set(node("n-2", "/data/**"), old=view.nodes["n-2"])
    refreshed, afresh = view.feasibility.of(wanted).bonus, compute(wanted, view.matrix).bonus
    assert refreshed is not None
    assert afresh is not None
    assert refreshed.tolist() == afresh.tolist() == [0, 2_000]
