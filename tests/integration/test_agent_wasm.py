"""A node with its real plugins: WASI modules that come with the command, in a process of its own."""

from pathlib import Path

from skrei_domain.lifecycle import ExecutionState
from tests.support.agent_leader import NatsServer, ScriptedLeader
from tests.support.agent_machine import an_order
from tests.support.agent_node import a_process
from tests.support.wasm_task import wasm_task

HELLO = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "hello\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.const 3))))
"""
TRAP = '(module (memory (export "memory") 1) (func (export "_start") unreachable))'
FOREVER = '(module (memory (export "memory") 1) (func (export "_start") (loop $on (br $on))))'


async def test_a_module_runs_and_its_result_comes_with_the_fact(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    async with a_process(nats, tmp_path / "node"):
        await leader.greeted()
        assert "wasm" in {plugin.name for plugin in leader.hellos[0].info.engines}
        await leader.run("e-1", an_order(wasm_task(HELLO)))
        fact = await leader.ended("e-1")
    assert (fact.state, fact.exit_code, fact.problem) == (ExecutionState.COMPLETED, 3, None)
    assert fact.output is not None
    assert fact.output.stdout == "hello\n"
    assert fact.result is not None
    assert fact.result.inline is not None


async def test_a_trap_fails_with_its_message(nats: NatsServer, leader: ScriptedLeader, tmp_path: Path) -> None:
    async with a_process(nats, tmp_path / "node"):
        await leader.greeted()
        await leader.run("e-1", an_order(wasm_task(TRAP)))
        fact = await leader.ended("e-1")
    assert fact.state is ExecutionState.FAILED
    assert fact.problem is not None
    assert fact.problem.code == "trap"
    assert "unreachable" in fact.problem.message


async def test_a_module_that_is_none_and_an_export_that_is_none_say_so(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    broken = wasm_task(HELLO)
    broken["InputSources"][0]["Source"]["Params"]["URL"] = "data:application/wasm;base64,AAAA"
    async with a_process(nats, tmp_path / "node"):
        await leader.greeted()
        await leader.run("e-1", an_order(broken))
        await leader.run("e-2", an_order(wasm_task(HELLO, Entrypoint="nowhere")))
        await leader.run("e-3", an_order(wasm_task(HELLO, EntryModule=7)))
        facts = [await leader.ended(name) for name in ("e-1", "e-2", "e-3")]
    codes = [fact.problem.code if fact.problem else None for fact in facts]
    assert codes == ["module-invalid", "export-unknown", "invalid-params"]


async def test_a_runaway_module_is_ended_by_its_timeout_and_by_a_stop(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    async with a_process(nats, tmp_path / "node"):
        await leader.greeted()
        await leader.run("e-1", an_order(wasm_task(FOREVER), execution_timeout_seconds=0.3))
        await leader.run("e-2", an_order(wasm_task(FOREVER)))
        await leader.until(
            lambda: any(fact.execution_id == "e-2" and fact.state is ExecutionState.RUNNING for fact in leader.facts)
        )
        await leader.stop("e-2")
        timed, stopped = await leader.ended("e-1"), await leader.ended("e-2")
    assert timed.problem is not None
    assert timed.problem.code == "execution-timeout"
    assert stopped.state is ExecutionState.STOPPED


async def test_a_path_outside_the_allow_list_is_denied_by_name(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    task = wasm_task(HELLO)
    task["InputSources"].append({"Source": {"Type": "local", "Params": {"SourcePath": "/etc/passwd"}}, "Target": "/in"})
    async with a_process(nats, tmp_path / "node", SKREI_ALLOW_LOCAL=str(tmp_path)):
        await leader.greeted()
        await leader.run("e-1", an_order(task))
        fact = await leader.ended("e-1")
    assert fact.state is ExecutionState.FAILED
    assert fact.problem is not None
    assert fact.problem.code == "input-denied"
    assert "/etc/passwd" in fact.problem.message


async def test_a_killed_agent_takes_its_modules_along_and_starts_them_again_once(
    nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    async def running(start: int) -> None:
        await leader.until(
            lambda: any(
                fact.execution_id == "e-1" and fact.starts == start and fact.state is ExecutionState.RUNNING
                for fact in leader.facts
            )
        )

    for start in (1, 2):
        async with a_process(nats, tmp_path / "node") as process:
            await leader.greeted()
            if start == 1:
                await leader.run("e-1", an_order(wasm_task(FOREVER), local_restarts=1))
            await running(start)
            process.kill()
    async with a_process(nats, tmp_path / "node"):
        fact = await leader.ended("e-1")
    assert (fact.state, fact.starts) == (ExecutionState.FAILED, 2)
    assert fact.problem is not None
    assert fact.problem.code == "interrupted"
