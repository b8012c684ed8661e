"""Whatever a node publishes, the leader goes on leading: no exception, and no commit that the record would refuse."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from skrei_domain import envelope
from skrei_domain.bounds import HIGHEST, wrong_with_fact, wrong_with_hello
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import ExecutionObserved, Heartbeat, Hello, HelloExecution, PublisherFact
from skrei_scheduler import published
from skrei_scheduler.core import Core
from skrei_scheduler.published import FACTS_WAITING, read_fact
from skrei_scheduler.reading import MOST_FACTS, read_batch
from skrei_scheduler.work import Commit, Fetch, Outgoing, Reply, SendConfirm
from skrei_scheduling.changes import Changes, Position
from skrei_store.parts import parts_of
from skrei_store.values import storable
from tests.support.builders import NOW, a_digest, a_fact, a_job, a_node, an_execution, counting_ids
from tests.support.ledger import Ledger

UNITS = 4
NODE = a_node("n-1")

# ---------------------------------------------------------------- what hostile JSON is made of

TEXTS = st.sampled_from(
    ["", "\0", "e-1\0", "\ud800", "a\udfffb", "e-1", "e-2", "j-1", "n-1", "boot-n-1", "sha256:" + "0" * 64,
     "sha256:" + "g" * 64, "x" * 300, "x" * 70_000, "AAAA", "=", "ü", "completed", "failed", "lost", "unknown",
     "skrei.node.changed.v1", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "'; DROP TABLE jobs; --"]
) | st.text(max_size=8)  # fmt: skip
NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 3, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**70, 10**400, 1.5, 1e308]
)
LEAVES = st.one_of(TEXTS, NUMBERS, st.none(), st.booleans())
JSONS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from paths(each, (*path, key))


@st.composite
def spoiled(draw: st.DrawFn, sound: Callable[[], Any]) -> Any:
    """A sound message with up to three of its values replaced by something that nobody expects there."""
    value = sound()
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(paths(value))))
        new = draw(JSONS)
        if not path:
            return new
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = new
    return value


def a_batch() -> Any:
    full = a_fact("e-2", ExecutionState.FAILED, problem="trap").model_dump(mode="json")
    full["output"] = {"stdout": "said", "stderr": "", "stdout_truncated": False, "stderr_truncated": False}
    info = {"type": "skrei.node.changed.v1", "info": NODE.info.model_dump(mode="json")}
    facts = [a_fact("e-1").model_dump(mode="json"), full, info, a_fact("e-3").model_dump(mode="json")]
    return {
        "node_id": "n-1",
        "boot_id": "boot-n-1",
        "incarnation": 1,
        "first": 1,
        "facts": facts,
        "writer": "boot-n-1",
    }


def a_hello_dict() -> Any:
    return a_hello().model_dump(mode="json")


def a_hello() -> Hello:
    return Hello(
        node_id="n-1",
        boot_id="boot-n-1",
        timeline=1,
        epoch=1,
        incarnation=1,
        sequence=0,
        confirmed=0,
        executions=tuple(
            HelloExecution(execution_id=f"e-{n}", revision=1, state=ExecutionState.OFFERED) for n in range(UNITS)
        ),
        writers=((1, "boot-n-1"),),
        info=NODE.info,
    )


# ---------------------------------------------------------------- a leader, and a record as strict as the real one


class Bench:
    """The real core; every commit is held against what columns can take."""

    def __init__(self) -> None:
        self.record = Ledger()
        job = a_job(count=UNITS)
        self.record.nodes["n-1"] = NODE
        self.record.submit(job, "v-1")
        for number in range(UNITS):
            row = an_execution(f"e-{number}", job=job, partition=number)
            self.record.executions[row.id] = row
        self.record.jobs["j-1"] = a_job(count=UNITS, state=JobState.RUNNING)
        self.record.evaluations.clear()
        self.core = Core(self.record.view(), timeline=1, epoch=1, now=0.0, ids=counting_ids())
        self.says_hello(envelope_of(a_hello_dict()))

    def hears(self, payload: bytes) -> list[Outgoing]:
        """Do what the shell does with a message on the subject of facts."""
        try:
            batch = read_batch(payload, "n-1")
        except ValueError:
            return []
        self.core.on_facts(batch, Position("stream", 1))
        return self.work()

    def says_hello(self, payload: bytes) -> list[Outgoing]:
        try:
            hello = envelope.unwrap(Hello, payload)
        except ValidationError:
            return []
        if hello.node_id == "n-1":
            self.core.on_hello(hello, "inbox")
        return self.work()

    def publishes(self, payload: bytes) -> list[Outgoing]:
        try:
            self.core.on_publisher_fact(read_fact(payload))
        except ValueError:
            return []
        return self.work()

    def beats(self, payload: bytes) -> list[Outgoing]:
        try:
            beat = envelope.unwrap(Heartbeat, payload)
        except ValidationError:
            return []
        if beat.node_id == "n-1":
            self.core.on_heartbeat(beat, 0.0)
        return self.work()

    def work(self) -> list[Outgoing]:
        out: list[Outgoing] = []
        for _ in range(200):
            work = self.core.next_work(0.0, NOW)
            if work is None:
                return out
            if isinstance(work, Commit):
                changes = self.record.commit(work.lock, work.evaluations, work.decide)
                _storable(changes)
                out += work.after(changes, 0.0)
            elif isinstance(work, Fetch):
                for each in work.executions:
                    _text(each)
                self.core.fetched(work.executions, {})
            else:
                out += work
        raise AssertionError("it never comes to rest")


def _storable(changes: Changes) -> None:
    for part, rows in parts_of(changes, lambda node: storable(node.info.model_dump_json())):
        for row in rows:
            for column, value in zip(part.columns, row, strict=True):
                _value(column, value)


def _value(column: str, value: object) -> None:
    kind = column.split(" ")[1]
    if value is None or isinstance(value, bool | bytes):
        return
    if isinstance(value, str):
        _text(value)
        assert len(value) < 600_000
    elif isinstance(value, int):
        assert kind == "int8", column
        assert -(2**63) <= value < 2**63, column
    elif isinstance(value, datetime):
        value.astimezone(UTC)


def _text(text: str) -> None:
    text.encode()
    assert "\0" not in text


def envelope_of(data: object) -> bytes:
    """JSON as a node that is not ours may write it: lone surrogates and all."""
    return json.dumps({"specversion": "1.0", "id": "1", "source": "n", "type": "t", "data": data}).encode()


# ---------------------------------------------------------------- claims


@settings(max_examples=200, deadline=None)
@given(spoiled(a_batch))
def test_no_batch_of_facts_ends_a_leader(data: Any) -> None:
    bench = Bench()
    bench.hears(envelope_of(data))
    bench.hears(envelope_of(a_batch()))
    assert bench.core.view.nodes["n-1"].confirmed >= 4, "what comes after is taken"


@settings(max_examples=200, deadline=None)
@given(spoiled(a_hello_dict))
def test_no_hello_ends_a_leader(data: Any) -> None:
    bench = Bench()
    bench.says_hello(envelope_of(data))
    bench.hears(envelope_of(a_batch()))
    for row in bench.record.nodes.values():
        assert row.incarnation <= HIGHEST + 1


def test_a_hello_that_does_not_know_its_own_executions_is_refused() -> None:
    lost = HelloExecution(execution_id="e-0", revision=1, state=ExecutionState.UNKNOWN)
    assert "how execution e-0 stands" in wrong_with_hello(a_hello().model_copy(update={"executions": (lost,)}), 1)
    assert not wrong_with_hello(a_hello(), 1)


@settings(max_examples=60, deadline=None)
@given(JSONS, st.binary(max_size=40))
def test_nothing_else_ends_it_either(data: Any, garbage: bytes) -> None:
    bench = Bench()
    for payload in (envelope_of(data), json.dumps(data).encode(), garbage, b'{"data":' + b"[" * 60_000):
        bench.hears(payload)
        bench.says_hello(payload)
        bench.beats(payload)
    out = bench.hears(envelope_of(a_batch()))
    assert any(isinstance(each, SendConfirm) and each.confirm.confirmed == 4 for each in out)


def a_publisher_fact() -> Any:
    problem = {"code": "publish-failed", "message": "no such bucket"}
    return {
        "stored": [["e-1", a_digest("e-1")], ["e-2", a_digest("e-2")]],
        "dropped": ["e-3"],
        "finalised": [["e-0", a_digest("e-0")], ["e-0", a_digest("e-1")]],
        "refused": [{"execution_id": "e-0", "digest": a_digest("e-0"), "problem": problem}],
    }


@settings(max_examples=200, deadline=None)
@given(spoiled(a_publisher_fact))
def test_no_fact_of_a_publisher_ends_a_leader(data: Any) -> None:
    bench = Bench()
    bench.publishes(envelope_of(data))
    bench.hears(envelope_of(a_batch()))
    assert bench.core.view.nodes["n-1"].confirmed == 4


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS)
def test_no_refusal_of_a_staged_result_ends_a_leader(code: str, message: str) -> None:
    bench, digest = Bench(), a_digest("e-0")
    row = replace(bench.record.executions["e-0"], state=ExecutionState.PUBLISHING, staged=True, digest=digest)
    bench.record.executions["e-0"] = row
    bench.record.claimed["e-0"], bench.record.staged["e-0"] = (row.job_id, row.job_version, *row.unit), digest
    bench.core = Core(bench.record.view(), timeline=1, epoch=1, now=0.0, ids=counting_ids())
    bench.says_hello(envelope_of(a_hello_dict()))
    problem = {"code": code, "message": message}
    bench.publishes(envelope_of({"refused": [{"execution_id": "e-0", "digest": digest, "problem": problem}]}))
    assert bench.record.executions["e-0"].state in {ExecutionState.FAILED, ExecutionState.PUBLISHING}
    bench.hears(envelope_of(a_batch()))
    assert bench.core.view.nodes["n-1"].confirmed == 4


def test_what_cannot_be_settled_is_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[str] = []

    def finish(builder: object, execution_id: str, digest: str) -> None:
        if execution_id == "e-2":
            raise RuntimeError("nobody thought of this")
        settled.append(execution_id)

    monkeypatch.setattr(published, "finish_into", finish)
    bench = Bench()
    bench.publishes(envelope_of({"finalised": [[f"e-{n}", a_digest("e")] for n in range(UNITS)]}))
    assert {*settled} == {"e-0", "e-1", "e-3"}
    assert bench.core.next_work(0.0, NOW) is None


def test_what_a_publisher_says_that_cannot_be_is_left_out_and_the_rest_is_taken() -> None:
    data = a_publisher_fact()
    data["stored"] += [["e\0", a_digest("e-1")], ["../../etc", a_digest("e-1")], ["e-1", "sha256:short"]]
    data["dropped"] += ["", "x" * 129, "e 1"]
    data["refused"] += [data["refused"][0] | {"problem": {"code": "x" * 201, "message": ""}}]
    assert read_fact(envelope_of(data)) == read_fact(envelope_of(a_publisher_fact()))


@pytest.mark.parametrize("field", ["stored", "finalised", "dropped"])
def test_a_fact_of_a_publisher_about_100_000_results_is_not_looked_at(field: str) -> None:
    each = "e-1" if field == "dropped" else ["e-1", a_digest("e-1")]
    with pytest.raises(ValueError, match="100000 results"):
        read_fact(envelope_of({field: [each] * 100_000}))


def test_a_publisher_that_talks_without_end_fills_no_memory() -> None:
    bench = Bench()
    for number in range(2 * FACTS_WAITING):
        bench.core.on_publisher_fact(PublisherFact(dropped=(f"e-{number}",)))
    assert sum(isinstance(bench.core.next_work(0.0, NOW), Commit) for _ in range(100)) <= FACTS_WAITING / 16


def test_a_node_that_claims_the_future_again_and_again_opens_one_timeline() -> None:
    bench = Bench()
    refusals = []
    for ahead in range(1, 20):
        timeline = bench.core.side.timeline + ahead
        out = bench.says_hello(envelope_of(a_hello_dict() | {"timeline": timeline}))
        refusals += [each.reply.refusal.code for each in out if isinstance(each, Reply) and each.reply.refusal]
    assert bench.core.side.timeline == 3
    assert refusals == ["from-the-future"] * 18


def test_a_batch_of_more_facts_than_a_node_sends_is_not_looked_at() -> None:
    data = a_batch() | {"facts": [{}] * (MOST_FACTS + 1)}
    with pytest.raises(ValueError, match="facts"):
        read_batch(envelope_of(data), "n-1")


def test_a_batch_in_the_name_of_another_node_is_not_looked_at() -> None:
    with pytest.raises(ValueError, match="another"):
        read_batch(envelope_of(a_batch()), "n-2")


def test_an_end_that_cannot_be_read_loses_its_execution_and_its_unit_is_tried_again() -> None:
    bench, data = Bench(), a_batch()
    data["facts"][1]["steps"] = "none of your business"
    bench.hears(envelope_of(data))
    assert bench.record.executions["e-2"].state is ExecutionState.LOST
    assert [each.evaluation.trigger for each in bench.record.evaluations.values()] == ["exec-retry"]
    assert bench.core.view.nodes["n-1"].confirmed == 4


def test_progress_that_cannot_be_read_leaves_its_execution_alone() -> None:
    bench, data = Bench(), a_batch()
    data["facts"][1] |= {"state": "thawing"}
    bench.hears(envelope_of(data))
    assert bench.record.executions["e-2"].state is ExecutionState.OFFERED


PORT = {"name": "web", "host": "127.0.0.1", "port": 20_000, "target": 80}
SPOILED: dict[str, tuple[str, Any]] = {
    "execution_id": ("execution id", "e-1\0"),
    "revision": ("revision", HIGHEST + 1),
    "starts": ("starts", -1),
    "exit_code": ("exit code", 2**63),
    "steps": ("steps", [{"state": "running", "at": "2026-01-01T00:00:00Z", "start": 1}] * 1_001),
    "problem": ("code", {"code": "x" * 201, "message": ""}),
    "output": ("text", {"stdout": "x" * 16_385}),
    "note": ("note", "x" * 513),
    "ports": ("ports", [PORT] * 65),
    "data": ("bytes", {"local": 2**63}),
}
WRONG_PORTS = [{"name": ""}, {"name": "a\nb"}, {"host": ""}, {"host": "h" * 254}, {"port": 0}, {"target": 65_536}]

RESULTS: dict[str, tuple[str, Any]] = {
    "digest": ("digest", "sha256:" + "A" * 64),
    "size": ("size", -1),
    "inline": ("larger", "A" * 87_385),
}


@pytest.mark.parametrize("field", SPOILED)
def test_each_field_of_a_fact_has_its_bounds(field: str) -> None:
    named, value = SPOILED[field]
    sound = a_fact("e-1").model_dump(mode="json")
    assert wrong_with_fact(ExecutionObserved.model_validate(sound)) == ""
    assert named in wrong_with_fact(ExecutionObserved.model_validate(sound | {field: value}))


@pytest.mark.parametrize("wrong", WRONG_PORTS)
def test_each_part_of_a_port_has_its_bounds(wrong: dict[str, Any]) -> None:
    fact = a_fact("e-1").model_dump(mode="json")
    assert wrong_with_fact(ExecutionObserved.model_validate(fact | {"ports": [PORT]})) == ""
    assert "ports" in wrong_with_fact(ExecutionObserved.model_validate(fact | {"ports": [PORT | wrong]}))


@pytest.mark.parametrize("field", RESULTS)
def test_each_field_of_a_result_has_its_bounds(field: str) -> None:
    named, value = RESULTS[field]
    fact = a_fact("e-1").model_dump(mode="json")
    fact["result"] |= {"digest": a_digest("e-1")} | {field: value}
    assert named in wrong_with_fact(ExecutionObserved.model_validate(fact))


HELLOS: dict[str, Any] = {
    "node_id": "n-2",
    "boot_id": "b\0",
    "challenge": "c d",
    "timeline": 1_002,
    "epoch": HIGHEST + 1,
    "incarnation": -1,
    "sequence": 2**63,
    "page": 1,
    "pages": 1_001,
    "writers": [[1, "w\0"]],
    "executions": [{"execution_id": "e\0", "revision": 1, "state": "running"}],
    "info": {"node_id": "n-1", "labels": {"k": "\0"}},
}


@pytest.mark.parametrize("field", HELLOS)
def test_a_hello_out_of_bounds_is_refused_with_the_field_that_is(field: str) -> None:
    assert wrong_with_hello(a_hello(), 1) == ""
    bench = Bench()
    hello = Hello.model_validate(a_hello_dict() | {field: HELLOS[field]})
    bench.core.on_hello(hello, "inbox")
    (reply,) = [each for each in bench.work() if isinstance(each, Reply)]
    assert reply.reply.refusal is not None
    assert reply.reply.refusal.code == "bad-hello"
    assert reply.reply.refusal.message == f"this hello is not taken: {wrong_with_hello(hello, 1)}"


@pytest.mark.row("12/sequences")
def test_what_a_node_claims_to_have_applied_is_never_taken_back() -> None:
    data = a_hello_dict()
    data["executions"][3]["revision"] = 2  # the leader has never wanted a second one
    bench = Bench()
    bench.says_hello(envelope_of(data))
    bench.hears(envelope_of(a_batch()))  # it ends the job, and e-3 with it
    assert all(row.seen_revision >= 2 for row in bench.record.executions.values() if row.id == "e-3")
