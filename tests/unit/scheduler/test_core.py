from datetime import UTC, datetime, timedelta

import pytest

from skrei_domain.clock import ManualClock
from skrei_domain.lifecycle import Connection, ExecutionState, JobState
from skrei_scheduler.core import Core
from skrei_scheduler.offers import ASK_AFTER_SECONDS, GIVE_UP_AFTER_SECONDS
from skrei_scheduler.planning import LOOK_AGAIN_SECONDS
from skrei_scheduler.record_clock import RecordClock
from skrei_scheduler.silence import SELF_SUSPICION_SECONDS
from skrei_scheduler.work import Commit, ReadSoon, Reply, SendCommands
from skrei_scheduling.rows import Evaluation, NodeRow
from skrei_scheduling.schedule import schedule
from skrei_scheduling.settle import settle
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_fact, a_hello, a_job, a_node, an_execution, counting_ids, locked


def a_core(nodes: list[NodeRow], *, now: float = 0.0) -> Core:
    job = a_job()
    rows = [an_execution(job=job, node_id=nodes[0].id)]
    view = ClusterView.load(nodes, [job], rows)
    return Core(view, timeline=1, epoch=1, now=now, ids=counting_ids())


def run(core: Core, now: float) -> list[str]:
    """Make every commit that is due; return their names."""
    names = []
    while (work := core.next_work(now, NOW)) is not None:
        if isinstance(work, Commit):
            names.append(work.name)
            rows = locked(*(job for job in core.view.jobs.values() if job.id in work.lock))
            work.after(work.decide(rows), now)
    return names


def connected(core: Core) -> int:
    return sum(node.connection is Connection.CONNECTED for node in core.view.nodes.values())


@pytest.mark.row("4.7/heartbeat")
def test_a_third_of_the_nodes_falling_silent_makes_the_leader_suspect_itself_each_time() -> None:
    core = a_core([a_node(f"n-{number}") for number in range(4)])
    for start in (100.0, 1_000.0):
        core.on_reconnect(start)
        for second in range(30):
            core.on_tick(start + second)
        run(core, start + 30)
        assert connected(core) == 4, "two minutes are not over"
        core.on_reconnect(start + 31)  # they are heard again
        for second in range(32, int(SELF_SUSPICION_SECONDS) + 60, 4):
            core.on_reconnect(start + second)
            core.on_tick(start + second)
        assert connected(core) == 4


@pytest.mark.row("3.4/silence", "4.7/heartbeat")
def test_silence_that_outlasts_the_suspicion_disconnects() -> None:
    core = a_core([a_node(f"n-{number}") for number in range(4)])
    for second in range(int(SELF_SUSPICION_SECONDS) + 60):
        core.on_tick(float(second))
        run(core, float(second))
    assert connected(core) == 0


def test_an_offer_waits_anew_when_its_node_comes_back() -> None:
    node = a_node("n-1", connected=False)
    core = a_core([node])
    away = GIVE_UP_AFTER_SECONDS + 40
    for second in range(int(away)):
        core.on_tick(float(second))
    core.on_hello(a_hello(node), "inbox")
    names = run(core, away)
    assert "hello" in names
    core.on_tick(away + 1)
    assert "unanswered" not in run(core, away + 1), "it was offered a second ago"
    assert next(iter(core.view.executions.values())).state is ExecutionState.OFFERED
    end = away + GIVE_UP_AFTER_SECONDS + ASK_AFTER_SECONDS
    core.on_reconnect(end)
    core.on_tick(end)
    assert "unanswered" in run(core, end)


def test_a_hello_said_again_replaces_the_one_that_was_not_answered() -> None:
    node = a_node("n-1", connected=False)
    core = a_core([node])
    for number in range(5):
        core.on_hello(a_hello(node), f"inbox-{number}")
    replies: list[Reply] = []
    while (work := core.next_work(1.0, NOW)) is not None:
        if isinstance(work, Commit):
            rows = locked(*(job for job in core.view.jobs.values() if job.id in work.lock))
            replies += [each for each in work.after(work.decide(rows), 1.0) if isinstance(each, Reply)]
    assert [reply.to for reply in replies] == ["inbox-4"]
    assert replies[0].node_id == "n-1"


def test_the_records_time_is_told_whatever_this_machines_clock_says() -> None:
    clock = RecordClock(ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    clock.set(datetime(2026, 1, 1, 0, 10, tzinfo=UTC))
    assert clock.now() == datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
    assert clock.now() - datetime(2026, 1, 1, tzinfo=UTC) == timedelta(minutes=10)


def test_nothing_of_a_job_is_planned_before_the_failure_that_the_record_knows_of_was_read() -> None:
    """Its unit is open: whoever looked at the job alone would place it once more."""
    job = a_job("j-1", count=2, state=JobState.RUNNING)
    rows = [an_execution("e-0", job=job, seen_revision=1)]
    view = ClusterView.load([a_node("n-1")], [job], rows)
    core = Core(view, timeline=1, epoch=1, now=0.0, ids=counting_ids(), failing={"j-1"})
    assert run(core, 0.0) == []
    core.on_evaluations([Evaluation("v-1", "j-1", "exec-failure", job, "it trapped")])
    assert run(core, 1.0) == ["plan"]
    assert [row.id for row in view.executions.values()] == ["e-0"]


def test_a_unit_that_failed_waits_for_its_judgement_whatever_else_is_looked_at() -> None:
    core = a_core([a_node("n-1")])
    core.on_hello(a_hello(a_node("n-1"), boot_id="boot-n-1"), "inbox")
    run(core, 0.0)
    (row,) = core.view.executions.values()
    locks = locked(*core.view.jobs.values())
    failed = a_fact(row.id, ExecutionState.FAILED, problem="trap")
    changes = settle(core.view, [("n-1", failed)], locks, counting_ids())
    core.view.apply(changes)
    again = schedule(core.view, [Evaluation("", row.job_id, "capacity")], NOW, 1, counting_ids())
    assert not any(decision.place for decision in again.decisions)
    (asked,) = changes.evaluations_new
    end = schedule(core.view, [Evaluation(asked.id, row.job_id, asked.trigger)], NOW, 1, counting_ids())
    assert end.decisions[0].failure is not None


def test_a_new_leader_commands_a_node_only_after_its_hello() -> None:
    node = a_node("n-1")
    core = a_core([node])

    def commanded(now: float) -> bool:
        return any(isinstance(each, SendCommands) for each in core.on_tick(now))

    assert not commanded(2.0)
    core.on_hello(a_hello(node), "inbox")
    run(core, 3.0)
    assert commanded(5.0)


def test_a_job_that_was_hinted_before_it_is_stored_is_forgotten_and_looked_for_again() -> None:
    core = a_core([a_node("n-1")])
    run(core, 0.0)
    hinted = Evaluation("v-2", "j-2", "job-register", a_job("j-2"))
    core.on_evaluations([hinted])
    work = core.next_work(0.0, NOW)
    assert isinstance(work, Commit)
    assert work.lock == {"j-2"}
    decided = work.decide(locked())
    assert decided.empty
    assert work.after(decided, 0.0) == [ReadSoon(LOOK_AGAIN_SECONDS)]
    assert "j-2" not in core.view.jobs

    core.on_evaluations([hinted])  # it is there now
    work = core.next_work(0.0, NOW)
    assert isinstance(work, Commit)
    decided = work.decide(locked(a_job("j-2"), evaluations=["v-2"]))
    assert ([row.job_id for row in decided.executions_new], decided.evaluations_done) == (["j-2"], ("v-2",))
    assert not [each for each in work.after(decided, 0.0) if isinstance(each, ReadSoon)]
    assert "j-2" in core.view.jobs
