"""The real agent process while its machine changes: engines, allowed paths and GPUs come and go."""

import os
from pathlib import Path

from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import RunOrder
from skrei_domain.node import NodeInfo
from tests.support import visitor
from tests.support.agent_leader import NatsServer, ScriptedLeader
from tests.support.agent_machine import a_task, an_order
from tests.support.agent_node import a_process

QUICK = {"SKREI_PROBE_SECONDS": "0.1", "SKREI_PROBE_LIMIT_SECONDS": "0.3"}
T4S = """#!/bin/sh
echo '0, GPU-aaaa, 00000000:00:1E.0, 15360, Tesla T4'
echo '1, GPU-bbbb, 00000000:00:1F.0, 15360, Tesla T4'
"""


def engines(info: NodeInfo) -> list[str]:
    return [plugin.name for plugin in info.engines]


def reason(info: NodeInfo, kind: str, name: str) -> str:
    return next((each.reason for each in info.absent if (each.kind, each.name) == (kind, name)), "")


def order(*, gpus: int = 0, hold: Path | None = None) -> RunOrder:
    params = {"Hold": str(hold)} if hold is not None else {}
    needs = {"CPU": "100m", "Memory": "10Mb", "GPU": str(gpus)}
    return an_order(a_task(Engine={"Type": "visitor", "Params": params}, Resources=needs))


async def test_an_engine_comes_goes_and_hangs_and_the_node_says_so(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    env = visitor.install(tmp_path / "packages")
    async with a_process(nats, tmp_path / "node", **env, **QUICK):
        await leader.greeted()
        assert "visitor" not in engines(leader.infos[-1])
        assert reason(leader.infos[-1], "engine", "visitor") == "sign is not there"
        visitor.comes(env)
        await leader.until(lambda: "visitor" in engines(leader.infos[-1]))
        assert {plugin.name: plugin.version for plugin in leader.infos[-1].engines}["visitor"] == "0.7"
        visitor.hangs(env)
        await leader.until(lambda: "visitor" not in engines(leader.infos[-1]))
        assert "has not answered within 0.3 s" in reason(leader.infos[-1], "engine", "visitor")
        heard = len(leader.beats)
        await leader.until(lambda: len(leader.beats) > heard + 5)  # the hanging probe delays no heartbeat
        known = len(leader.infos)
        await leader.until(lambda: len(leader.beats) > heard + 10)
        assert len(leader.infos) == known, "an answer that has not changed is no fact"


async def test_an_allowed_path_comes_and_goes_and_the_storage_with_it(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    allowed = {"SKREI_ALLOW_LOCAL": f"{first}/**,{second}/**"}

    def has_local(info: NodeInfo) -> bool:
        return any(plugin.name == "local" for plugin in info.storages)

    async with a_process(nats, tmp_path / "node", **allowed, **QUICK):
        await leader.greeted()
        assert not has_local(leader.infos[-1])
        assert reason(leader.infos[-1], "storage", "local") == f"not on this node: {first}, {second}"
        first.mkdir()
        await leader.until(lambda: leader.infos[-1].missing_paths == {f"{second}"})
        assert has_local(leader.infos[-1])
        second.mkdir()
        await leader.until(lambda: not leader.infos[-1].missing_paths)
        first.rmdir()
        second.rmdir()
        await leader.until(lambda: not has_local(leader.infos[-1]))


async def test_gpus_appear_are_handed_out_whole_and_are_the_same_after_a_crash(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    env = visitor.install(tmp_path / "packages")
    visitor.comes(env)
    tools, go = tmp_path / "bin", tmp_path / "go"
    tools.mkdir()
    env["PATH"] = f"{tools}:{os.environ['PATH']}"
    async with a_process(nats, tmp_path / "node", **env, **QUICK) as process:
        await leader.greeted()
        assert leader.infos[-1].capacity.gpu == 0
        (tools / "nvidia-smi").write_text(T4S)
        (tools / "nvidia-smi").chmod(0o755)
        await leader.until(lambda: leader.infos[-1].capacity.gpu == 2)
        assert leader.infos[-1].labels["GPU-1"] == "Tesla-T4"
        for execution_id in ("e-1", "e-2"):
            await leader.run(execution_id, order(gpus=1, hold=go))
            await leader.until(lambda wanted=execution_id: wanted in {f.execution_id for f in leader.facts})  # type: ignore[misc]
        await leader.run("e-3", order(gpus=1))
        refused = await leader.ended("e-3")
        process.kill()
    assert refused.state is ExecutionState.REFUSED
    assert refused.problem is not None
    assert "needs" in refused.problem.message
    assert "1 GPUs" in refused.problem.message
    go.touch()
    async with a_process(nats, tmp_path / "node", **env, **QUICK):
        said = {name: (await leader.ended(name)).output for name in ("e-1", "e-2")}
    assert {name: output.stdout for name, output in said.items() if output is not None} == {
        "e-1": "NVIDIA 0 GPU-aaaa\n",
        "e-2": "NVIDIA 1 GPU-bbbb\n",
    }
