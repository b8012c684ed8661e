"""A hostile node against the real record: whatever it publishes, the same leader goes on to commit what is sound."""

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from skrei_domain import envelope
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import Hello
from skrei_scheduler.core import Core
from skrei_scheduler.published import read_fact
from skrei_scheduler.reading import read_batch
from skrei_scheduler.work import Commit, Fetch
from skrei_scheduling.changes import Changes, Position
from skrei_scheduling.view import ClusterView
from skrei_store.leader import LeaderRecord
from tests.support.builders import NOW, a_digest, a_fact, a_node, an_execution, counting_ids
from tests.support.record import connection, leading, placing, put_jobs

NODE = a_node("n-1")
UNITS = 100
HUGE = [-1, 2**53 + 1, 2**63, -(2**63) - 1, 10**400]
TEXTS = ["\0", "e-1\0", "\ud800", "x" * 300, "'; DROP TABLE executions; --"]
FIELDS: list[tuple[tuple[Any, ...], list[Any]]] = [
    (("boot_id",), TEXTS),
    (("writer",), TEXTS),
    (("first",), HUGE),
    (("incarnation",), HUGE),
    (("facts", 0, "execution_id"), TEXTS),
    (("facts", 0, "revision"), HUGE),
    (("facts", 0, "starts"), HUGE),
    (("facts", 0, "exit_code"), HUGE),
    (("facts", 0, "steps", 0, "at"), ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]),
    (("facts", 0, "steps", 0, "start"), HUGE),
    (("facts", 0, "problem"), [{"code": text, "message": text} for text in TEXTS]),
    (("facts", 0, "output"), [{"stdout": text, "stderr": text} for text in TEXTS]),
    (("facts", 0, "result", "digest"), TEXTS),
    (("facts", 0, "result", "size"), HUGE),
    (("facts", 0, "result", "inline"), ["a", "=", "\0", "A" * 90_000]),
    (("facts", 1, "info", "node_id"), TEXTS),
    (("facts", 1, "info", "labels"), [{text: text} for text in TEXTS]),
    (("facts", 1, "info", "engines"), [[{"name": text}] for text in TEXTS]),
    (("facts", 1, "info", "capacity", "cpu_milli"), HUGE),
]
HELLO_FIELDS: list[tuple[tuple[Any, ...], list[Any]]] = [
    (("boot_id",), TEXTS),
    (("challenge",), TEXTS),
    (("incarnation",), HUGE),
    (("sequence",), HUGE),
    (("timeline",), HUGE),
    (("pages",), HUGE),
    (("writers",), [[[1, text]] for text in TEXTS] + [[[number, "w"]] for number in HUGE]),
    (("executions", 0, "execution_id"), TEXTS),
    (("executions", 0, "revision"), HUGE),
    (("info", "name"), TEXTS[:2]),
    (("info", "labels"), [{text: text} for text in TEXTS[:4]]),
    (("info", "capacity", "gpu"), HUGE),
]
PUBLISHER_FIELDS: list[tuple[tuple[Any, ...], list[Any]]] = [
    (("stored", 0, 0), TEXTS),
    (("stored", 0, 1), TEXTS),
    (("dropped", 0), TEXTS),
    (("finalised", 0, 0), TEXTS),
    (("finalised", 0, 1), TEXTS),
    (("refused", 0, "execution_id"), TEXTS),
    (("refused", 0, "digest"), TEXTS),
    (("refused", 0, "problem"), [{"code": text, "message": text} for text in TEXTS]),
    (("dropped",), [["e-1"] * 100_000, ["e-1"] * 1_000]),
]


@pytest.fixture
async def record(postgres_url: str) -> AsyncIterator[LeaderRecord]:
    await put_jobs(postgres_url, "j-1", count=UNITS)
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(nodes=(NODE,)))
        await record.commit(["j-1"], [], placing(*(an_execution(f"e-{n}", partition=n) for n in range(UNITS))))
        yield record


async def a_core(record: LeaderRecord) -> Core:
    loaded = await record.load()
    view = ClusterView.load(loaded.nodes, loaded.jobs, loaded.executions)
    return Core(view, timeline=loaded.timeline, epoch=1, now=0.0, ids=counting_ids())


async def work(core: Core, record: LeaderRecord) -> None:
    while (each := core.next_work(0.0, NOW)) is not None:
        if isinstance(each, Commit):
            each.after(await record.commit(each.lock, each.evaluations, each.decide), 0.0)
        elif isinstance(each, Fetch):
            core.fetched(each.executions, await record.executions(each.executions))


def spoiled(value: Any, path: tuple[Any, ...], new: Any) -> bytes:
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return json.dumps({"id": "1", "source": "n", "type": "t", "data": value}).encode()


def a_batch(execution_id: str, first: int) -> dict[str, Any]:
    fact = a_fact(execution_id).model_dump(mode="json")
    fact["result"]["digest"] = a_digest(execution_id)
    info = {"type": "skrei.node.changed.v1", "info": NODE.info.model_dump(mode="json")}
    batch = {"node_id": "n-1", "boot_id": "boot-n-1", "incarnation": 1, "writer": "boot-n-1"}
    return {**batch, "first": first, "facts": [fact, info]}


def a_hello(core: Core, boot_id: str) -> dict[str, Any]:
    node = core.view.nodes["n-1"]
    return {
        "node_id": "n-1",
        "boot_id": boot_id,
        "timeline": 1,
        "epoch": 1,
        "incarnation": node.incarnation,
        "sequence": node.confirmed,
        "confirmed": node.confirmed,
        "writers": [[1, "boot-n-1"]],
        "challenge": "",
        "executions": [
            {"execution_id": row.id, "revision": row.revision, "state": "offered"}
            for row in core.view.of_node("n-1")
            if row.live
        ],
        "info": NODE.info.model_dump(mode="json"),
    }


async def test_no_fact_of_a_hostile_node_ends_a_leader(record: LeaderRecord, postgres_url: str) -> None:
    core = await a_core(record)
    core.on_hello(Hello.model_validate(a_hello(core, "boot-n-1")), "inbox")
    await work(core, record)
    thrown = 0
    for path, values in FIELDS:
        for value in values:
            node = core.view.nodes["n-1"]
            row = next(row for row in core.view.of_node("n-1") if row.live)
            try:
                batch = read_batch(spoiled(a_batch(row.id, node.confirmed + 1), path, value), "n-1")
            except ValueError:
                continue
            thrown += 1
            core.on_facts(batch, Position("stream", thrown))
            await work(core, record)
            core.on_evaluations(await record.due(100))
            await work(core, record)
    assert thrown > 40, "most of it comes as far as the core"
    async with connection(postgres_url) as db:
        await _sound(core, record, db)


async def _sound(core: Core, record: LeaderRecord, db: asyncpg.Connection) -> None:
    """What is sound is still taken, by the same leader."""
    row = next(row for row in core.view.of_node("n-1") if row.live)
    payload = spoiled(a_batch(row.id, core.view.nodes["n-1"].confirmed + 1), ("incarnation",), 1)
    core.on_facts(read_batch(payload, "n-1"), Position("stream", 9_999))
    await work(core, record)
    assert await db.fetchval("SELECT state FROM executions WHERE id = $1", row.id) == ExecutionState.COMPLETED.value
    assert await db.fetchval("SELECT count(*) FROM audit WHERE action = 'fact-quarantined'") > 10


async def test_no_hello_of_a_hostile_node_ends_a_leader(record: LeaderRecord) -> None:
    core = await a_core(record)
    for path, values in HELLO_FIELDS:
        for value in values:
            try:
                hello = envelope.unwrap(Hello, spoiled(a_hello(core, "boot-n-1"), path, value))
            except ValueError:
                continue
            core.on_hello(hello, "inbox")
            await work(core, record)
    core.on_hello(Hello.model_validate(a_hello(core, "boot-n-1")), "inbox")
    await work(core, record)
    assert (await record.load()).nodes[0].boot_id == "boot-n-1"


async def test_no_fact_of_a_hostile_publisher_ends_a_leader(record: LeaderRecord, postgres_url: str) -> None:
    core = await a_core(record)
    core.on_hello(Hello.model_validate(a_hello(core, "boot-n-1")), "inbox")
    await work(core, record)
    sound = {
        "stored": [["e-1", a_digest("e-1")]],
        "dropped": ["e-2"],
        "finalised": [["e-3", a_digest("e-3")]],
        "refused": [
            {"execution_id": "e-4", "digest": a_digest("e-4"), "problem": {"code": "publish-failed", "message": "no"}}
        ],
    }
    for path, values in PUBLISHER_FIELDS:
        for value in values:
            try:
                core.on_publisher_fact(read_fact(spoiled(sound, path, value)))
            except ValueError:
                continue
            await work(core, record)
    async with connection(postgres_url) as db:
        row = next(row for row in core.view.of_node("n-1") if row.live)
        core.on_facts(read_batch(spoiled(a_batch(row.id, 1), ("incarnation",), 1), "n-1"), Position("stream", 1))
        await work(core, record)
        assert await db.fetchval("SELECT state FROM executions WHERE id = $1", row.id) == ExecutionState.COMPLETED.value
