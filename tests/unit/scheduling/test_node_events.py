"""What a person reads of a node's past."""

from dataclasses import replace

import pytest

from skrei_domain.lifecycle import Connection
from skrei_domain.node import Absent, Plugin
from skrei_scheduling.changes import Locked
from skrei_scheduling.draft import CommitDraft
from skrei_scheduling.node_events import EVENTS_A_CHANGE, MESSAGE_CHARACTERS, node_events
from skrei_scheduling.rows import NodeRow
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_node, counting_ids


def told(old: NodeRow | None, new: NodeRow) -> list[tuple[str, str]]:
    return [(event.topic, event.message) for event in node_events(old, new)]


def with_engines(node: NodeRow, *names: str, **absent: str) -> NodeRow:
    info = node.info.model_copy(
        update={
            "engines": tuple(Plugin(name=name) for name in names),
            "absent": tuple(Absent(kind="engine", name=name, reason=why) for name, why in absent.items()),
        }
    )
    return replace(node, info=info)


NODE = with_engines(a_node("n-1"), "wasm")


def test_a_node_joins_once() -> None:
    assert told(None, NODE) == [("Joined", "joined with engines wasm")]
    assert told(NODE, replace(NODE, confirmed=9)) == []


@pytest.mark.row("3.4/return")
def test_silence_and_return_are_told() -> None:
    away = replace(NODE, connection=Connection.DISCONNECTED, error="heartbeat timeout")
    assert told(NODE, away) == [("Disconnected", "disconnected: heartbeat timeout")]
    assert told(away, NODE) == [("Connected", "connected")]
    assert told(NODE, replace(NODE, boot_id="b-9")) == [("Connected", "its agent was started again")]


def test_an_engine_that_goes_is_told_with_its_reason() -> None:
    assert told(NODE, with_engines(NODE, wasm="not installed")) == [("Changed", "engine wasm is gone: not installed")]


def test_a_node_gone_wild_fills_no_page() -> None:
    wild = with_engines(NODE, "wasm", *(f"e{number}" for number in range(99)))
    events = told(NODE, wild)
    assert len(events) == EVENTS_A_CHANGE
    assert events[-1][1] == f"and {99 - EVENTS_A_CHANGE + 1} more changes"
    assert len(told(NODE, with_engines(NODE, "wasm", docker="x" * 9_999))[0][1]) == MESSAGE_CHARACTERS


def test_a_commit_carries_the_events_of_the_nodes_that_it_writes() -> None:
    view = ClusterView.load([NODE], [], [])
    draft = CommitDraft(view, Locked(now=NOW, jobs={}, evaluations=frozenset()), counting_ids())
    draft.put_node(with_engines(NODE, "wasm", "docker"))
    assert [(event.node_id, event.message) for event in draft.build().node_events] == [("n-1", "engine docker is here")]
