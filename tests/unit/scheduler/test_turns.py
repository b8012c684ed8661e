"""What nodes say is urgent, and a node may never stop talking: everything else has its turn all the same."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain import subjects
from skrei_domain.clock import ManualClock
from skrei_domain.envelope import wrap
from skrei_domain.lifecycle import Connection, ExecutionState, Membership
from skrei_domain.messages import FactBatch, Heartbeat, HelloExecution, NodeChanged
from skrei_kit.bus import Arrival
from skrei_scheduler import arrivals
from skrei_scheduler.arrivals import Arrivals
from skrei_scheduler.core import IN_A_ROW, Core
from skrei_scheduler.hellos import WAITING_HELLOS
from skrei_scheduler.specs import SpecCache
from skrei_scheduler.work import Commit, Reply
from skrei_scheduling.rows import Evaluation, NodeRow
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_hello, a_job, a_node, an_execution, counting_ids, locked
from tests.unit.scheduler.test_core import run

TURNS = 10 * IN_A_ROW


class Talker:
    """A node that has a new fact, or another hello, whenever the leader looks."""

    def __init__(self, core: Core, node: NodeRow) -> None:
        self.core, self.node, self.said = core, node, 0

    def fact(self) -> None:
        self.said += 1
        info = self.node.info.model_copy(update={"name": f"name {self.said}"})
        facts = (NodeChanged(info=info),)
        boot = self.node.boot_id
        self.core.on_facts(
            FactBatch(node_id=self.node.id, boot_id=boot, incarnation=1, first=self.said, facts=facts, writer=boot),
            None,
        )

    def hello(self) -> None:
        self.said += 1
        self.core.on_hello(a_hello(self.node, boot_id=f"boot-{self.said}"), "inbox")


def a_core(*nodes: NodeRow) -> Core:
    core = Core(ClusterView.load(nodes, [], []), timeline=1, epoch=1, now=0.0, ids=counting_ids())
    for node in nodes:
        core.on_hello(a_hello(node, boot_id=node.boot_id), "inbox")
    run(core, 0.0)
    return core


def while_talking(core: Core, talk: Callable[[], None], now: float) -> list[str]:
    """Return the names of the commits of so many turns, each after another word of the talker."""
    names = []
    for _ in range(TURNS):
        talk()
        work = core.next_work(now, NOW)
        if isinstance(work, Commit):
            names.append(work.name)
            rows = locked(*(job for job in core.view.jobs.values() if job.id in work.lock))
            work.after(work.decide(rows), now)
    return names


def test_jobs_are_placed_while_a_node_never_stops_telling_facts() -> None:
    talker = a_node("n-talks")
    core = a_core(talker, a_node("n-1"))
    core.on_evaluations([Evaluation("v-1", "j-1", "job-register", a_job("j-1"))])
    names = while_talking(core, Talker(core, talker).fact, 1.0)
    assert names.count("plan") == 1
    assert names.count("facts") >= TURNS - TURNS // IN_A_ROW, "and facts are what most turns go to"


def test_silence_is_told_while_a_node_never_stops_telling_facts() -> None:
    talker = a_node("n-talks")
    core = a_core(talker, a_node("n-1"), a_node("n-2"), a_node("n-3"))
    for second in range(1, 17):
        for node_id in ("n-talks", "n-2", "n-3"):
            core.on_heartbeat(a_beat(core.view.nodes[node_id]), float(second))
        core.on_tick(float(second))
    while_talking(core, Talker(core, talker).fact, 16.0)
    connections = {node.id: node.connection for node in core.view.nodes.values()}
    assert connections.pop("n-1") is Connection.DISCONNECTED
    assert set(connections.values()) == {Connection.CONNECTED}


def test_facts_are_settled_and_jobs_placed_while_a_node_never_stops_saying_hello() -> None:
    talker = a_node("n-talks")
    core = a_core(talker, a_node("n-1"))
    Talker(core, core.view.nodes["n-1"]).fact()
    core.on_evaluations([Evaluation("v-1", "j-1", "job-register", a_job("j-1"))])
    names = while_talking(core, Talker(core, talker).hello, 1.0)
    assert sorted(names) == ["facts", "plan"]


def test_others_are_greeted_and_taken_in_while_a_node_never_stops_saying_hello() -> None:
    talker, large = a_node("n-talks"), a_node("n-1", connected=False)
    job = a_job(count=6)
    rows = [
        an_execution(f"e-{n}", job=job, partition=n, state=ExecutionState.UNKNOWN, observed=ExecutionState.RUNNING)
        for n in range(6)
    ]
    core = Core(
        ClusterView.load([talker, large], [job], rows), timeline=1, epoch=1, now=0.0, ids=counting_ids(), piece=1
    )
    core.on_hello(a_hello(talker, boot_id=talker.boot_id), "inbox")
    run(core, 0.0)
    listed = (HelloExecution(execution_id=row.id, revision=1, state=ExecutionState.RUNNING) for row in rows)
    core.on_hello(a_hello(large, *listed), "inbox")
    while_talking(core, Talker(core, talker).hello, 1.0)
    assert {row.state for row in core.view.of_node("n-1")} == {ExecutionState.RUNNING}


def test_only_the_newest_hellos_of_a_node_wait() -> None:
    node = replace(a_node("n-talks"), membership=Membership.REJECTED)
    core = Core(ClusterView.load([node], [], []), timeline=1, epoch=1, now=0.0, ids=counting_ids())
    for number in range(50):
        core.on_hello(a_hello(node, boot_id=f"boot-{number}"), f"inbox-{number}")
    replies: list[str] = []
    while (work := core.next_work(0.0, NOW)) is not None:
        assert isinstance(work, list)
        replies += [each.to for each in work if isinstance(each, Reply)]
    assert replies == [f"inbox-{number}" for number in range(50 - WAITING_HELLOS, 50)]


async def test_the_stream_is_read_no_further_while_what_waits_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    core, payload = a_core(a_node("n-1")), a_payload("n-1")
    monkeypatch.setattr(arrivals, "QUEUED_BYTES", 2 * len(payload))
    reader = Arrivals(core, SpecCache(), Committing(core), send=nothing, work=lambda: None, look=lambda: None)
    for number in range(1, 4):
        await reader.on_facts(Arrival(payload, "made", number, subjects.fact("n-1")))
        assert core.waiting_fact_bytes == (number % 3) * len(payload), "the third waits until they are taken"


class Committing(ManualClock):
    """Whoever waits sees what waits committed."""

    def __init__(self, core: Core) -> None:
        super().__init__(NOW)
        self._core = core

    async def sleep(self, delay: timedelta) -> None:
        run(self._core, 0.0)


async def nothing(_: object) -> None:
    return None


def a_payload(node_id: str) -> bytes:
    node = a_node(node_id)
    batch = FactBatch(
        node_id=node_id, boot_id=node.boot_id, incarnation=1, first=1, facts=(NodeChanged(info=node.info),)
    )
    return wrap(batch, type_="skrei.facts.v1", source=node_id, id_="1")


def a_beat(node: NodeRow) -> Heartbeat:
    return Heartbeat(
        node_id=node.id, boot_id=node.boot_id, timeline=1, incarnation=1, sequence=node.confirmed, digest="0" * 16
    )
