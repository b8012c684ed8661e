"""A service that crashes on a node whose transport is gone: the node starts it again, and never in a hot loop."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from skrei_domain.lifecycle import ExecutionState
from skrei_domain.restarts import restart_seconds
from tests.support.agent_leader import a_leader, a_nats_server
from tests.support.agent_machine import NODE, an_order
from tests.support.agent_node import a_process
from tests.support.wasm_task import wasm_task

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

CRASHES = """
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 2000000000))
    (drop (call $poll (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 256)))
    unreachable))
"""
"""Runs for two seconds, and traps."""
FALLS = 4
PAUSE_SECONDS = restart_seconds(FALLS)
"""After so many ends in a row: long enough that also a slow machine looks at the journal while it lasts."""
SERVICE: dict[str, Any] = {"job_type": "service", "local_restarts": 2**31 - 1}


class Told(NamedTuple):
    """What the journal has of the one execution."""

    starts: int
    falls: int


def journal(folder: Path) -> Told:
    with closing(sqlite3.connect(f"file:{folder}/journal/journal.sqlite?mode=ro", uri=True)) as database:
        return Told(*database.execute("SELECT starts, falls FROM executions").fetchone())


async def until(folder: Path, holds: Callable[[Told], bool]) -> Told:
    """Look into the journal again and again."""
    async with asyncio.timeout(60):
        while not holds(told := journal(folder)):  # noqa: ASYNC110 - a journal tells nobody that it has changed
            await asyncio.sleep(0.1)
    return told


async def test_a_crashing_service_on_a_cut_off_node_backs_off_and_goes_on_with_it_after_a_kill(tmp_path: Path) -> None:
    node = tmp_path / "node"
    with a_nats_server(tmp_path / "nats") as nats:
        async with a_leader(nats.url, NODE) as leader:
            async with a_process(nats, node) as process:
                await leader.greeted()
                await leader.run("e-1", an_order(wasm_task(CRASHES), **SERVICE))
                await leader.until(lambda: any(fact.execution_id == "e-1" for fact in leader.facts))
                nats.kill()
                told = await until(node, lambda told: told.falls >= FALLS)
                assert told.starts == FALLS, f"nobody heard of an end, and the next start is {PAUSE_SECONDS:g} s away"
                process.kill()
                await process.wait()
            async with a_process(nats, node):
                told = await until(node, lambda told: told.starts > FALLS)
                assert told.falls == FALLS, "the new agent went on with the pause, and began no other"
                nats.start()
                fact = await leader.ended("e-1")
    assert (fact.state, fact.starts) == (ExecutionState.FAILED, FALLS + 1), "somebody listens again, and is told"
    assert fact.problem is not None
    assert "unreachable" in fact.problem.message
