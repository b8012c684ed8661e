"""The process `skrei-compute-agent` from outside: how it starts, ends, dies and refuses."""

import asyncio
import shutil
import signal
from pathlib import Path

from skrei_domain.lifecycle import ExecutionState
from tests.support.agent_leader import NatsServer, ScriptedLeader
from tests.support.agent_machine import a_task, an_order
from tests.support.agent_node import a_process

SECONDS = 20


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    async with asyncio.timeout(SECONDS):
        _, stderr = await process.communicate()
    return process.returncode, stderr.decode()


async def test_sigterm_says_that_it_leaves_and_ends_well(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    async with a_process(nats, tmp_path / "node") as process:
        await leader.until(lambda: len(leader.beats) > 0)
        process.send_signal(signal.SIGTERM)
        code, _ = await ended(process)
    assert code == 0
    await leader.until(lambda: leader.beats[-1].leaving)


async def test_a_killed_process_comes_back_as_the_same_node(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    async with a_process(nats, tmp_path / "node", SKREI_NODE_ID="") as process:
        await leader.until(lambda: len(leader.hellos) > 0)
        process.kill()
    first = leader.hellos[-1].node_id
    seen = len(leader.hellos)
    async with a_process(nats, tmp_path / "node", SKREI_NODE_ID=""):
        await leader.until(lambda: len(leader.hellos) > seen)
    assert leader.hellos[-1].node_id == first


async def test_what_it_cannot_run_is_refused_by_name(nats: NatsServer, leader: ScriptedLeader, tmp_path: Path) -> None:
    async with a_process(nats, tmp_path / "node"):
        await leader.greeted()
        await leader.run("e-1", an_order(a_task(Engine={"Type": "nowhere", "Params": {}})))
        fact = await leader.ended("e-1")
    assert fact.state is ExecutionState.REFUSED
    assert fact.problem is not None
    assert "no engine 'nowhere'" in fact.problem.message


async def test_two_processes_on_one_folder_meet_with_a_sentence(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    async with a_process(nats, tmp_path / "node"):
        await leader.greeted()
        async with a_process(nats, tmp_path / "node") as second:
            code, stderr = await ended(second)
    assert code == 1
    assert "another process uses the journal" in stderr
    assert "Traceback" not in stderr


async def test_a_copy_of_a_running_nodes_folder_is_refused_and_the_node_goes_on(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    async with a_process(nats, tmp_path / "node"):
        await leader.greeted()
        await leader.until(lambda: len(leader.beats) > 0)
        shutil.copytree(tmp_path / "node", tmp_path / "copy")
        async with a_process(nats, tmp_path / "copy") as copy:
            code, stderr = await ended(copy)
        await leader.run("e-1", an_order(a_task(Engine={"Type": "nowhere", "Params": {}})))
        assert (await leader.ended("e-1")).state is ExecutionState.REFUSED
    assert code == 1
    assert "held by another running process" in stderr


async def test_a_wrong_setting_is_named(nats: NatsServer, tmp_path: Path) -> None:
    async with a_process(nats, tmp_path / "node", SKREI_CAPACITY_CPU="many") as process:
        code, stderr = await ended(process)
    assert code == 1
    assert "SKREI_CAPACITY_CPU" in stderr
    assert "Traceback" not in stderr
