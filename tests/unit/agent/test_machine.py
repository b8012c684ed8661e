"""The agent's machine: what each event comes to, without a loop, a socket or a file."""

import copy
from collections.abc import Iterator

import pytest

from skrei_compute_agent.events import (
    Adopt,
    ArmTimer,
    Begun,
    DisarmTimers,
    DropFiles,
    Exited,
    Fingerprinted,
    Instruction,
    Kill,
    Noted,
    Publish,
    Refused,
    Replied,
    RunEngine,
    SendHello,
    Stage,
    Staged,
    StageFailed,
    TidyDue,
    TidyMore,
    Timer,
    TimerFired,
    Turn,
    Upload,
    Uploaded,
    UploadFailed,
)
from skrei_compute_agent.held import IllegalEvent
from skrei_compute_agent.turns import NOTED_FACTS
from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import (
    DataRead,
    HelloReply,
    LeftPart,
    NodeChanged,
    PortObserved,
    Problem,
    Publishing,
    ResultRef,
)
from skrei_domain.sync import PRUNE_ROWS, Known, PutFact, PutKnown
from tests.support.agent_machine import (
    START,
    AgentDriver,
    KeptNode,
    a_forget,
    a_run,
    a_stage,
    a_stop,
    a_task,
    an_info,
    facts,
)


@pytest.fixture
def agent() -> Iterator[AgentDriver]:
    driver = AgentDriver()
    driver.greet()
    yield driver
    driver.machine.validate()


def kinds(turn: Turn) -> list[type[Instruction]]:
    return [type(instruction) for instruction in turn.instructions]


def states(turn: Turn) -> list[ExecutionState]:
    return [fact.state for fact in facts(turn)]


def test_a_run_with_inline_inputs_is_journaled_with_its_start_in_one_turn(agent: AgentDriver) -> None:
    turn = agent.command(a_run())
    assert [row.known.starts for row in turn.rows if isinstance(row, PutKnown)] == [0, 1]
    assert kinds(turn) == [Stage, ArmTimer]
    turn = agent.turn(Staged("e-1"))
    assert turn == Turn((), (RunEngine("e-1", 1),))


def test_a_run_that_has_to_fetch_is_journaled_as_started_only_when_it_starts(agent: AgentDriver) -> None:
    source = {"Source": {"Type": "local", "Params": {"SourcePath": "/data"}}, "Target": "/in"}
    turn = agent.command(a_run(task=a_task(InputSources=[source])))
    assert [row.known.starts for row in turn.rows if isinstance(row, PutKnown)] == [0]
    turn = agent.turn(Staged("e-1"))
    assert [row.known.starts for row in turn.rows if isinstance(row, PutKnown)] == [1]
    assert turn.instructions == (RunEngine("e-1", 1),)


def test_an_execution_that_ends_within_50_ms_reports_once(agent: AgentDriver) -> None:
    agent.command(a_run())
    assert facts(agent.turn(Staged("e-1"))) == []
    turn = agent.turn(Exited("e-1", exit_code=0, result=ResultRef(digest="sha256:0", size=1, inline="AA==")))
    (fact,) = facts(turn)
    assert fact.state is ExecutionState.COMPLETED
    assert [step.state for step in fact.steps] == [
        ExecutionState.STAGING,
        ExecutionState.RUNNING,
        ExecutionState.COMPLETED,
    ]
    assert kinds(turn) == [DisarmTimers, Publish, *kinds(turn)[2:]]


def test_an_execution_that_lives_on_reports_each_step(agent: AgentDriver) -> None:
    agent.command(a_run())
    assert states(agent.turn(TimerFired("e-1", Timer.REPORT))) == [ExecutionState.STAGING]
    assert states(agent.turn(Staged("e-1"))) == [ExecutionState.RUNNING]
    assert states(agent.turn(Exited("e-1", exit_code=3))) == [ExecutionState.COMPLETED]


def test_a_running_one_is_reported_as_running_when_it_has_lived_50_ms(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.turn(Staged("e-1"))
    assert states(agent.turn(TimerFired("e-1", Timer.REPORT))) == [ExecutionState.RUNNING]


@pytest.mark.parametrize(("code", "told"), [("image-platform", "image-platform"), ("disk-full", "refused")])
def test_a_refusal_that_would_come_again_is_told_by_its_name(agent: AgentDriver, code: str, told: str) -> None:
    agent.command(a_run())
    (fact,) = facts(agent.turn(StageFailed("e-1", Problem(code=code, message="m"), passing=True)))
    assert (fact.state, fact.problem) == (ExecutionState.REFUSED, Problem(code=told, message="m"))


PORTS = (PortObserved(name="web", host="127.0.0.1", port=20_000, target=80),)


def test_ports_are_journaled_before_the_start_and_told_while_it_runs(agent: AgentDriver) -> None:
    agent.command(a_run())
    turn = agent.turn(Staged("e-1", PORTS))
    assert [row.known.ports for row in turn.rows if isinstance(row, PutKnown)] == [PORTS]
    (fact,) = facts(agent.turn(TimerFired("e-1", Timer.REPORT)))
    assert fact.ports == PORTS


def test_what_was_read_is_told_with_the_facts_that_are_told_anyway(agent: AgentDriver) -> None:
    read = DataRead(local=61_000_000, moved=1_300)
    agent.command(a_run())
    assert facts(agent.turn(Staged("e-1", data=read))) == []
    (fact,) = facts(agent.turn(TimerFired("e-1", Timer.REPORT)))
    assert fact.data == read
    (fact,) = facts(agent.turn(Exited("e-1", exit_code=0)))
    assert fact.data == read


def test_a_new_process_adopts_a_program_with_its_ports_and_tells_them() -> None:
    first = AgentDriver(adopting=frozenset({"scripted"}))
    first.greet()
    first.command(a_run())
    first.turn(Staged("e-1", PORTS))
    second = AgentDriver(first.machine.node.memory, boot_id="b-2", adopting=frozenset({"scripted"}))
    turns = second.greet()
    (adopt,) = [each for turn in turns for each in turn.instructions if isinstance(each, Adopt)]
    assert adopt.ports == PORTS
    (fact,) = facts(second.turn(TimerFired("e-1", Timer.REPORT)))
    assert fact.ports == PORTS


def test_an_exit_code_that_is_not_zero_completes(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.turn(Staged("e-1"))
    (fact,) = facts(agent.turn(Exited("e-1", exit_code=42)))
    assert (fact.state, fact.exit_code, fact.problem) == (ExecutionState.COMPLETED, 42, None)


@pytest.mark.row("5.5/failures")
def test_an_engine_problem_fails_with_its_code(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.turn(Staged("e-1"))
    (fact,) = facts(agent.turn(Exited("e-1", problem=Problem(code="trap", message="unreachable"))))
    assert (fact.state, fact.problem) == (ExecutionState.FAILED, Problem(code="trap", message="unreachable"))


@pytest.mark.row("5.5/failures")
def test_a_failed_stage_fails_with_its_code(agent: AgentDriver) -> None:
    agent.command(a_run())
    (fact,) = facts(agent.turn(StageFailed("e-1", Problem(code="input-denied", message="/etc is not allowed"))))
    assert (fact.state, fact.problem) == (
        ExecutionState.FAILED,
        Problem(code="input-denied", message="/etc is not allowed"),
    )


def test_what_this_node_cannot_fetch_now_is_refused_to_be_placed_again(agent: AgentDriver) -> None:
    agent.command(a_run())
    away = Problem(code="input-unavailable", message="the API does not answer")
    (fact,) = facts(agent.turn(StageFailed("e-1", away, passing=True)))
    assert (fact.state, fact.problem) == (
        ExecutionState.REFUSED,
        Problem(code="refused", message="the API does not answer"),
    )


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (a_task(Engine={"Type": "docker", "Params": {}}), "no engine 'docker', only scripted"),
        (a_task(InputSources=[{"Source": {"Type": "s3"}, "Target": "/in"}]), "no storage 's3', only inline, local"),
        (a_task(Resources={"CPU": "9"}), "needs 9000m CPU"),
    ],
)
@pytest.mark.row("3.2/direct", "3.5/refusals", "4.8/bids")
def test_what_this_node_cannot_do_is_refused_with_a_reason(
    agent: AgentDriver, task: dict[str, object], reason: str
) -> None:
    turn = agent.command(a_run(task=task))
    (fact,) = facts(turn)
    assert fact.state is ExecutionState.REFUSED
    assert fact.problem is not None
    assert fact.problem.code == "refused"
    assert reason in fact.problem.message
    assert Stage not in kinds(turn)


def test_a_task_that_cannot_be_read_fails(agent: AgentDriver) -> None:
    (fact,) = facts(agent.command(a_run(task=a_task(Resources={"CPU": "a lot"}))))
    assert fact.state is ExecutionState.FAILED
    assert fact.problem is not None
    assert fact.problem.code == "invalid-task"


@pytest.mark.row("4.8/queue")
def test_room_is_handed_out_exactly_and_given_back_at_the_end(agent: AgentDriver) -> None:
    agent.command(*(a_run(f"e-{number}") for number in range(4)))
    assert states(agent.command(a_run("e-5"))) == [ExecutionState.REFUSED]
    agent.turn(Staged("e-1"))
    agent.turn(Exited("e-1", exit_code=0))
    assert states(agent.command(a_run("e-6"))) == []


def test_nothing_new_is_begun_while_too_much_is_unconfirmed(
    agent: AgentDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skrei_compute_agent.beginnings.JOURNAL_FACTS", 1)
    agent.command(a_run())
    agent.turn(Staged("e-1"))
    agent.turn(Exited("e-1", exit_code=0))
    (fact,) = facts(agent.command(a_run("e-2")))
    assert fact.state is ExecutionState.REFUSED
    assert fact.problem is not None
    assert "journal is full: 1 facts wait" in fact.problem.message
    agent.confirm(2)
    assert facts(agent.command(a_run("e-3"))) == []


@pytest.mark.row("3.2/cancel")
def test_a_stop_kills_and_reports_stopped_whatever_the_engine_says(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.turn(Staged("e-1"))
    assert kinds(agent.command(a_stop())) == [Kill]
    (fact,) = facts(agent.turn(Exited("e-1", problem=Problem(code="killed", message="killed"))))
    assert (fact.state, fact.revision, fact.problem) == (ExecutionState.STOPPED, 2, None)


def test_a_stop_while_staging_ends_it_even_if_staging_was_just_done(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.command(a_stop())
    turn = agent.turn(Staged("e-1"))
    assert states(turn) == [ExecutionState.STOPPED]
    assert RunEngine not in kinds(turn)


def test_a_run_that_comes_after_its_stop_is_not_started(agent: AgentDriver) -> None:
    agent.command(a_stop())
    assert Stage not in kinds(agent.command(a_run()))


def test_a_repeated_run_starts_nothing(agent: AgentDriver) -> None:
    agent.command(a_run())
    assert agent.command(a_run()) == Turn()


@pytest.mark.row("2.5/effective", "3.5/exec-timeout", "4.6/timeouts", "5.1/timeout")
def test_an_execution_timeout_kills_and_fails(agent: AgentDriver) -> None:
    agent.command(a_run(execution_timeout_seconds=2.0))
    turn = agent.turn(Staged("e-1"))
    assert ArmTimer("e-1", Timer.EXECUTION, 2.0) in turn.instructions
    assert kinds(agent.turn(TimerFired("e-1", Timer.EXECUTION))) == [Kill]
    (fact,) = facts(agent.turn(Exited("e-1", problem=Problem(code="killed", message="killed"))))
    assert fact.state is ExecutionState.FAILED
    assert fact.problem is not None
    assert fact.problem.code == "execution-timeout"
    assert fact.problem.message == "Execution timed out. Execution took longer than 2s"


def test_a_total_timeout_also_ends_staging(agent: AgentDriver) -> None:
    turn = agent.command(a_run(total_timeout_seconds=1.5))
    assert ArmTimer("e-1", Timer.TOTAL, 1.5) in turn.instructions
    assert kinds(agent.turn(TimerFired("e-1", Timer.TOTAL))) == [Kill]
    (fact,) = facts(agent.turn(StageFailed("e-1", Problem(code="cancelled", message=""))))
    assert fact.problem is not None
    assert fact.problem.code == "total-timeout"


@pytest.mark.row("4.8/outputs")
def test_files_go_when_the_terminal_fact_is_confirmed_and_not_before(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.turn(Staged("e-1"))
    assert DropFiles not in kinds(agent.turn(Exited("e-1", exit_code=0)))
    assert DropFiles("e-1") in agent.confirm(1).instructions
    assert agent.machine.held("e-1") is None


def test_a_late_timer_changes_nothing(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.turn(Staged("e-1"))
    agent.turn(Exited("e-1", exit_code=0))
    assert agent.turn(TimerFired("e-1", Timer.REPORT)).rows == ()
    agent.confirm(1)
    assert agent.turn(TimerFired("e-1", Timer.REPORT)).rows == ()


def test_an_event_that_cannot_be_raises_with_the_story(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.turn(Staged("e-1"))
    with pytest.raises(IllegalEvent, match=r"Staged while running; its story:\n  .* staging: Staged"):
        agent.turn(Staged("e-1"))
    with pytest.raises(IllegalEvent, match="e-nobody, which this process does not hold"):
        agent.turn(Exited("e-nobody"))


def test_commands_before_the_hello_is_answered_are_not_obeyed() -> None:
    agent = AgentDriver()
    agent.turn(Begun())
    assert agent.command(a_run()) == Turn()


@pytest.mark.row("4.7/info")
def test_what_a_node_can_do_is_told_when_it_changes(agent: AgentDriver) -> None:
    assert agent.turn(Fingerprinted(an_info())) == Turn()
    turn = agent.turn(Fingerprinted(an_info(cpu=8)))
    assert [row.fact for row in turn.rows if isinstance(row, PutFact)] == [NodeChanged(info=an_info(cpu=8))]


def test_what_is_due_to_be_forgotten_is_forgotten_turn_by_turn(agent: AgentDriver) -> None:
    for number in range(PRUNE_ROWS + 1):
        agent.machine.node.memory.known.put(
            Known(f"e-{number}", 1, Want.RUN, state=ExecutionState.STOPPED, forgotten=True, changed_at=START)
        )
    agent.seconds += 7_200.0
    turns = [agent.turn(TidyDue()) for _ in range(3)]
    assert [len(turn.rows) for turn in turns] == [PRUNE_ROWS, 1, 0]
    assert [turn.instructions for turn in turns] == [(TidyMore(),), (TidyMore(),), ()]


def test_a_refused_hello_is_handed_on(agent: AgentDriver) -> None:
    problem = Problem(code="duplicate-node", message="held by another process")
    assert agent.turn(Replied(HelloReply(refusal=problem))).instructions == (Refused(problem),)


# ---------------------------------------------------------------- restarts


@pytest.mark.row("4.8/restart")
def test_after_a_restart_the_same_execution_is_started_again_with_the_next_number() -> None:
    node = KeptNode()
    node.keep(node.agent.command(a_run()))
    node.keep(node.agent.turn(Staged("e-1")))
    assert a_stage() in node.reboot().instructions
    assert node.agent.turn(Staged("e-1")).instructions == (RunEngine("e-1", 2),)
    node.agent.machine.validate()


@pytest.mark.row("4.8/restart")
def test_after_too_many_restarts_it_fails_as_interrupted() -> None:
    node = KeptNode()
    node.keep(node.agent.command(a_run()))
    node.reboot()
    turn = node.reboot()
    (fact,) = facts(turn)
    assert fact.state is ExecutionState.FAILED
    assert fact.problem is not None
    assert fact.problem.code == "interrupted"
    assert Stage not in kinds(turn)


def test_at_most_once_is_not_started_again() -> None:
    node = KeptNode()
    node.keep(node.agent.command(a_run(local_restarts=0)))
    assert states(node.reboot()) == [ExecutionState.FAILED]


def test_one_that_was_being_stopped_is_stopped_after_a_restart() -> None:
    node = KeptNode()
    node.keep(node.agent.command(a_run()))
    node.keep(node.agent.command(a_stop()))
    assert states(node.reboot()) == [ExecutionState.STOPPED]


@pytest.mark.row("4.2/timeouts")
def test_the_total_timeout_goes_on_over_a_restart() -> None:
    node = KeptNode()
    node.keep(node.agent.command(a_run(total_timeout_seconds=10.0)))
    node.passes(4.0)
    turn = node.reboot()
    assert ArmTimer("e-1", Timer.TOTAL, 6.0) in turn.instructions


def test_a_restarted_execution_keeps_the_steps_that_were_told() -> None:
    node = KeptNode()
    node.keep(node.agent.command(a_run()))
    node.keep(node.agent.turn(TimerFired("e-1", Timer.REPORT)))
    node.reboot()
    node.agent.turn(Staged("e-1"))
    (fact,) = facts(node.agent.turn(Exited("e-1", exit_code=0)))
    assert [(step.state, step.start) for step in fact.steps] == [
        (ExecutionState.STAGING, 0),
        (ExecutionState.STAGING, 1),
        (ExecutionState.RUNNING, 2),
        (ExecutionState.COMPLETED, 2),
    ]


def test_a_forgotten_execution_is_killed_and_its_files_go_at_its_end(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.turn(Staged("e-1"))
    forget = a_stop().model_copy(update={"want": Want.FORGET})
    assert kinds(agent.command(forget)) == [Kill]
    turn = agent.turn(Exited("e-1"))
    assert facts(turn) == []
    assert DropFiles("e-1") in turn.instructions


def test_a_hello_lists_what_is_known_when_it_is_due(agent: AgentDriver) -> None:
    agent.command(a_run())
    turn = agent.turn(Replied(HelloReply(timeline=1, epoch=1, incarnation=0)))
    (hello,) = [instruction for instruction in turn.instructions if isinstance(instruction, SendHello)]
    assert [item.execution_id for item in hello.pages[0].executions] == ["e-1"]


# ---------------------------------------------------------------- uploads

LARGE = ResultRef(digest=f"sha256:{'a' * 64}", size=200_000_000)


def publishing(agent: AgentDriver, **exited: object) -> Turn:
    """Run an execution up to the end of its program, which leaves a large result."""
    agent.command(a_run(token="t", total_timeout_seconds=50.0))
    agent.turn(Staged("e-1"))
    return agent.turn(Exited("e-1", result=LARGE, **({"exit_code": 3} | exited)))  # type: ignore[arg-type]


def test_the_end_of_a_program_is_durable_before_its_upload_begins(agent: AgentDriver) -> None:
    turn = publishing(agent)
    (known,) = [row.known for row in turn.rows if isinstance(row, PutKnown)]
    assert known.state is ExecutionState.PUBLISHING
    assert known.ended is not None
    assert (known.ended.state, known.ended.exit_code) == (ExecutionState.COMPLETED, 3)
    assert states(turn) == [ExecutionState.PUBLISHING]
    assert facts(turn)[0].exit_code == 3
    assert agent.machine.reserved.cpu_milli == 0
    upload = next(each for each in turn.instructions if isinstance(each, Upload))
    assert (upload.parcel.execution_id, upload.parcel.digest, upload.parcel.size, upload.token) == (
        "e-1",
        LARGE.digest,
        LARGE.size,
        "t",
    )


@pytest.mark.row("4.8/outputs")
def test_the_receipt_goes_into_the_fact_of_the_end_and_the_files_stay_until_they_are_to_be_forgotten(
    agent: AgentDriver,
) -> None:
    publishing(agent)
    turn = agent.turn(Uploaded("e-1", "signed"))
    (fact,) = facts(turn)
    assert (fact.state, fact.exit_code, fact.result) == (
        ExecutionState.COMPLETED,
        3,
        LARGE.model_copy(update={"receipt": "signed"}),
    )
    assert [step.state.value for step in fact.steps] == ["staging", "running", "publishing", "completed"]
    assert DropFiles("e-1") not in agent.confirm(2).instructions
    page = agent.machine.node.hello(agent.machine.info)[0]
    assert [(item.execution_id, item.kept) for item in page.executions] == [("e-1", True)]
    agent.greet()
    assert agent.command(a_forget("e-1")).instructions == (DropFiles("e-1"),)


def test_what_a_result_waits_for_is_told_and_its_end_stays_in_the_journal(agent: AgentDriver) -> None:
    publishing(agent)
    turn = agent.turn(Noted("e-1", "http://store:9000 cannot be reached"))
    assert [(fact.state, fact.note) for fact in facts(turn)] == [
        (ExecutionState.PUBLISHING, "http://store:9000 cannot be reached")
    ]
    (known,) = [row.known for row in turn.rows if isinstance(row, PutKnown)]
    assert known.ended is not None
    assert (known.ended.state, known.ended.result) == (ExecutionState.COMPLETED, LARGE)
    assert not facts(agent.turn(Noted("e-1", "http://store:9000 cannot be reached")))
    assert [fact.note for fact in facts(agent.turn(Noted("e-1", "")))] == [""]
    (end,) = facts(agent.turn(Uploaded("e-1", "signed")))
    assert (end.state, end.note) == (ExecutionState.COMPLETED, None)


def test_a_new_process_goes_on_with_the_upload_and_runs_nothing_again(agent: AgentDriver) -> None:
    publishing(agent)
    successor = AgentDriver(copy.deepcopy(agent.machine.node.memory), boot_id="b-2")
    successor.seconds = 20.0
    turn = successor.turn(Begun())
    assert kinds(turn) == [ArmTimer, Upload]
    assert turn.instructions[0] == ArmTimer("e-1", Timer.TOTAL, 30.0)
    successor.turn(Replied(HelloReply(timeline=1, epoch=1, incarnation=1)))
    (fact,) = facts(successor.turn(Uploaded("e-1", "signed")))
    assert (fact.state, fact.exit_code) == (ExecutionState.COMPLETED, 3)
    successor.machine.validate()


def test_a_stop_cancels_the_upload(agent: AgentDriver) -> None:
    publishing(agent)
    assert Kill in kinds(agent.command(a_stop()))
    (fact,) = facts(agent.turn(UploadFailed("e-1", Problem(code="killed", message=""))))
    assert (fact.state, fact.problem, fact.result) == (ExecutionState.STOPPED, None, None)
    assert DropFiles("e-1") in agent.confirm(2).instructions


def test_an_upload_that_takes_longer_than_the_job_may_fails_it(agent: AgentDriver) -> None:
    publishing(agent)
    assert kinds(agent.turn(TimerFired("e-1", Timer.TOTAL))) == [Kill]
    (fact,) = facts(agent.turn(UploadFailed("e-1", Problem(code="killed", message=""))))
    assert fact.problem is not None
    assert (fact.state, fact.problem.code) == (ExecutionState.FAILED, "total-timeout")


def test_a_timer_of_the_program_means_nothing_to_its_upload(agent: AgentDriver) -> None:
    publishing(agent)
    assert agent.turn(TimerFired("e-1", Timer.EXECUTION)) == Turn()


@pytest.mark.row("5.5/failures")
def test_a_result_that_nobody_takes_fails_what_was_completed(agent: AgentDriver) -> None:
    publishing(agent)
    problem = Problem(code="publish-failed", message="denied")
    (fact,) = facts(agent.turn(UploadFailed("e-1", problem)))
    assert (fact.state, fact.problem, fact.result) == (ExecutionState.FAILED, problem, None)
    assert DropFiles("e-1") in agent.confirm(2).instructions


def test_what_a_failed_execution_left_is_uploaded_for_a_while_and_changes_nothing(agent: AgentDriver) -> None:
    trap = Problem(code="trap", message="unreachable")
    turn = publishing(agent, exit_code=None, problem=trap)
    assert ArmTimer("e-1", Timer.UPLOAD, 30.0) in turn.instructions
    assert kinds(agent.turn(TimerFired("e-1", Timer.UPLOAD))) == [Kill]
    (fact,) = facts(agent.turn(UploadFailed("e-1", Problem(code="killed", message=""))))
    assert (fact.state, fact.problem, fact.result) == (ExecutionState.FAILED, trap, None)


SMALL = ResultRef(digest=LARGE.digest, size=4, inline="Zm91cg==")


def ended_small(agent: AgentDriver, *, on_zero: bool = False, **exited: object) -> Turn:
    """Run an execution whose job names a destination up to its end, which leaves a small result."""
    agent.command(a_run(token="t", publishing=Publishing(to="s3", on_zero=on_zero)))
    agent.turn(Staged("e-1"))
    return agent.turn(Exited("e-1", result=SMALL, **({"exit_code": 0} | exited)))  # type: ignore[arg-type]


def test_what_goes_elsewhere_is_uploaded_however_small_it_is(agent: AgentDriver) -> None:
    upload = next(each for each in ended_small(agent).instructions if isinstance(each, Upload))
    assert (upload.parcel.counts, upload.inline) == (True, SMALL.inline)
    (fact,) = facts(agent.turn(Uploaded("e-1", "signed")))
    assert fact.result == ResultRef(digest=SMALL.digest, size=4, receipt="signed")


def test_a_new_process_goes_on_with_the_upload_of_what_is_small(agent: AgentDriver) -> None:
    ended_small(agent)
    successor = AgentDriver(copy.deepcopy(agent.machine.node.memory), boot_id="b-2")
    (upload,) = [each for each in successor.turn(Begun()).instructions if isinstance(each, Upload)]
    assert upload.inline == SMALL.inline


def test_a_small_result_that_no_destination_takes_still_rides_in_the_fact_of_the_failure(agent: AgentDriver) -> None:
    ended_small(agent)
    problem = Problem(code="publish-failed", message="there is no bucket")
    (fact,) = facts(agent.turn(UploadFailed("e-1", problem)))
    assert (fact.state, fact.problem, fact.result) == (ExecutionState.FAILED, problem, SMALL)


@pytest.mark.parametrize(
    ("on_zero", "exited"),
    [(False, {"exit_code": None, "problem": Problem(code="trap", message="unreachable")}), (True, {"exit_code": 3})],
)
def test_what_can_never_count_goes_where_it_would_without_a_destination(
    agent: AgentDriver, on_zero: bool, exited: dict[str, object]
) -> None:
    (fact,) = facts(ended_small(agent, on_zero=on_zero, **exited))
    assert fact.result == SMALL
    agent.command(a_run("e-2", token="t", publishing=Publishing(to="s3", on_zero=on_zero)))
    agent.turn(Staged("e-2"))
    turn = agent.turn(Exited("e-2", result=LARGE, **exited))  # type: ignore[arg-type]
    (upload,) = [each for each in turn.instructions if isinstance(each, Upload)]
    assert not upload.parcel.counts


def test_nothing_of_what_failed_is_told_where_its_job_says_so(agent: AgentDriver) -> None:
    trap = Problem(code="trap", message="unreachable")
    for execution_id, exited in (("e-1", {"exit_code": None, "problem": trap}), ("e-2", {"exit_code": 3})):
        agent.command(a_run(execution_id, token="t", drop="nonzero"))
        agent.turn(Staged(execution_id))
        turn = agent.turn(Exited(execution_id, result=LARGE, **exited))  # type: ignore[arg-type]
        assert not [each for each in turn.instructions if isinstance(each, Upload)]
        (fact,) = facts(turn)
        assert fact.result is None


def ended_here(agent: AgentDriver, place: str = "/srv/e-1", **exited: object) -> Upload:
    """Run an execution whose result is to stay on its node up to its end; what is done with that."""
    agent.command(a_run(token="t", publishing=Publishing(to="localdirectory", place=place)))
    agent.turn(Staged("e-1"))
    turn = agent.turn(Exited("e-1", result=SMALL, **({"exit_code": 0} | exited)))  # type: ignore[arg-type]
    (upload,) = [each for each in turn.instructions if isinstance(each, Upload)]
    return upload


TOLD = ResultRef(digest=LARGE.digest, size=3, inline="dG9k", left_at="/srv/e-1", left_bytes=4)


def test_what_stays_here_is_told_of_and_not_told() -> None:
    agent = AgentDriver()
    agent.greet()  # nobody has said where a publisher is, and none is needed
    upload = ended_here(agent)
    assert (upload.place, upload.inline) == ("/srv/e-1", SMALL.inline)
    (fact,) = facts(agent.turn(Uploaded("e-1", left=TOLD)))
    assert (fact.state, fact.result) == (ExecutionState.COMPLETED, TOLD)


def test_a_new_process_goes_on_with_leaving_it(agent: AgentDriver) -> None:
    first = ended_here(agent)
    successor = AgentDriver(copy.deepcopy(agent.machine.node.memory), boot_id="b-2")
    (again,) = [each for each in successor.turn(Begun()).instructions if isinstance(each, Upload)]
    assert again == first


@pytest.mark.parametrize(
    ("place", "beside"), [("/srv/e-1", "/srv/e-1.failed"), ("/srv/latest", "/srv/latest.e-1.failed")]
)
def test_what_failed_stays_too_beside_the_place_of_another_attempt(agent: AgentDriver, place: str, beside: str) -> None:
    trap = Problem(code="trap", message="unreachable")
    assert ended_here(agent, place, exit_code=None, problem=trap).place == beside
    (fact,) = facts(agent.turn(Uploaded("e-1", left=TOLD)))
    assert (fact.state, fact.problem, fact.result) == (ExecutionState.FAILED, trap, TOLD)


def test_nothing_of_what_was_to_stay_is_told_where_it_could_not_be_left(agent: AgentDriver) -> None:
    ended_here(agent)
    problem = Problem(code="publish-failed", message="this node lets no job leave a result there")
    (fact,) = facts(agent.turn(UploadFailed("e-1", problem)))
    assert (fact.state, fact.problem, fact.result) == (ExecutionState.FAILED, problem, None)


@pytest.mark.parametrize("missing", ["door", "token"])
def test_without_a_door_a_large_result_fails_by_name_and_size(missing: str) -> None:
    agent = AgentDriver()
    agent.publisher_url = "" if missing == "door" else agent.publisher_url
    agent.greet()
    agent.command(a_run(token="" if missing == "token" else "t"))
    agent.turn(Staged("e-1"))
    (fact,) = facts(agent.turn(Exited("e-1", exit_code=0, result=LARGE)))
    assert fact.problem is not None
    assert (fact.state, fact.problem.code, fact.result) == (ExecutionState.FAILED, "result-too-large", None)
    assert "200000000 bytes" in fact.problem.message
    agent.machine.validate()


def test_a_new_incarnation_tells_of_what_was_uploaded_before_with_its_receipt(agent: AgentDriver) -> None:
    publishing(agent)
    agent.turn(Uploaded("e-1", "signed"))
    agent.confirm(2)
    turn = agent.turn(Replied(HelloReply(timeline=2, epoch=1, incarnation=2)))
    (fact,) = facts(turn)
    assert fact.result is not None
    assert (fact.state, fact.result.receipt) == (ExecutionState.COMPLETED, "signed")


# ---------------------------------------------------------------- how far a preparation is


def test_a_note_is_told_while_an_execution_stages_and_each_only_once(agent: AgentDriver) -> None:
    agent.command(a_run())
    (fact,) = facts(agent.turn(Noted("e-1", "pulling: 1 of 2 MB")))
    assert (fact.state, fact.note) == (ExecutionState.STAGING, "pulling: 1 of 2 MB")
    assert facts(agent.turn(Noted("e-1", "pulling: 1 of 2 MB"))) == []
    agent.turn(TimerFired("e-1", Timer.REPORT))
    (running,) = facts(agent.turn(Staged("e-1")))
    assert (running.state, running.note) == (ExecutionState.RUNNING, None)
    assert facts(agent.turn(Noted("e-1", "pulling: 2 of 2 MB"))) == []
    agent.turn(Exited("e-1", exit_code=0))


def test_a_note_of_what_is_being_stopped_or_is_unknown_says_nothing(agent: AgentDriver) -> None:
    agent.command(a_run())
    agent.command(a_stop())
    assert facts(agent.turn(Noted("e-1", "pulling"))) == []
    assert facts(agent.turn(Noted("e-2", "pulling"))) == []
    agent.turn(StageFailed("e-1", Problem(code="cancelled", message="")))


def test_a_node_that_is_cut_off_does_not_fill_its_journal_with_notes(agent: AgentDriver) -> None:
    agent.command(a_run())
    told = [facts(agent.turn(Noted("e-1", f"pulling: {number}"))) for number in range(2 * NOTED_FACTS)]
    assert sum(map(len, told)) == NOTED_FACTS
    agent.confirm(NOTED_FACTS)
    (fact,) = facts(agent.turn(Noted("e-1", "pulling: more")))
    assert fact.note == "pulling: more"
    agent.turn(StageFailed("e-1", Problem(code="gone", message="")))


def ended_in_parts(agent: AgentDriver, **exited: object) -> Turn:
    """Run an execution of which two paths stay on its node up to its end; what comes of that."""
    left = (LeftPart(paths=("a",), place="/srv/latest"), LeftPart(paths=("b",), place="/srv/e-1"))
    agent.command(a_run(token="t", publishing=Publishing(to="store", left=left)))
    agent.turn(Staged("e-1"))
    return agent.turn(Exited("e-1", result=SMALL, **({"exit_code": 0} | exited)))  # type: ignore[arg-type]


def uploads(turn: Turn) -> list[Upload]:
    return [each for each in turn.instructions if isinstance(each, Upload)]


def test_what_stays_here_in_parts_travels_with_no_fact_and_the_rest_is_brought(agent: AgentDriver) -> None:
    (upload,) = uploads(ended_in_parts(agent))
    assert (upload.place, [each.place for each in upload.left]) == (None, ["/srv/latest", "/srv/e-1"])
    rest = ResultRef(digest=f"sha256:{'b' * 64}", size=7)
    (fact,) = facts(agent.turn(Uploaded("e-1", "signed", rest=rest)))
    assert fact.result == rest.model_copy(update={"receipt": "signed"})


def test_parts_of_what_failed_stay_beside_their_places(agent: AgentDriver) -> None:
    trap = Problem(code="trap", message="unreachable")
    (upload,) = uploads(ended_in_parts(agent, exit_code=None, problem=trap))
    assert [each.place for each in upload.left] == ["/srv/latest.e-1.failed", "/srv/e-1.failed"]
    (fact,) = facts(agent.turn(UploadFailed("e-1", Problem(code="publish-failed", message="no"))))
    assert (fact.state, fact.result) == (ExecutionState.FAILED, None)


def test_where_nobody_takes_uploads_parts_that_stay_here_do_not_leave_with_the_fact() -> None:
    agent = AgentDriver()
    agent.publisher_url = ""
    agent.greet()
    turn = ended_in_parts(agent)
    assert not uploads(turn)
    (fact,) = facts(turn)
    assert (fact.state, fact.result) == (ExecutionState.FAILED, None)
