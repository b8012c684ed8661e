"""What nodes could do until a while ago: whatever changes on them, and whenever a leader takes over."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.lifecycle import JobState, Membership
from skrei_domain.node import NodeInfo
from skrei_scheduling.changes import Changes
from skrei_scheduling.explain import explain, refused_for_good
from skrei_scheduling.feasibility import accepts, compute
from skrei_scheduling.hope import HopelessRound
from skrei_scheduling.memory import ALWAYS, KEPT, MOST_GONE, last_seen, renewed, waited_for
from skrei_scheduling.rows import Evaluation, NodeRow, Requirement
from skrei_scheduling.schedule import schedule
from skrei_scheduling.view import ClusterView
from skrei_store.values import dump_gone, read_gone
from tests.property.test_schedule_placement import clusters, requirements
from tests.support.builders import NOW, a_job, a_node, counting_ids


@dataclass(frozen=True)
class Life:
    """A node's fingerprints, each with the moment from which it held, and the moment of the question."""

    infos: list[tuple[datetime, NodeInfo]]
    now: datetime

    def node(self) -> NodeRow:
        node = NodeRow("n-0", self.infos[0][1], boot_id="b")
        for at, info in self.infos[1:]:
            node = renewed(node, info, at)
        return node


@st.composite
def lives(draw: st.DrawFn) -> Life:
    at, infos = NOW, []
    for _ in range(draw(st.integers(1, 5))):
        info = a_node(
            "n-0",
            cpu=draw(st.sampled_from(["1", "4"])),
            memory=draw(st.sampled_from(["2GiB", "16GiB"])),
            gpu=draw(st.sampled_from([0, 2])),
            labels=draw(st.dictionaries(st.sampled_from(["region", "disk"]), st.sampled_from(["eu", "ssd"]))),
            engines=draw(st.sampled_from([("wasm",), ("WASM", "docker"), ()])),
            storages=draw(st.sampled_from([("inline", "local"), ("inline",)])),
        ).info
        infos.append((at, info))
        at += timedelta(minutes=draw(st.sampled_from([0, 1, 10, 14, 15, 40])))
    return Life(infos, at)


def able(requirement: Requirement, info: NodeInfo) -> bool:
    matrix = ClusterView.load([NodeRow("n-0", info)], [], []).matrix
    return accepts(requirement, matrix, 0)


@given(lives(), requirements())
def test_a_node_that_could_do_it_within_the_time_is_waited_for(life: Life, requirement: Requirement) -> None:
    node = life.node()
    seen = last_seen(requirement, node)
    assert (seen is ALWAYS) == able(requirement, node.info)
    ends = [at for at, _ in life.infos[1:]] + [life.now]
    could = [end for (_, info), end in zip(life.infos[:-1], ends, strict=False) if able(requirement, info)]
    if could and could[-1] > life.now - KEPT and seen is not ALWAYS:
        assert waited_for(requirement, node, life.now)
        assert seen is not None
        assert seen >= could[-1]
    if seen is not ALWAYS:
        assert not waited_for(requirement, node, ends[-1] + KEPT)


@given(lives(), requirements())
def test_what_never_was_there_is_not_waited_for(life: Life, requirement: Requirement) -> None:
    node = life.node()
    if not any(requirement.engine in {each.name.lower() for each in info.engines} for _, info in life.infos):
        assert last_seen(requirement, node) is None
        assert not waited_for(requirement, node, life.now)


@given(lives())
def test_the_memory_is_bounded_and_holds_nothing_that_is_there(life: Life) -> None:
    node = life.node()
    assert len(node.gone) <= MOST_GONE
    engines = {each.name.lower() for each in node.info.engines}
    assert not {each.name for each in node.gone if each.kind == "engine"} & engines
    assert len({(each.kind, each.name, each.value, each.amount) for each in node.gone}) == len(node.gone)
    assert read_gone(dump_gone(node.gone)) == node.gone


@given(clusters(), st.lists(lives(), min_size=1, max_size=1), requirements(), st.sampled_from([0, 5, 14, 15, 60]))
def test_a_job_fails_for_good_only_when_every_known_node_has_lost_it_for_long(
    nodes: list[NodeRow], changing: list[Life], requirement: Requirement, minutes: int
) -> None:
    life = changing[0]
    now = life.now + timedelta(minutes=minutes)
    cluster = [node for node in nodes if node.id != "n-0"] + [a_node_of(life)]
    view = ClusterView.load(cluster, [], [])
    job = a_job(requirement=requirement)
    decision = schedule(view, [Evaluation("v-1", job.id, "job-register", job)], now, 0, counting_ids()).decisions[0]
    known = [node for node in cluster if node.membership is not Membership.REJECTED]
    hopes = [node.id for node in known if waited_for(requirement, node, now)]
    good = refused_for_good(requirement, view.matrix, view.feasibility, view.nodes, now)
    assert (decision.failure is not None) == good
    told = explain(requirement, view.matrix, view.nodes, requested=1, now=now)
    assert told.for_good == good
    if decision.failure is None and not decision.place and "n-0" in hopes and not able(requirement, life.infos[-1][1]):
        assert "ago, and is waited for until" in told.text
    if good:
        assert not hopes


def a_node_of(life: Life) -> NodeRow:
    node = life.node()
    fresh = a_node("n-0")
    return NodeRow("n-0", node.info, fresh.membership, fresh.connection, "b", 1, gone=node.gone)


@given(clusters(), st.lists(requirements(), min_size=1, max_size=4), st.data())
def test_what_is_remembered_of_a_class_is_what_a_look_at_all_nodes_finds(
    nodes: list[NodeRow], classes: list[Requirement], data: st.DataObject
) -> None:
    view = ClusterView.load(nodes, [], [])
    for changed in data.draw(st.lists(clusters(), max_size=3)):
        asked = data.draw(st.sets(st.sampled_from(range(len(classes)))))
        for number in asked:
            could = bool(compute(classes[number], view.matrix).possible.any())
            assert view.feasibility.could(classes[number]) == could
        view.apply(Changes(nodes=tuple(changed)))
    for requirement in classes:
        assert view.feasibility.could(requirement) == bool(compute(requirement, view.matrix).possible.any())


@given(clusters(), st.lists(requirements(), max_size=8))
def test_a_round_finds_in_small_looks_what_one_look_would(nodes: list[NodeRow], classes: list[Requirement]) -> None:
    jobs = [a_job(f"j-{n}", requirement=each, state=JobState.QUEUED) for n, each in enumerate(classes)]
    view = ClusterView.load(nodes, jobs, [])
    whole = HopelessRound(view).look(NOW, most=100)
    looks, found = HopelessRound(view), list[str]()
    while looks:
        found += looks.look(NOW, most=1)
        for job_id in found:
            view.waiting.drop(job_id)
    assert sorted(found) == sorted(whole)


@given(lives(), requirements(), st.sampled_from([0, 14, 15]))
def test_a_waiting_job_is_found_once_nothing_can_come_and_not_before(
    life: Life, requirement: Requirement, minutes: int
) -> None:
    node = a_node_of(life)
    now = life.now + timedelta(minutes=minutes)
    job = a_job(requirement=requirement, state=JobState.QUEUED)
    patient = a_job("j-2", requirement=requirement, state=JobState.QUEUED, queue_timeout=timedelta(hours=9))
    view = ClusterView.load([node], [job, patient], [])
    good = refused_for_good(requirement, view.matrix, view.feasibility, view.nodes, now)
    looks = HopelessRound(view)
    assert looks.look(now, most=0) == []
    assert bool(looks) == good, "what was not taken is left"
    assert HopelessRound(view).look(now, most=10) == (["j-1"] if good else [])
