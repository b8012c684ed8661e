"""What users want of nodes, carried out by the leader."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from skrei_domain.lifecycle import Connection, ExecutionState, Intake, JobState, Membership, NodeAction, Want
from skrei_domain.messages import Heartbeat, HelloExecution
from skrei_scheduler.core import Core
from skrei_scheduler.work import Commit, Outgoing, Reply, SendCommands, SendConfirm
from skrei_scheduling.changes import Changes
from skrei_scheduling.rows import Evaluation, ExecutionRow, NodeIntent, NodeRow
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_hello, a_job, a_node, an_execution, counting_ids, locked

APPROVE, REJECT, DELETE = NodeAction.APPROVE, NodeAction.REJECT, NodeAction.DELETE


def a_core(nodes: list[NodeRow], rows: Iterable[ExecutionRow] = (), *, piece: int = 500, **more: Membership) -> Core:
    rows = list(rows)
    jobs = [a_job("j-1", count=max(len(rows), 1), state=JobState.RUNNING)] if rows else []
    view = ClusterView.load(nodes, jobs, rows)
    return Core(view, timeline=1, epoch=1, now=0.0, ids=counting_ids(), piece=piece, **more)


def run(core: Core, now: float = 1.0) -> tuple[list[Changes], list[Outgoing]]:
    """Make every commit that is due; return what each wrote, and all that was to be sent."""
    written: list[Changes] = []
    out: list[Outgoing] = []
    while (work := core.next_work(now, NOW)) is not None:
        if isinstance(work, Commit):
            rows = locked(*(job for job in core.view.jobs.values() if job.id in work.lock))
            written.append(work.decide(rows))
            out += work.after(written[-1], now)
        elif isinstance(work, list):
            out += work
    return written, out


def wanted(core: Core, action: NodeAction, node_id: str = "n-1", message: str = "", **more: Any) -> list[Changes]:
    core.on_node_intents([NodeIntent(7, node_id, action, message, **more)])
    return run(core)[0]


def refusal(core: Core, node: NodeRow) -> str:
    core.on_hello(a_hello(node), "inbox")
    replies = [each for each in run(core)[1] if isinstance(each, Reply)]
    problem = replies[-1].reply.refusal
    return problem.code if problem is not None else ""


@pytest.mark.row("3.4/approve-and-reject", "3.4/rejected-hello")
def test_a_rejected_node_is_disconnected_says_why_and_is_let_in_no_more() -> None:
    core = a_core([a_node("n-1")])
    changes = wanted(core, REJECT, message="not ours")
    node = core.view.nodes["n-1"]
    assert (node.membership, node.connection) == (Membership.REJECTED, Connection.DISCONNECTED)
    assert node.error == "node rejected: not ours"
    assert [done for each in changes for done in each.node_intents_done] == [7]
    assert next((each.topic, each.message) for change in changes for each in change.node_events) == (
        "Membership",
        "rejected: not ours",
    )
    assert refusal(core, node) == "node-rejected"


@pytest.mark.row("3.4/approve-and-reject")
def test_an_approved_node_is_asked_for_a_hello_and_takes_work_again() -> None:
    core = a_core([a_node("n-1")])
    wanted(core, REJECT)
    core.on_node_intents([NodeIntent(8, "n-1", APPROVE)])
    _, out = run(core)
    asked = [each for each in out if isinstance(each, SendConfirm)]
    assert [(each.node_id, each.confirm.hello) for each in asked] == [("n-1", True)]
    node = core.view.nodes["n-1"]
    assert (node.membership, node.error) == (Membership.APPROVED, "")
    assert refusal(core, node) == ""
    assert core.view.nodes["n-1"].connection is Connection.CONNECTED


@pytest.mark.row("3.4/approve-and-reject")
def test_what_a_rejected_node_runs_is_stopped_and_tried_elsewhere() -> None:
    job = a_job("j-1", count=2, state=JobState.RUNNING)
    rows = [
        an_execution("e-0", job=job, node_id="n-1", state=ExecutionState.RUNNING, partition=0),
        an_execution("e-1", job=job, node_id="n-2", state=ExecutionState.RUNNING, partition=1),
    ]
    core = a_core([a_node("n-1"), a_node("n-2")], rows)
    listed = HelloExecution(execution_id="e-0", revision=rows[0].revision, state=ExecutionState.RUNNING, starts=1)
    core.on_hello(a_hello(core.view.nodes["n-1"], listed), "inbox")
    run(core)
    assert core.view.executions["e-0"].live
    core.on_node_intents([NodeIntent(7, "n-1", REJECT)])
    written, out = run(core)
    gone = [change.row for each in written for change in each.executions if change.row.id == "e-0"]
    assert (gone[-1].state, gone[-1].want, gone[-1].revoked) == (ExecutionState.LOST, Want.STOP, True)
    commands = [each for each in out if isinstance(each, SendCommands) and each.node_id == "n-1"]
    assert [row.id for each in commands for row in each.rows] == ["e-0"], "told before it is heard no more"
    assert any(each.evaluations_new for each in written), "its unit is tried again"
    assert core.view.executions["e-1"].state is ExecutionState.RUNNING


@pytest.mark.row("3.4/delete")
def test_a_deleted_node_is_forgotten_with_what_it_held_and_may_come_back_as_a_new_one() -> None:
    job = a_job("j-1", count=3, state=JobState.RUNNING)
    rows = [an_execution(f"e-{n}", job=job, node_id="n-1", partition=n) for n in range(3)]
    node = a_node("n-1", cpu="4")
    core = a_core([node], rows, piece=2)
    written = wanted(core, DELETE)
    assert len([each for each in written if each.executions]) >= 2, "piece by piece"
    assert "n-1" not in core.view.nodes
    assert [each for change in written for each in change.nodes_gone] == ["n-1"]
    assert list(core.view.of_node("n-1")) == []
    assert refusal(core, node) == ""
    assert core.view.nodes["n-1"].membership is Membership.APPROVED
    assert core.view.matrix.room("n-1") == node.info.capacity


def test_nothing_is_placed_on_a_node_that_was_deleted() -> None:
    core = a_core([a_node("n-1")])
    wanted(core, DELETE)
    core.on_evaluations([Evaluation("", "j-9", "job-register", a_job("j-9"))])
    written, _ = run(core)
    assert not any(each.executions_new for each in written)


def test_a_node_is_closed_drained_labelled_and_opened_and_keeps_that_across_its_hellos() -> None:
    core = a_core([a_node("n-1", labels={"region": "us"})])
    wanted(core, NodeAction.DRAIN, seconds=60)
    (changes,) = wanted(core, NodeAction.LABEL, labels={"region": "eu", "rack": "b7"})
    assert [each.message for each in changes.node_events] == ["labelled by its operator: rack=b7 region=eu"]
    assert refusal(core, core.view.nodes["n-1"]) == ""
    node = core.view.nodes["n-1"]
    assert (node.intake, node.drain_until) == (Intake.DRAINING, NOW + timedelta(seconds=60))
    assert node.offers.labels == {"region": "eu", "rack": "b7"}
    wanted(core, NodeAction.LABEL, labels={"region": None, "never": None})
    wanted(core, NodeAction.CORDON)
    node = core.view.nodes["n-1"]
    assert (node.intake, node.drain_until, node.offers.labels) == (
        Intake.CORDONED,
        None,
        {"region": "us", "rack": "b7"},
    )
    wanted(core, NodeAction.UNCORDON)
    core.on_evaluations([Evaluation("", "j-9", "job-register", a_job("j-9"))])
    assert any(each.executions_new for each in run(core)[0])


def test_what_runs_past_a_deadline_is_stopped_with_the_next_tick_piece_by_piece() -> None:
    job = a_job("j-1", count=3, state=JobState.RUNNING)
    rows = [an_execution(f"e-{n}", job=job, node_id="n-1", partition=n) for n in range(3)]
    core = a_core([a_node("n-1", cpu="4"), a_node("n-2", cpu="4")], rows, piece=2)
    wanted(core, NodeAction.DRAIN, seconds=0)
    assert not any(row.revoked for row in core.view.executions.values())
    core.on_tick(2.0)
    written, _ = run(core, 2.0)
    stops = [{change.row.id for change in each.executions if change.row.revoked} for each in written]
    assert [len(each) for each in stops if each] == [2, 1]
    assert [each.trigger for change in written for each in change.evaluations_new] == ["node-drain"] * 2


def test_an_ephemeral_node_that_is_gone_and_holds_nothing_is_forgotten_with_an_audit() -> None:
    gone = NOW - timedelta(hours=24)
    away = {"connection": Connection.DISCONNECTED, "disconnected_since": gone}
    job = a_job("j-1", count=1, state=JobState.RUNNING)
    row = an_execution("e-1", job=job, node_id="n-5", partition=0)
    said = {"ephemeral": "true"}
    nodes = [
        replace(a_node("n-1", labels=said), **away),
        replace(a_node("n-2", labels={"ephemeral": "false"}), **away),
        a_node("n-3", labels=said),
        replace(a_node("n-4", labels=said), **(away | {"disconnected_since": gone + timedelta(seconds=1)})),
        replace(a_node("n-5", labels=said), **away),
        replace(a_node("n-6"), labels=said, **away),
    ]
    core = a_core(nodes, [row])
    core.on_tick(1.0)
    assert not any(each.nodes_gone for each in run(core)[0]), "a minute is nothing"
    core.on_tick(61.0)
    (forgotten,) = [each for each in run(core, 61.0)[0] if each.nodes_gone]
    assert forgotten.nodes_gone == ("n-1", "n-6")
    assert [(each.actor, each.action, each.object) for each in forgotten.audit] == [
        ("scheduler", "node.delete", "n-1"),
        ("scheduler", "node.delete", "n-6"),
    ]
    assert sorted(core.view.nodes) == ["n-2", "n-3", "n-4", "n-5"]
    view = ClusterView.load(nodes[:1], [], [])
    never = Core(view, timeline=1, epoch=1, now=0.0, ids=counting_ids(), ephemeral=timedelta())
    never.on_tick(61.0)
    assert not any(each.nodes_gone for each in run(never, 61.0)[0])


@pytest.mark.parametrize("action", list(NodeAction))
def test_what_is_wanted_of_a_node_that_nobody_knows_is_done_at_once(action: NodeAction) -> None:
    core = a_core([])
    (changes,) = wanted(core, action, "n-9")
    assert changes == Changes(node_intents_done=(7,))


def test_an_intent_read_twice_is_one() -> None:
    core = a_core([a_node("n-1")])
    core.on_node_intents([NodeIntent(7, "n-1", REJECT)])
    core.on_node_intents([NodeIntent(7, "n-1", REJECT)])
    assert len([each for each in run(core)[0] if each.node_intents_done]) == 1


@pytest.mark.row("3.4/manual-approval")
def test_a_newcomer_waits_for_approval_where_that_is_set_and_is_heard_meanwhile() -> None:
    core = a_core([], newcomers=Membership.PENDING)
    assert refusal(core, a_node("n-1", connected=False)) == ""
    node = core.view.nodes["n-1"]
    assert (node.membership, node.connection) == (Membership.PENDING, Connection.CONNECTED)
    core.on_evaluations([Evaluation("", "j-9", "job-register", a_job("j-9"))])
    assert not any(each.executions_new for each in run(core)[0])
    core.on_node_intents([NodeIntent(1, "n-1", APPROVE)])
    written, _ = run(core)
    assert any(each.executions_new for each in written), "it takes what waited"


@pytest.mark.row("3.4/newcomer", "3.4/shutdown", "3.4/return")
def test_a_newcomer_is_let_in_at_once_leaves_in_good_order_and_comes_back_as_it_was() -> None:
    core = a_core([])
    assert refusal(core, a_node("n-1", connected=False)) == ""
    node = core.view.nodes["n-1"]
    assert (node.membership, node.connection) == (Membership.APPROVED, Connection.CONNECTED)
    beat = Heartbeat(
        node_id="n-1", boot_id=node.boot_id, timeline=1, incarnation=1, sequence=0, digest="0" * 16, leaving=True
    )
    core.on_heartbeat(beat, 2.0)
    run(core, 2.0)
    node = core.view.nodes["n-1"]
    assert (node.connection, node.error, node.disconnected_since) == (
        Connection.DISCONNECTED,
        "graceful shutdown",
        NOW,
    )
    assert refusal(core, a_node("n-1", connected=False)) == ""
    node = core.view.nodes["n-1"]
    assert (node.membership, node.connection, node.error) == (Membership.APPROVED, Connection.CONNECTED, "")


@pytest.mark.row("4.5/version")
def test_a_node_that_speaks_an_older_protocol_is_told_so_and_given_nothing() -> None:
    core = a_core([])
    core.on_hello(a_hello(a_node("n-1", connected=False)).model_copy(update={"protocol": 0}), "inbox")
    (reply,) = [each for each in run(core)[1] if isinstance(each, Reply)]
    assert reply.reply.refusal is not None
    assert (reply.reply.refusal.code, "n-1" in core.view.nodes) == ("protocol", False)
    assert "protocol 0 is too old; this server speaks" in reply.reply.refusal.message
