"""A node against a real nats-server and a scripted leader: what is promised over crashes, silence and repeats."""

import asyncio
import base64
from dataclasses import replace
from pathlib import Path

import pytest

from skrei_compute_agent.greeter import NodeRefused
from skrei_domain.errors import SkreiError
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import Problem
from skrei_kit import nats_auth
from tests.support.agent_leader import NatsServer, ScriptedLeader, a_leader, a_nats_server
from tests.support.agent_machine import NODE, an_order
from tests.support.agent_node import Script, ScriptedWork, a_node
from tests.support.executions import held


@pytest.fixture
def work() -> ScriptedWork:
    return ScriptedWork()


async def test_a_command_becomes_one_terminal_fact(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        work.scripts["e-1"] = Script(exit_code=3)
        await leader.run("e-1", an_order())
        fact = await leader.ended("e-1")
        assert (fact.state, fact.exit_code, fact.starts) == (ExecutionState.COMPLETED, 3, 1)
        assert [step.state for step in fact.steps][-1] is ExecutionState.COMPLETED


async def test_a_failed_stage_is_told_with_its_code(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    class Denied(SkreiError):
        """An input that nobody may have."""

        code = "input-denied"

    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        work.scripts["e-1"] = Script(problem=Denied("/etc is not allowed here", hint="ask the owner"))
        await leader.run("e-1", an_order())
        fact = await leader.ended("e-1")
        assert fact.problem == Problem(code="input-denied", message="/etc is not allowed here (ask the owner)")


async def test_a_stop_kills_what_runs(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        script = work.scripts["e-1"] = Script(gated=True)
        await leader.run("e-1", an_order())
        await script.running.wait()
        await leader.stop("e-1")
        fact = await leader.ended("e-1")
        assert (fact.state, fact.revision) == (ExecutionState.STOPPED, 2)
        assert work.killed == ["e-1"]


async def test_an_execution_timeout_ends_it(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        work.scripts["e-1"] = Script(gated=True)
        await leader.run("e-1", an_order(execution_timeout_seconds=0.05))
        fact = await leader.ended("e-1")
        assert fact.problem is not None
        assert fact.problem.code == "execution-timeout"


async def test_three_hundred_commands_each_end_once_and_their_files_go(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        task = {"Name": "main", "Engine": {"Type": "scripted"}, "Resources": {"CPU": "1m", "Memory": "1Mb"}}
        names = [f"e-{number}" for number in range(300)]
        for name in names:
            await leader.run(name, an_order(task))
        for name in names:
            await leader.ended(name)
        ends = [fact.execution_id for fact in leader.facts if fact.state.is_terminal]
        assert sorted(ends) == sorted(names)
        await work.has_dropped(300)
    assert sorted(work.dropped) == sorted(names)
    assert not held(tmp_path / "node" / "executions")


async def test_a_node_that_dies_goes_on_from_its_journal(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    script = work.scripts["e-1"] = Script(gated=True)
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        await leader.run("e-1", an_order())
        await script.running.wait()
    await leader.until(lambda: leader.beats[-1].leaving)
    assert [fact for fact in leader.facts if fact.state.is_terminal] == []
    script.gated = False
    async with a_node(tmp_path / "node", nats.url, work):
        fact = await leader.ended("e-1")
    assert (fact.state, fact.starts) == (ExecutionState.COMPLETED, 2)
    assert work.starts == [("e-1", 1), ("e-1", 2)]


async def test_a_cut_off_node_finishes_its_work_and_tells_it_when_the_link_is_back(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    script = work.scripts["e-1"] = Script(gated=True)
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        await leader.run("e-1", an_order())
        await script.running.wait()
        nats.kill()
        nats.wipe()
        script.gate.set()
        hellos = len(leader.hellos)
        nats.start()
        await leader.until(lambda: len(leader.hellos) > hellos)
        fact = await leader.ended("e-1")
        assert fact.state is ExecutionState.COMPLETED
        await leader.make_streams()  # the fact may come before the hello that re-makes them
        await leader.run("e-2", an_order())
        assert (await leader.ended("e-2")).state is ExecutionState.COMPLETED
    assert work.starts == [("e-1", 1), ("e-2", 1)]


async def test_unconfirmed_facts_are_told_again_by_the_next_process(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    leader.confirming = False
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        await leader.run("e-1", an_order())
        await leader.ended("e-1")
    assert work.dropped == []
    leader.confirming = True
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.until(lambda: len(leader.hellos) > 2 and leader.hellos[-1].boot_id != leader.hellos[0].boot_id)
        await leader.run("e-2", an_order())
        await leader.ended("e-2")
    assert work.starts == [("e-1", 1), ("e-2", 1)]
    assert [fact.execution_id for fact in leader.facts if fact.state.is_terminal] == ["e-1", "e-2"]
    assert "e-1" in work.dropped


async def test_a_command_that_is_repeated_runs_once(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        await leader.run("e-1", an_order())
        await leader.command("e-1")
        await leader.command("e-1")
        await leader.run("e-2", an_order())
        await leader.ended("e-2")
    assert work.starts == [("e-1", 1), ("e-2", 1)]


async def test_heartbeats_come_at_the_interval_that_hello_told(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.until(lambda: len(leader.beats) >= 3)
        assert leader.side.heartbeat(leader.log, leader.beats[-1], 0.0) is None


async def test_a_refused_node_ends_with_a_sentence(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    leader.refusal = Problem(code="duplicate-node", message="node id n-test is held by another running process")
    async with a_node(tmp_path / "node", nats.url, work) as node:
        with pytest.raises(ExceptionGroup) as raised:
            await node
    assert raised.group_contains(NodeRefused, match="held by another running process")


async def test_a_busy_leader_is_asked_again(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    leader.refusal = Problem(code="busy", message="asking the other process")
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.until(lambda: len(leader.hellos) >= 2)
        leader.refusal = None
        await leader.greeted()


async def test_a_node_makes_its_id_and_keeps_it(nats: NatsServer, work: ScriptedWork, tmp_path: Path) -> None:
    seen = []
    async with a_leader(nats.url, NODE) as leader:
        for _ in range(2):
            before = len(leader.hellos)
            async with a_node(tmp_path / "node", nats.url, work, node_id=""):
                await leader.until(lambda before=before: len(leader.hellos) > before)  # type: ignore[misc]
            seen.append(leader.hellos[-1].node_id)
    assert seen[0].startswith("n-")
    assert seen[0] == seen[1]


# ---------------------------------------------------------------- logs


async def text_of(leader: ScriptedLeader, execution_id: str, *, follow: bool = False, tail: bool = False) -> str:
    return "".join([chunk.data async for chunk in leader.read_log(execution_id, follow=follow, tail=tail)])


async def test_output_is_followed_until_the_end_and_misses_nothing(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    script = work.scripts["e-1"] = Script(gated=True, stdout=b"first\n")
    leader.confirming = False  # so that the files stay
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        await leader.run("e-1", an_order())
        await script.running.wait()
        assert await text_of(leader, "e-1") == "first\n"
        following = asyncio.create_task(text_of(leader, "e-1", follow=True))
        new_only = asyncio.create_task(text_of(leader, "e-1", follow=True, tail=True))
        chunks = leader.read_log("e-1", follow=True)
        assert (await anext(chunks)).data == ""  # the node has it, however quiet it is
        assert (await anext(chunks)).data == "first\n"
        await chunks.aclose()  # type: ignore[attr-defined]
        places = work.folders.latest("e-1")
        assert places is not None
        await asyncio.sleep(0.2)  # both readers have opened the file: nothing tells from outside
        with places.stdout.open("ab") as file:
            file.write("sÿcond\n".encode())
        script.gate.set()
        assert await following == "first\nsÿcond\n"
        assert await new_only == "sÿcond\n"
        assert await text_of(leader, "e-1") == "first\nsÿcond\n"


async def test_a_flood_of_output_comes_whole_and_in_order(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    flood = base64.b64encode(bytes(range(256)) * 8_000)
    work.scripts["e-1"] = Script(gated=True, stdout=flood)
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        await leader.run("e-1", an_order())
        await work.script("e-1").running.wait()
        chunks = [chunk async for chunk in leader.read_log("e-1")]
    assert "".join(chunk.data for chunk in chunks).encode() == flood
    assert [chunk.sequence for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert max(len(chunk.data) for chunk in chunks) <= 32 * 1024


async def test_an_execution_that_is_not_here_is_answered_at_once(
    nats: NatsServer, leader: ScriptedLeader, work: ScriptedWork, tmp_path: Path
) -> None:
    async with a_node(tmp_path / "node", nats.url, work):
        await leader.greeted()
        await leader.until(lambda: len(leader.beats) > 1)
        (chunk,) = [chunk async for chunk in leader.read_log("e-none", follow=True)]
    assert chunk.problem is not None
    assert chunk.problem.code == "not-found"


# ---------------------------------------------------------------- rights


async def test_a_node_needs_no_more_than_its_own_branches(work: ScriptedWork, tmp_path: Path) -> None:
    authority = nats_auth.Authority.new()
    config = nats_auth.server_config(authority)
    node_creds, leader_creds = tmp_path / "node.creds", tmp_path / "leader.creds"
    node_creds.write_text(nats_auth.user_creds(authority, NODE, nats_auth.node(NODE)))
    leader_rights = nats_auth.scheduler()
    reader_rights = nats_auth.api()  # the scripted leader also reads logs
    both = replace(
        leader_rights,
        publish=leader_rights.publish + reader_rights.publish,
        subscribe=leader_rights.subscribe + reader_rights.subscribe,
    )
    leader_creds.write_text(nats_auth.user_creds(authority, "leader", both))
    work.scripts["e-1"] = Script(gated=True, stdout=b"hello\n")
    with a_nats_server(tmp_path / "nats", config) as server:
        async with (
            a_leader(server.url, NODE, creds=leader_creds) as leader,
            a_node(tmp_path / "node", server.url, work, creds=node_creds),
        ):
            await leader.greeted()
            await leader.run("e-1", an_order())
            await work.script("e-1").running.wait()
            assert await text_of(leader, "e-1") == "hello\n"
            work.script("e-1").gate.set()
            assert (await leader.ended("e-1")).state is ExecutionState.COMPLETED
            await work.has_dropped(1)
            await leader.until(lambda: len(leader.beats) > 0)
