"""What never ends, on a node that is cut off: started again by it, after pauses that grow and outlive its agent."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_compute_agent.events import (
    ArmTimer,
    Checked,
    Exited,
    HelloDue,
    LinkLost,
    NotAdopted,
    RunEngine,
    Stage,
    Staged,
    StageFailed,
    Timer,
    TimerFired,
    Turn,
)
from skrei_compute_agent.held import Phase
from skrei_compute_agent.restarts import HELD_STEPS
from skrei_compute_agent.turns import NOTED_FACTS
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import Problem, RunOutput
from skrei_domain.restarts import MAX_DELAY_SECONDS, STABLE_SECONDS, restart_seconds, streak_after
from tests.support.agent_machine import KeptNode, a_run, a_stop, a_task, facts

ALWAYS = 2**31 - 1
CRASHED = Exited("e-1", exit_code=3, output=RunOutput(stdout="boom"))


def a_service(kind: str = "service", *, restarts: int = ALWAYS, adopting: bool = False) -> KeptNode:
    """A node that was told to run something."""
    node = KeptNode(adopting=adopting)
    node.keep(node.agent.command(a_run(job_type=kind, local_restarts=restarts)))
    return node


def pauses(turn: Turn) -> list[float]:
    return [one.seconds for one in turn.instructions if isinstance(one, ArmTimer) and one.timer is Timer.RESTART]


def staged(turn: Turn) -> list[Stage]:
    return [one for one in turn.instructions if isinstance(one, Stage)]


def cut_off(kind: str = "service", *, restarts: int = ALWAYS, adopting: bool = False) -> KeptNode:
    """A node that runs something, and that nobody hears."""
    node = a_service(kind, restarts=restarts, adopting=adopting)
    node.do(Staged("e-1"))
    node.do(LinkLost())
    return node


@given(st.lists(st.floats(0, 200), min_size=1, max_size=40))
def test_pauses_grow_to_a_limit_and_begin_anew_after_a_start_that_went_well(ran: list[float]) -> None:
    streak, before = 0, 0.0
    for seconds in ran:
        streak = streak_after(streak, seconds)
        pause = restart_seconds(streak)
        assert 1.0 <= pause <= MAX_DELAY_SECONDS
        assert pause == (1.0 if seconds >= STABLE_SECONDS else min(max(before * 2, 1.0), MAX_DELAY_SECONDS))
        before = pause
    assert restart_seconds(0) == 0.0


@pytest.mark.parametrize("kind", ["service", "daemon"])
def test_what_ends_on_a_cut_off_node_is_started_again_after_growing_pauses(kind: str) -> None:
    node, found = cut_off(kind), []
    for number in range(1, 9):
        node.passes(0.2)
        turn = node.do(CRASHED)
        (pause,) = pauses(turn)
        found.append(pause)
        assert (staged(turn), node.phase) == ([], Phase.RESTING)
        node.passes(pause)
        (stage,) = staged(node.do(TimerFired("e-1", Timer.RESTART)))
        assert stage.execution_id == "e-1"
        assert node.do(Staged("e-1")).instructions[0] == RunEngine("e-1", number + 1)
    assert found == [1, 2, 4, 8, 16, 32, 60, 60]
    assert not any(fact.state.is_terminal for fact in facts(node.rows))


def test_a_start_that_went_well_begins_the_pauses_anew() -> None:
    node = cut_off()
    for ran, wanted in ((0.1, 1), (0.1, 2), (59.9, 4), (60.0, 1), (0.1, 2)):
        node.passes(ran)
        turn = node.do(CRASHED)
        assert pauses(turn) == [wanted]
        node.do(TimerFired("e-1", Timer.RESTART))
        node.do(Staged("e-1"))


def test_an_hour_of_crashes_is_some_sixty_starts_and_a_bounded_log() -> None:
    node = cut_off()
    starts = 1
    node.do(TimerFired("e-1", Timer.REPORT))
    while node.agent.seconds < 3600:
        node.passes(0.05)
        node.passes(pauses(node.do(CRASHED))[0])
        node.do(TimerFired("e-1", Timer.RESTART))
        node.do(Staged("e-1"))
        starts += 1
    assert 60 <= starts <= 70
    assert len(node.agent.machine.node.memory.outbox) <= NOTED_FACTS + 1
    held = node.agent.machine.held("e-1")
    assert held is not None
    assert len(held.steps) <= HELD_STEPS + 3
    assert node.agent.machine.node.known("e-1").starts == starts  # type: ignore[union-attr]


def test_an_agent_that_begins_anew_goes_on_with_the_pause() -> None:
    node = cut_off()
    for _ in range(5):
        turn = node.do(CRASHED)
        node.passes(pauses(turn)[0])
        node.do(TimerFired("e-1", Timer.RESTART))
        node.do(Staged("e-1"))
    assert pauses(node.do(CRASHED)) == [32]
    node.passes(12)
    turn = node.reboot()
    assert (staged(turn), pauses(turn), node.phase) == ([], [20], Phase.RESTING)
    node.passes(20)
    assert staged(node.do(TimerFired("e-1", Timer.RESTART)))
    node.do(Staged("e-1"))
    assert pauses(node.do(CRASHED)) == [60]


def test_an_agent_that_begins_anew_after_the_pause_starts_it_at_once() -> None:
    node = cut_off()
    node.do(CRASHED)
    node.passes(5)
    assert len(staged(node.reboot())) == 1


@pytest.mark.parametrize("adopting", [False, True])
def test_an_agent_that_ends_again_and_again_with_its_program_backs_off(adopting: bool) -> None:
    node, found = cut_off(adopting=adopting), []
    for _ in range(4):
        node.passes(0.5)
        turn = node.reboot()
        if adopting:
            turn = node.do(NotAdopted("e-1"))
        found += pauses(turn)
        node.passes(found[-1])
        node.do(TimerFired("e-1", Timer.RESTART))
        node.do(Staged("e-1"))
    assert found == [1, 2, 4, 8]


def test_an_agent_that_begins_anew_beside_what_ran_well_starts_it_at_once() -> None:
    node = cut_off()
    node.passes(STABLE_SECONDS)
    turn = node.reboot()
    assert (len(staged(turn)), pauses(turn)) == (1, [])


def test_what_ended_and_rests_is_not_adopted_again() -> None:
    node = cut_off(adopting=True)
    node.do(CRASHED)
    turn = node.reboot()
    assert pauses(turn) == [1]
    assert node.phase is Phase.RESTING


def test_somebody_who_listens_is_told_instead() -> None:
    node = a_service()
    node.do(Staged("e-1"))
    turn = node.do(CRASHED)
    assert [fact.state for fact in facts(turn.rows)] == [ExecutionState.COMPLETED]
    assert pauses(turn) == []


def test_once_the_link_is_back_the_next_end_is_told() -> None:
    node = cut_off()
    node.do(CRASHED)
    node.heard()
    assert node.phase is Phase.RESTING, "its pause goes on"
    node.do(TimerFired("e-1", Timer.RESTART))
    node.do(Staged("e-1"))
    (fact,) = facts(node.do(CRASHED).rows)
    assert (fact.state, fact.starts) == (ExecutionState.COMPLETED, 2)


@pytest.mark.parametrize(("kind", "restarts"), [("batch", ALWAYS), ("ops", ALWAYS), ("service", 0)])
def test_what_may_end_or_not_be_started_again_ends(kind: str, restarts: int) -> None:
    node = cut_off(kind, restarts=restarts)
    (fact,) = facts(node.do(CRASHED).rows)
    assert fact.state is ExecutionState.COMPLETED


def test_a_stop_while_it_rests_ends_it_at_once_with_what_it_had_said() -> None:
    node = cut_off()
    node.do(CRASHED)
    node.heard()
    (fact,) = facts(node.keep(node.agent.command(a_stop())).rows)
    assert (fact.state, fact.output) == (ExecutionState.STOPPED, RunOutput(stdout="boom"))
    assert node.agent.machine.reserved.cpu_milli == 0
    assert node.do(TimerFired("e-1", Timer.RESTART)).instructions == (), "the pause that was is nothing any more"


def test_who_looks_is_told_why_it_rests_and_that_it_is_not_ready() -> None:
    node = a_service()
    node.agent.machine.held("e-1").ready = True  # type: ignore[union-attr]
    node.do(Staged("e-1"))
    node.do(LinkLost())
    (fact,) = facts(node.do(CRASHED).rows)
    assert (fact.state, fact.ready) == (ExecutionState.RUNNING, False)
    assert fact.note == "it ended with exit code 3; this node is cut off, and starts it again in 1 s"
    node.do(TimerFired("e-1", Timer.REPORT))
    node.do(TimerFired("e-1", Timer.RESTART))
    (fact,) = facts(node.do(Staged("e-1")).rows)
    assert (fact.state, fact.starts, fact.note) == (ExecutionState.RUNNING, 2, "")


def test_what_cannot_be_staged_again_while_cut_off_is_tried_later() -> None:
    node = cut_off()
    node.do(CRASHED)
    node.do(TimerFired("e-1", Timer.RESTART))
    turn = node.do(StageFailed("e-1", Problem(code="registry-unavailable", message="no way there"), passing=True))
    assert (pauses(turn), node.phase) == ([2], Phase.RESTING)
    node.heard()
    node.do(TimerFired("e-1", Timer.RESTART))
    turn = node.do(StageFailed("e-1", Problem(code="registry-unavailable", message="no way there"), passing=True))
    assert [fact.state for fact in facts(turn.rows)] == [ExecutionState.REFUSED], "the scheduler places it elsewhere"


def test_what_never_ran_here_is_told_of() -> None:
    node = a_service()
    node.do(LinkLost())
    turn = node.do(StageFailed("e-1", Problem(code="input-missing", message="no")))
    assert [fact.state for fact in facts(turn.rows)] == [ExecutionState.FAILED]


def test_a_hello_that_is_not_answered_counts_as_cut_off() -> None:
    node = a_service()
    node.do(Staged("e-1"))
    node.do(HelloDue())
    assert pauses(node.do(replace(CRASHED, exit_code=0))) == [1]


def test_a_restart_keeps_its_devices_and_its_room() -> None:
    node = cut_off()
    before = node.agent.machine.reserved
    node.do(CRASHED)
    assert node.agent.machine.reserved == before
    (stage,) = staged(node.do(TimerFired("e-1", Timer.RESTART)))
    assert stage.needs == before
    assert a_task()["Name"] == stage.task.name


def unheard(node: KeptNode, count: int) -> None:
    """Let so many others come and go, whose facts nobody confirms."""
    for number in range(count):
        node.keep(node.agent.command(a_run(f"x-{number}", revision=number + 10)))
        node.do(Staged(f"x-{number}"))
        node.do(Exited(f"x-{number}", exit_code=0))


def test_what_was_once_started_again_is_told_at_once_while_somebody_listens() -> None:
    node = cut_off()
    node.do(CRASHED)
    node.heard()
    unheard(node, NOTED_FACTS + 1)
    node.do(TimerFired("e-1", Timer.REPORT))
    node.do(TimerFired("e-1", Timer.RESTART))
    (fact,) = facts(node.do(Staged("e-1")).rows)
    assert (fact.state, fact.starts) == (ExecutionState.RUNNING, 2)
    (fact,) = facts(node.do(Checked("e-1", 2, ready=True)).rows)
    assert fact.ready


def test_what_nobody_hears_can_wait_and_is_told_once_there_is_room() -> None:
    node = a_service()
    node.do(Staged("e-1"))
    node.do(TimerFired("e-1", Timer.REPORT))
    unheard(node, NOTED_FACTS + 1)
    node.do(LinkLost())
    assert facts(node.do(Checked("e-1", 1, ready=True)).rows) == [], "a cut-off node's journal is not filled with it"
    node.heard()
    node.keep(node.agent.confirm(node.agent.machine.node.memory.meta.confirmed + NOTED_FACTS))
    (fact,) = facts(node.rows)[-1:]
    assert (fact.execution_id, fact.ready) == ("e-1", True)
