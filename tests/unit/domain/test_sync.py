"""The rules of the protocol between node and leader, one at a time: docs/PROTOCOL.md tells what each one closes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import (
    CommandBatch,
    Confirm,
    ExecutionObserved,
    ExecutionWanted,
    FactBatch,
    HelloExecution,
    HelloReply,
    Problem,
    ResultRef,
    RunOrder,
    RunOutput,
    Wanted,
)
from skrei_domain.node import NodeInfo
from skrei_domain.sync import (
    PRUNE_ROWS,
    Act,
    Drop,
    DropKnown,
    Halt,
    Known,
    KnownExecutions,
    LeaderSide,
    Meta,
    NodeLog,
    NodeMemory,
    NodeSide,
    Run,
    SayHello,
    Write,
    digest,
    node,
)
from skrei_domain.sync import leader as leader_module
from skrei_domain.sync import told as told_module
from skrei_domain.sync.judging import Greeting
from skrei_domain.sync.leader import CHALLENGE_SECONDS, Answer
from skrei_domain.sync.node import BATCH_BYTES, HELLO_PAGE, REPEAT_SECONDS, WINDOW_BATCHES
from skrei_domain.sync.told import Told
from tests.support.protocol import Row

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODE = "n-1"
INFO = NodeInfo(node_id=NODE)
ORDER = RunOrder(job_id="j-1", job_version=1, task="main", partition=0, partition_count=1, task_json="{}")


def a_side(*, timeline: int = 1, epoch: int = 1, incarnation: int = 1, confirmed: int = 0) -> NodeSide:
    """A node that has been greeted, in the given place."""
    side = NodeSide(NodeMemory(Meta(NODE, timeline, epoch, incarnation, confirmed, "boot-1")), "boot-1")
    side.hello(INFO)
    side.on_reply(HelloReply(timeline=timeline, epoch=epoch, incarnation=incarnation, confirmed=confirmed), NOW)
    assert side.greeted
    return side


def a_run(execution_id: str = "e-1", revision: int = 1, incarnation: int = 1) -> ExecutionWanted:
    return ExecutionWanted(
        execution_id=execution_id, revision=revision, want=Want.RUN, incarnation=incarnation, run=ORDER
    )


def a_stop(execution_id: str = "e-1", revision: int = 2) -> ExecutionWanted:
    return ExecutionWanted(execution_id=execution_id, revision=revision, want=Want.STOP, incarnation=1)


def told(side: NodeSide, *commands: ExecutionWanted, timeline: int = 1, epoch: int = 1) -> list[Act]:
    return side.on_commands(CommandBatch(timeline=timeline, epoch=epoch, commands=commands), NOW)


def runs(acts: list[Act]) -> list[str]:
    return [act.execution_id for act in acts if isinstance(act, Run)]


def observed(execution_id: str = "e-1", state: ExecutionState = ExecutionState.RUNNING) -> ExecutionObserved:
    return ExecutionObserved(execution_id=execution_id, revision=1, state=state)


def a_leader(timeline: int = 1, epoch: int = 1) -> LeaderSide:
    return LeaderSide(timeline, epoch)


def greet(leader: LeaderSide, log: NodeLog | None, side: NodeSide, *rows: Row, now: float = 0.0) -> Greeting:
    greetings = [leader.greet(log, {row.id: row for row in rows}, page, now) for page in side.hello(INFO)]
    return greetings[-1]


def a_batch(first: int, count: int, *, boot_id: str = "boot-1", incarnation: int = 1) -> FactBatch:
    facts = tuple(observed(f"e-{number}") for number in range(first, first + count))
    return FactBatch(node_id=NODE, boot_id=boot_id, incarnation=incarnation, first=first, facts=facts, writer=boot_id)


def a_greeted_leader(confirmed: int = 0) -> tuple[LeaderSide, NodeLog]:
    leader, side = a_leader(), a_side(confirmed=confirmed)
    log = NodeLog(1, confirmed, "boot-1", "boot-1")
    assert greet(leader, log, side).log == log
    return leader, log


# ---------------------------------------------------------------- commands


def test_a_run_is_journaled_before_it_begins() -> None:
    acts = told(a_side(), a_run())
    assert [type(act).__name__ for act in acts] == ["Write", "Run"]


def test_a_run_offered_to_an_earlier_incarnation_is_not_started() -> None:
    assert told(a_side(incarnation=2), a_run(incarnation=1)) == []


def test_a_run_that_comes_again_is_not_started_again() -> None:
    side = a_side()
    told(side, a_run())
    assert told(side, a_run()) == []


def test_a_revision_that_is_not_higher_is_ignored() -> None:
    side = a_side()
    told(side, a_run(revision=3))
    assert told(side, a_stop(revision=3)) == []
    assert told(side, a_stop(revision=2)) == []


def test_a_higher_revision_of_a_run_starts_nothing() -> None:
    side = a_side()
    told(side, a_run())
    assert runs(told(side, a_run(revision=2))) == []


def test_commands_before_hello_are_ignored() -> None:
    side = a_side()
    side.hello(INFO)
    assert told(side, a_run()) == []


def test_commands_of_an_older_epoch_are_ignored() -> None:
    side = a_side(epoch=5)
    assert told(side, a_run(), epoch=4) == []


def test_the_epoch_of_a_command_is_remembered() -> None:
    side = a_side(epoch=5)
    told(side, a_run("e-1"), epoch=6)
    assert told(side, a_run("e-2"), epoch=5) == []


def test_commands_of_an_older_timeline_are_ignored() -> None:
    assert told(a_side(timeline=2), a_run(), timeline=1, epoch=9) == []


def test_commands_of_a_newer_timeline_call_for_a_hello_first() -> None:
    assert told(a_side(), a_run(), timeline=2) == [SayHello()]


def test_a_stop_for_an_unknown_execution_leaves_a_tombstone_that_refuses_a_late_run() -> None:
    side = a_side()
    assert not [act for act in told(side, a_stop()) if isinstance(act, Halt)]
    assert told(side, a_run()) == []
    assert side.unfinished() == []


def test_a_stop_for_an_unknown_execution_is_told_as_its_end() -> None:
    side = a_side()
    told(side, a_stop())
    (batch,) = side.batches(0.0)
    assert [(fact.state, fact.revision) for fact in batch.facts if isinstance(fact, ExecutionObserved)] == [
        (ExecutionState.STOPPED, 2)
    ]


def test_a_stop_halts_what_runs() -> None:
    side = a_side()
    told(side, a_run())
    assert Halt("e-1") in told(side, a_stop())


def test_an_execution_that_has_ended_says_nothing_more() -> None:
    side = a_side()
    told(side, a_run())
    side.observe(observed(state=ExecutionState.COMPLETED), NOW)
    assert side.observe(observed(state=ExecutionState.FAILED), NOW) == []


# ---------------------------------------------------------------- facts


@pytest.mark.row("4.9/delivery")
def test_exactly_the_next_facts_are_taken() -> None:
    leader, log = a_greeted_leader(confirmed=2)
    answer = leader.receive(log, a_batch(3, 2), 1.0)
    assert (answer.first, len(answer.facts), answer.confirm) == (3, 2, None)


def test_a_gap_is_answered_with_resend() -> None:
    leader, log = a_greeted_leader(confirmed=2)
    assert leader.receive(log, a_batch(5, 1), 1.0) == Answer(confirm=leader.confirm(log, resend_from=3))


@pytest.mark.row("4.9/delivery")
def test_a_repeat_is_confirmed_again() -> None:
    leader, log = a_greeted_leader(confirmed=2)
    assert leader.receive(log, a_batch(1, 2), 1.0) == Answer(confirm=leader.confirm(log))


def test_of_a_batch_that_overlaps_only_the_new_facts_are_taken() -> None:
    leader, log = a_greeted_leader(confirmed=2)
    answer = leader.receive(log, a_batch(1, 4), 1.0)
    assert (answer.first, [fact.execution_id for fact in answer.facts if isinstance(fact, ExecutionObserved)]) == (
        3,
        ["e-3", "e-4"],
    )


def test_facts_of_another_process_or_incarnation_are_not_taken() -> None:
    leader, log = a_greeted_leader()
    for batch in (a_batch(1, 1, boot_id="boot-2"), a_batch(1, 1, incarnation=2)):
        answer = leader.receive(log, batch, 1.0)
        assert answer.facts == ()
        assert answer.confirm is not None
        assert answer.confirm.hello


def test_a_new_leader_commands_nobody_before_it_has_been_greeted() -> None:
    leader, side = a_leader(), a_side()
    assert not leader.greeted(NODE)
    leader.heartbeat(NodeLog(1, 0, "boot-1", "boot-1"), side.heartbeat(), 0.0)
    assert not leader.greeted(NODE)
    greet(leader, NodeLog(1, 0, "boot-1", "boot-1"), side)
    assert leader.greeted(NODE)
    leader.forget(NODE)
    assert not leader.greeted(NODE)


def test_a_new_leader_takes_no_facts_before_it_has_been_greeted() -> None:
    answer = a_leader().receive(NodeLog(1, 0, "boot-1"), a_batch(1, 1), 1.0)
    assert answer.facts == ()


def a_confirm(confirmed: int, *, epoch: int = 1, resend_from: int | None = None, incarnation: int = 1) -> Confirm:
    return Confirm(
        timeline=1, epoch=epoch, boot_id="boot-1", incarnation=incarnation, confirmed=confirmed, resend_from=resend_from
    )


def a_talkative_side(facts: int) -> NodeSide:
    side = a_side()
    for number in range(facts):
        told(side, a_run(f"e-{number}"))
        side.observe(observed(f"e-{number}"), NOW)
    return side


def test_a_gap_is_sent_again_from_where_it_is() -> None:
    side = a_talkative_side(3)
    side.batches(0.0)
    side.on_confirm(a_confirm(1, resend_from=2), NOW)
    (batch,) = side.batches(0.1)
    assert (batch.first, batch.last) == (2, 3)


@pytest.mark.row("4.10/short-silence")
def test_a_fact_is_kept_until_it_is_confirmed() -> None:
    side = a_talkative_side(2)
    side.on_confirm(a_confirm(1), NOW)
    assert sorted(side.memory.outbox) == [2]


def test_a_confirmation_of_a_replaced_leader_or_another_incarnation_confirms_nothing() -> None:
    side = a_talkative_side(1)
    told(side, epoch=3)
    side.on_confirm(a_confirm(1, epoch=2), NOW)
    side.on_confirm(a_confirm(1, epoch=3, incarnation=2), NOW)
    assert sorted(side.memory.outbox) == [1]


def test_a_confirmation_from_the_nodes_own_future_calls_for_a_hello() -> None:
    assert a_talkative_side(1).on_confirm(a_confirm(2), NOW) == [SayHello()]


def test_only_so_many_batches_go_unconfirmed() -> None:
    side = a_side()
    for _ in range(WINDOW_BATCHES + 2):
        side.changed(INFO)
        side.batches(0.0)
    assert len(side.batches(0.0)) == 0
    side.on_confirm(a_confirm(1), NOW)
    assert len(side.batches(0.0)) == 1


def test_what_stays_unconfirmed_is_repeated_at_a_slowing_pace() -> None:
    side = a_talkative_side(1)
    assert len(side.batches(0.0)) == 1
    assert side.batches(REPEAT_SECONDS - 0.1) == []
    assert len(side.batches(REPEAT_SECONDS)) == 1
    assert side.batches(2 * REPEAT_SECONDS) == []
    assert len(side.batches(3 * REPEAT_SECONDS)) == 1


# ---------------------------------------------------------------- hello


def test_a_new_node_is_given_an_incarnation_before_anything_else() -> None:
    greeting = greet(a_leader(), None, NodeSide(NodeMemory(Meta(NODE)), "boot-1"))
    assert (greeting.log, greeting.reply.incarnation) == (None, 1)


def test_a_wiped_journal_makes_its_executions_lost_and_they_are_never_sent_again() -> None:
    leader, log = a_leader(), NodeLog(1, 4, "boot-1", "boot-1")
    row = Row("e-1", 0, NODE, incarnation=1)
    wiped = NodeSide(NodeMemory(Meta(NODE)), "boot-2")
    opened = greet(leader, log, wiped, row)
    assert (opened.log, opened.reply.incarnation) == (None, 2)
    wiped.on_reply(opened.reply, NOW)
    greeting = greet(leader, log, wiped, row)
    assert (greeting.lost, greeting.unseen) == (("e-1",), ())
    wiped.on_reply(greeting.reply, NOW)
    assert runs(told(wiped, a_run())) == []


def test_an_offer_that_never_arrived_is_sent_again() -> None:
    greeting = greet(a_leader(), NodeLog(1, 0, "boot-1"), a_side(), Row("e-1", 0, NODE, incarnation=1))
    assert (greeting.unseen, greeting.lost) == (("e-1",), ())


def test_a_journal_that_is_behind_what_was_confirmed_gets_a_new_incarnation() -> None:
    side = a_side(confirmed=2)
    greeting = greet(a_leader(), NodeLog(1, 5, "boot-1", "boot-1"), side)
    assert (greeting.log, greeting.reply.incarnation) == (None, 2)


def test_a_rolled_back_journal_that_wrote_on_gets_a_new_incarnation() -> None:
    side = NodeSide(NodeMemory(Meta(NODE, 1, 1, 1, 1, "boot-1")), "boot-2")
    side.changed(INFO)
    side.changed(INFO)
    greeting = greet(a_leader(), NodeLog(1, 3, "boot-1", "boot-1"), side)  # the record's 3 was written by boot-1
    assert (greeting.log, greeting.reply.incarnation) == (None, 2)


def test_a_new_incarnation_begins_with_a_fact_for_every_execution() -> None:
    side = a_talkative_side(2)
    side.on_reply(HelloReply(timeline=1, epoch=1, incarnation=2), NOW)
    told_of = [fact.execution_id for fact in side.memory.outbox.values() if isinstance(fact, ExecutionObserved)]
    assert (sorted(side.memory.outbox), told_of) == ([1, 2], ["e-0", "e-1"])


def test_an_execution_that_the_record_does_not_know_is_stopped() -> None:
    side = a_talkative_side(1)
    greeting = greet(a_leader(), NodeLog(1, 0, "boot-1"), side)
    assert greeting.orphans == ("e-0",)
    assert greeting.reply.wanted == (Wanted(execution_id="e-0", revision=2, want=Want.STOP),)
    assert Halt("e-0") in side.on_reply(greeting.reply, NOW)


def test_hello_brings_a_stop_that_was_missed() -> None:
    side = a_talkative_side(1)
    row = Row("e-0", 0, NODE, 1, revision=2, want=Want.STOP, revoked=True)
    greeting = greet(a_leader(), NodeLog(1, 0, "boot-1"), side, row)
    assert Halt("e-0") in side.on_reply(greeting.reply, NOW)


def test_an_answer_of_a_replaced_leader_is_ignored() -> None:
    side = a_side(epoch=5)
    side.hello(INFO)
    assert side.on_reply(HelloReply(timeline=1, epoch=4, incarnation=1), NOW) == []
    assert not side.greeted


def test_a_record_from_the_past_opens_a_new_timeline() -> None:
    behind = NodeLog(1, 2, "boot-1", "boot-1")
    assert greet(a_leader(), behind, a_side(confirmed=5)).restored
    assert greet(a_leader(epoch=1), NodeLog(1, 0, "boot-1"), a_side(epoch=2)).restored
    assert greet(a_leader(timeline=1), NodeLog(1, 0, "boot-1"), a_side(timeline=2)).restored


def test_a_newer_timeline_gives_every_node_a_new_incarnation() -> None:
    greeting = greet(a_leader(timeline=2), NodeLog(1, 0, "boot-1"), a_side(timeline=1))
    assert (greeting.restored, greeting.log, greeting.reply.incarnation) == (False, None, 2)


def test_long_hellos_go_in_pages_and_are_answered_when_the_last_has_come() -> None:
    side = a_side()
    for number in range(HELLO_PAGE + 1):
        told(side, a_run(f"e-{number}"))
    first, last = side.hello(INFO)
    leader = a_leader()
    log = NodeLog(1, 0, "boot-1")
    assert leader.greet(log, {}, first, 0.0).reply.more
    greeting = leader.greet(log, {}, last, 0.0)
    assert not greeting.reply.more
    assert len(greeting.listed) == HELLO_PAGE + 1


def test_the_last_page_alone_is_not_an_answerable_hello() -> None:
    side = a_side()
    for number in range(HELLO_PAGE + 1):
        told(side, a_run(f"e-{number}"))
    assert a_leader().greet(NodeLog(1, 0, "boot-1"), {}, side.hello(INFO)[1], 0.0).reply.more


# ---------------------------------------------------------------- one process for each node


def a_successor() -> NodeSide:
    return NodeSide(NodeMemory(Meta(NODE, 1, 1, 1)), "boot-2")


def test_a_restarted_process_takes_the_name_of_one_that_stays_silent() -> None:
    leader, log = a_greeted_leader()
    asked = greet(leader, log, a_successor(), now=1.0)
    assert asked.challenge is not None
    assert asked.reply.refusal is not None
    assert asked.reply.refusal.code == "busy"
    taken = greet(leader, log, a_successor(), now=1.0 + CHALLENGE_SECONDS)
    assert taken.log is not None
    assert taken.log.boot_id == "boot-2"


def test_a_clone_is_refused_while_the_original_answers_the_challenge() -> None:
    leader, log = a_greeted_leader()
    original = a_side()
    asked = greet(leader, log, a_successor(), now=1.0)
    assert asked.challenge is not None
    assert original.on_confirm(asked.challenge, NOW) == [SayHello()]
    greet(leader, log, original, now=1.1)
    refused = greet(leader, log, a_successor(), now=1.0 + CHALLENGE_SECONDS)
    assert refused.reply.refusal is not None
    assert refused.reply.refusal.code == "duplicate-node"


def test_what_the_original_said_before_the_challenge_does_not_answer_it() -> None:
    leader, log = a_greeted_leader()
    greet(leader, log, a_successor(), now=1.0)
    greet(leader, log, a_side(), now=1.1)  # a hello that was on its way when it died
    assert greet(leader, log, a_successor(), now=1.0 + CHALLENGE_SECONDS).log is not None


def test_a_process_that_left_is_succeeded_at_once() -> None:
    leader, log = a_greeted_leader()
    leader.leave(NODE)
    assert greet(leader, log, a_successor(), now=1.0).log is not None


# ---------------------------------------------------------------- heartbeats


def test_a_digest_that_differs_at_one_sequence_calls_for_a_hello() -> None:
    leader, log = a_greeted_leader()
    side = a_talkative_side(1)
    level = NodeLog(1, side.sequence, "boot-1", "boot-1")
    asked = leader.heartbeat(level, side.heartbeat(), 1.0)
    assert asked is not None
    assert asked.hello
    leader.applied(NODE, side.memory.outbox.values())
    assert leader.heartbeat(level, side.heartbeat(), 1.0) is None
    assert log.confirmed < side.sequence


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3), st.sampled_from([*ExecutionState, None]))))
def test_the_digest_that_is_kept_is_that_of_what_was_told(told: list[tuple[str, int, ExecutionState | None]]) -> None:
    kept, plain = Told(most=3), dict[str, tuple[int, ExecutionState]]()
    for execution_id, revision, state in told:
        plain.pop(execution_id, None)
        if state is None:
            kept.drop(execution_id)
        else:
            kept.put(execution_id, revision, state)
            if len(plain) < 3:
                plain[execution_id] = (revision, state)
    assert (kept.digest, len(kept)) == (digest((each, *of) for each, of in plain.items()), len(plain))


def test_a_node_that_tells_of_more_executions_than_any_has_is_not_listened_to_before_its_hello(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(told_module, "MOST_TOLD", 2)
    leader, log = a_greeted_leader()
    leader.applied(NODE, a_batch(1, 2).facts)
    assert leader.greeted(NODE)
    leader.applied(NODE, a_batch(3, 1).facts)
    assert not leader.greeted(NODE)
    answer = leader.receive(log, a_batch(1, 1), 1.0)
    assert (answer.facts, answer.confirm) == ((), leader.ask_hello("boot-1"))


def test_a_hello_of_more_executions_than_a_leader_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_module, "MOST_LISTED", 2)
    leader, side = a_leader(), a_side()
    page = side.hello(INFO)[0]
    listed = tuple(HelloExecution(execution_id=f"e-{n}", revision=1, state=ExecutionState.RUNNING) for n in range(3))
    endless = page.model_copy(update={"executions": listed, "pages": 1_000})
    refusal = leader.greet(None, {}, endless, 0.0).reply.refusal
    assert refusal is not None
    assert refusal.code == "bad-hello"
    assert leader.greet(None, {}, page, 0.0).log is not None, "nothing of it is kept"


def test_digests_are_not_compared_while_facts_are_on_their_way() -> None:
    leader, log = a_greeted_leader()
    assert leader.heartbeat(log, a_talkative_side(1).heartbeat(), 1.0) is None


def test_a_command_on_its_way_makes_no_difference_to_the_digest() -> None:
    side = a_talkative_side(1)
    before = side.heartbeat().digest
    told(side, a_stop("e-0"))
    assert side.heartbeat().digest == before == digest([("e-0", 1, ExecutionState.RUNNING)])


def test_a_tombstone_is_kept_longer_than_any_stored_command() -> None:
    side = a_side()
    told(side, a_stop())
    side.on_confirm(Confirm(timeline=1, epoch=1, incarnation=1, confirmed=1), NOW)
    side.prune(NOW + timedelta(minutes=30))
    assert told(side, a_run()) == []
    side.prune(NOW + timedelta(hours=2))
    assert side.known("e-1") is None


def test_a_stop_is_remembered_until_its_fact_is_confirmed() -> None:
    side = a_side()
    told(side, a_stop())
    side.prune(NOW + timedelta(hours=2))
    assert side.known("e-1") is not None
    assert told(side, a_run()) == []


def with_tombstones(count: int) -> NodeSide:
    """A node that has read of `count` executions, forgotten one each second, the newest first; one more is live."""
    side = a_side()
    for number in reversed(range(count)):
        at = NOW + timedelta(seconds=number)
        side.memory.known.put(
            Known(f"e-{number}", 1, Want.RUN, state=ExecutionState.COMPLETED, forgotten=True, changed_at=at)
        )
    side.memory.known.sort_stones()
    side.memory.known.put(Known("e-live", 1, Want.RUN, told=1))
    return side


def dropped(acts: list[Act]) -> list[str]:
    return [
        row.execution_id for act in acts if isinstance(act, Write) for row in act.rows if isinstance(row, DropKnown)
    ]


def test_tombstones_go_oldest_first_and_only_so_many_in_one_turn() -> None:
    side = with_tombstones(PRUNE_ROWS + 10)
    later = NOW + timedelta(hours=2)
    assert dropped(side.prune(later)) == [f"e-{number}" for number in range(PRUNE_ROWS)]
    assert dropped(side.prune(later)) == [f"e-{number}" for number in range(PRUNE_ROWS, PRUNE_ROWS + 10)]
    assert side.prune(later) == []
    side.memory.known.check()


def test_tombstones_beyond_the_limit_go_before_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "REMEMBERED_MAX", 7)
    side = with_tombstones(10)
    assert dropped(side.prune(NOW)) == ["e-0", "e-1", "e-2"]


def test_a_tombstone_that_changes_again_is_kept_from_then_on() -> None:
    side = with_tombstones(3)
    side.on_commands(
        CommandBatch(timeline=1, epoch=1, commands=(a_stop("e-0", revision=5),)), NOW + timedelta(minutes=50)
    )
    assert dropped(side.prune(NOW + timedelta(minutes=70))) == ["e-1", "e-2"]
    side.memory.known.check()


def test_changing_one_tombstone_for_ever_takes_no_more_room() -> None:
    side = with_tombstones(1)
    for number in range(500):
        known = side.memory.known["e-0"]
        side.memory.known.put(replace(known, changed_at=NOW + timedelta(seconds=number)))
        side.memory.known.check()
        assert len(side.memory.known) == 2


def test_after_a_clock_was_put_back_tombstones_wait_for_the_one_before_it_but_within_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    side = with_tombstones(0)
    for number, at in enumerate((NOW + timedelta(days=400), NOW, NOW)):
        side.memory.known.put(Known(f"e-{number}", 1, Want.FORGET, forgotten=True, changed_at=at))
    assert side.prune(NOW + timedelta(days=1)) == []
    monkeypatch.setattr(node, "REMEMBERED_MAX", 2)
    assert dropped(side.prune(NOW + timedelta(days=1))) == ["e-0", "e-1", "e-2"]


@pytest.mark.parametrize("at", [None, NOW, NOW + timedelta(microseconds=1), datetime.max.replace(tzinfo=UTC)])
@pytest.mark.parametrize("want", Want)
def test_a_tombstone_keeps_what_answers_a_late_command(want: Want, at: datetime | None) -> None:
    known = KnownExecutions()
    for state in ExecutionState:
        stone = Known(state, 2**40, want, state, starts=2**31, told=2**40 - 1, forgotten=True, changed_at=at)
        known.put(stone)
        assert known[state] == stone
    assert (len(known), dict(known.listed), dict(known.live)) == (len(ExecutionState), {}, {})
    known.check()


def an_observation(side: NodeSide, execution_id: str, text: str) -> None:
    side.observe(
        ExecutionObserved(
            execution_id=execution_id,
            revision=1,
            state=ExecutionState.RUNNING,
            problem=Problem(code="broken", message=text),
            output=RunOutput(stdout=text, stderr=text),
        ),
        NOW,
    )


def test_a_batch_is_weighed_by_its_bytes() -> None:
    side = a_side()
    for number in range(200):
        told(side, a_run(f"e-{number}"))
        an_observation(side, f"e-{number}", "\x01" * 2_048)
    batches = side.batches(0.0)
    assert len(batches) == WINDOW_BATCHES
    for batch in batches:
        assert sum(len(fact.model_dump_json()) for fact in batch.facts) <= BATCH_BYTES


def test_one_fact_never_exceeds_a_batch_whatever_its_texts_are() -> None:
    side = a_side()
    told(side, a_run())
    an_observation(side, "e-1", "\x01" * 1_000_000)
    (batch,) = side.batches(0.0)
    assert len(batch.facts[0].model_dump_json()) <= BATCH_BYTES


def test_a_text_that_utf8_cannot_say_is_made_storable() -> None:
    side = a_side()
    told(side, a_run())
    an_observation(side, "e-1", "bad \udc80 byte")
    (batch,) = side.batches(0.0)
    assert "bad ? byte" in batch.model_dump_json()


# ---------------------------------------------------------------- uploads

UPLOADED = ResultRef(digest="sha256:a", size=1_000_000, receipt="signed")


def an_uploaded_end(side: NodeSide) -> ExecutionObserved:
    """The node has run e-1, has uploaded what it left, and its end is confirmed."""
    told(side, a_run())
    end = ExecutionObserved(execution_id="e-1", revision=0, state=ExecutionState.COMPLETED, result=UPLOADED)
    side.withhold(end.model_copy(update={"result": UPLOADED.model_copy(update={"receipt": None})}), NOW)
    side.observe(end, NOW)
    side.on_confirm(Confirm(timeline=1, epoch=1, incarnation=1, confirmed=2), NOW)
    return end


def test_an_end_is_remembered_before_its_upload_and_told_after() -> None:
    side = a_side()
    told(side, a_run())
    end = ExecutionObserved(execution_id="e-1", revision=0, state=ExecutionState.COMPLETED, result=UPLOADED)
    (write,) = side.withhold(end, NOW)
    assert isinstance(write, Write)
    known = side.known("e-1")
    assert known is not None
    assert (known.state, known.ended and known.ended.state) == (ExecutionState.PUBLISHING, ExecutionState.COMPLETED)
    assert [fact.state for fact in side.memory.outbox.values()] == [ExecutionState.PUBLISHING]  # type: ignore[union-attr]


def test_what_was_uploaded_is_kept_until_it_is_to_be_forgotten() -> None:
    side = a_side()
    an_uploaded_end(side)
    (page,) = side.hello(INFO)
    assert [(item.execution_id, item.kept) for item in page.executions] == [("e-1", True)]
    forget = Wanted(execution_id="e-1", revision=2, want=Want.FORGET)
    acts = side.on_reply(HelloReply(timeline=1, epoch=1, incarnation=1, confirmed=2, wanted=(forget,)), NOW)
    assert Drop("e-1") in acts
    (page,) = side.hello(INFO)
    assert page.executions == ()


def test_a_new_incarnation_tells_again_of_what_was_uploaded() -> None:
    side = a_side()
    an_uploaded_end(side)
    side.on_reply(HelloReply(timeline=2, epoch=1, incarnation=2), NOW)
    (fact,) = side.memory.outbox.values()
    assert isinstance(fact, ExecutionObserved)
    assert (fact.state, fact.result) == (ExecutionState.COMPLETED, UPLOADED)


def test_a_staged_execution_is_not_lost_with_its_journal() -> None:
    leader = LeaderSide(1, 1)
    staged = Row("e-1", 0, NODE, 1, seen_revision=1, state=ExecutionState.PUBLISHING, staged=True)
    fresh = NodeSide(NodeMemory(Meta(NODE, 1, 1, 2)), "boot-2")
    (page,) = fresh.hello(INFO)
    greeting = leader.greet(NodeLog(2, 0, "boot-2"), {"e-1": staged}, page, 0.0)
    assert greeting.log is not None
    assert (greeting.lost, greeting.unseen) == ((), ())
