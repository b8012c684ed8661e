"""How wasm programs are stopped: a file appears for those that have a grace, and what they made until then is kept."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from skrei_plugin_api.testing import Behaviour, Running, eventually
from skrei_plugin_wasm.process import Reply
from tests.support.wasm_engine import Bench, alive, begun
from tests.support.wat import behaving, module

STOP_FD = 4
"""Where `/skrei` is open in a program without outputs: after its root."""
_OPENS = f"""
  (call $path_open (i32.const {STOP_FD}) (i32.const 0) (i32.const 1100) (i32.const 4) (i32.const 0) (i64.const 2)
    (i64.const 0) (i32.const 0) (i32.const 12))"""
WAITS = module(
    f"""
  (call $write (i32.const 1) (i32.const 1024) (i32.const 3))
  (loop $on (br_if $on {_OPENS}))
  (call $write (i32.const 1) (i32.const 1040) (i32.const 4))""",
    tail='  (data (i32.const 1024) "on\\n") (data (i32.const 1040) "bye\\n") (data (i32.const 1100) "stop")',
)
"""Says on, looks for its stop file again and again, and says bye once it is there."""
FLOOD = module(
    "(loop $on (call $write (i32.const 1) (i32.const 1024) (i32.const 3)) (br $on))",
    tail='  (data (i32.const 1024) "on\\n")',
)
ENDLESS = behaving(Behaviour(say="on\n", forever=True))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.engine.close()


async def test_a_program_with_a_grace_finds_a_file_and_says_its_last_words(bench: Bench) -> None:
    for _ in range(2):  # the child that compiles it is not kept
        request = replace(bench.request(WAITS), stop_grace_seconds=60)
        run = await begun(bench, request)
        pid = bench.engine.pool.pids[-1]
        run.cancel()
        await asyncio.wait([run])
        assert run.cancelled()
        assert (request.workdir / "stdout").read_bytes() == b"on\nbye\n"
    assert bench.engine.pool.pids == (pid,), "it ended by itself: its child goes on to the next"


async def test_a_program_that_does_not_look_is_ended_after_its_grace_and_leaves_what_it_said(bench: Bench) -> None:
    request = replace(bench.request(ENDLESS), stop_grace_seconds=1)
    run = await begun(bench, request)
    (pid,) = bench.engine.pool.pids
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled()
    await eventually(lambda: not alive(pid))
    assert (request.workdir / "stdout").read_bytes() == b"on\n"


async def test_a_grace_ends_with_what_a_run_may_take_at_all(bench: Bench) -> None:
    request = replace(bench.request(ENDLESS), stop_grace_seconds=3600, timeout_seconds=1)
    run = await begun(bench, request)
    (pid,) = bench.engine.pool.pids
    run.cancel()
    async with asyncio.timeout(30):  # it is there after a second, and after an hour otherwise
        await asyncio.wait([run])
    await eventually(lambda: not alive(pid))


async def test_a_flood_is_kept_to_its_last_byte_and_its_child_is_gone(bench: Bench) -> None:
    request = replace(bench.request(FLOOD), max_stream_bytes=1 << 40)
    run = asyncio.create_task(bench.engine.run(request, Running()))
    stdout = request.workdir / "stdout"
    await eventually(lambda: stdout.exists() and stdout.stat().st_size > 1_000_000)
    (pid,) = bench.engine.pool.pids
    run.cancel()
    await asyncio.wait([run])
    await eventually(lambda: not alive(pid))
    assert stdout.stat().st_size % 3 == 0, "no line is torn"


async def test_a_child_that_did_not_hear_at_its_timeout_is_gone_also_where_its_run_was_cancelled(bench: Bench) -> None:
    child = await bench.engine.pool.take()

    async def deaf() -> Reply:
        raise TimeoutError

    answer = asyncio.create_task(deaf())
    await asyncio.wait([answer])
    await bench.engine._take_back(child, answer)
    assert child.gone.done()
    assert bench.engine.pool.pids == ()


async def test_without_a_grace_there_is_neither_folder_nor_variable_and_the_end_is_at_once(bench: Bench) -> None:
    outcome = await bench.run(behaving(Behaviour(print_env=True)))
    assert outcome.stdout_head.data == b""
    request = bench.request(ENDLESS)
    run = await begun(bench, request)
    assert not (request.workdir / "stopping").exists()
    run.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([run])
    assert run.cancelled()


async def test_a_program_with_a_grace_is_told_where_its_file_will_be(bench: Bench) -> None:
    request = replace(bench.request(behaving(Behaviour(print_env=True))), stop_grace_seconds=5)
    outcome = await bench.engine.run(request, Running())
    assert outcome.stdout_head.data == b"SKREI_STOP_FILE=/skrei/stop\0"


async def test_an_agent_that_ends_gives_nobody_a_grace(bench: Bench) -> None:
    run = await begun(bench, replace(bench.request(ENDLESS), stop_grace_seconds=3600))
    (pid,) = bench.engine.pool.pids
    bench.engine.leave()
    run.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([run])
    await eventually(lambda: not alive(pid))


async def test_an_agent_that_ends_while_a_program_has_its_grace_does_not_wait_for_it(bench: Bench) -> None:
    request = replace(bench.request(ENDLESS), stop_grace_seconds=3600)
    run = await begun(bench, request)
    (pid,) = bench.engine.pool.pids
    run.cancel()
    await eventually((request.workdir / "stopping" / "stop").exists)
    bench.engine.leave()
    run.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([run])
    await eventually(lambda: not alive(pid))
