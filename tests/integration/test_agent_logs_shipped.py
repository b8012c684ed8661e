"""A real node that dies in the middle of a talking program leaves what it had said with the publisher."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import TokenSigner, TokenVerifier
from tests.support.agent_leader import a_leader, a_nats_server
from tests.support.agent_machine import NODE, an_order
from tests.support.agent_node import a_process
from tests.support.log_keeper import a_log_keeper
from tests.support.wasm_task import wasm_task

SECONDS = 20.0
SAID = 300_000
"""More than a piece, so that the first is sent without waiting for its time."""
TALKER = f"""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 8)
  (data (i32.const 4096) "the beginning")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 4096))
    (i32.store (i32.const 4) (i32.const {SAID}))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (i64.const 600000000000))
    (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))))
"""


async def until(holds: Callable[[], bool]) -> None:
    """Another process is awaited: there is nothing in this one to wait for."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_a_killed_node_leaves_what_its_program_had_said(tmp_path: Path) -> None:
    private, public = new_key()
    with a_nats_server(tmp_path / "nats") as nats:
        async with a_log_keeper(tmp_path) as keeper, a_leader(nats.url, NODE) as leader:
            keeper.verifier.known = TokenVerifier(public)
            async with a_process(nats, tmp_path / "node", SKREI_PUBLISHER_URL=keeper.url) as process:
                await leader.greeted()
                token = TokenSigner(private).run("e-1", NODE, (), seconds=600)
                order = an_order(wasm_task(TALKER)).model_copy(update={"token": token})
                await leader.run("e-1", order)
                await until(lambda: len(keeper.has("e-1")) >= 256 * 1024)
                process.kill()
                await process.wait()
            said = keeper.has("e-1")
            kept = keeper.book.find("e-1", "stdout")
    assert said.startswith(b"the beginning")
    assert len(said) <= SAID
    assert kept is not None
    assert (kept.start, kept.complete) == (1, False)
