"""The agent over crashes: whatever order things happen in, what was promised holds.

The shell is played by the test: turns wait in a queue until their rows are durable (`commit`), instructions are
carried out after that, and a crash forgets the process and every turn that was not durable.
"""

from collections import deque

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from skrei_compute_agent.events import (
    Adopt,
    Begun,
    DropFiles,
    Event,
    Exited,
    Fingerprinted,
    HelloDue,
    Instruction,
    Kill,
    LinkLost,
    NotAdopted,
    Noted,
    Publish,
    Release,
    RepeatDue,
    Replied,
    RunEngine,
    SendHello,
    Stage,
    Staged,
    StageFailed,
    Timer,
    TimerFired,
    Turn,
    Upload,
    Uploaded,
    UploadFailed,
)
from skrei_compute_agent.held import Phase
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import ExecutionObserved, Fact, HelloReply, Problem, ResultRef
from skrei_domain.node import Gpu
from skrei_domain.sync import JournalRow, Meta, PutKnown, replay
from tests.support.agent_machine import NODE, AgentDriver, a_forget, a_run, a_stop, a_task, an_info

LOCAL = {"Source": {"Type": "local", "Params": {"SourcePath": "/data"}}, "Target": "/in"}
LARGE = ResultRef(digest=f"sha256:{'0' * 64}", size=1_000_000)
TIMEOUTS = {"token": "t", "execution_timeout_seconds": 5.0, "total_timeout_seconds": 50.0}
DEVICES = tuple(Gpu(index=number, uuid=f"GPU-{number}", vendor="NVIDIA") for number in range(3))
TROUBLE = Problem(code="trap", message="unreachable")


class Node(RuleBasedStateMachine):
    """A node with a scripted leader that keeps every fact that it was ever sent, in order."""

    executions = Bundle("executions")
    adopting: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.durable: list[JournalRow] = []
        self.queue: deque[Turn] = deque()
        self.log: dict[int, Fact] = {}
        self.confirmed = 0
        self.boots = 0
        self.commanded: dict[str, int] = {}
        self.starts: dict[str, list[int]] = {}
        self.stopped: set[str] = set()
        self.staging: set[str] = set()
        self.running: set[str] = set()
        self.uploading: set[str] = set()
        self.ended: set[str] = set()  # whose program's end is durable, while its result is not uploaded
        self.dropped: set[str] = set()
        self.here = DEVICES  # the devices that this machine has now
        self.moved: set[str] = set()  # those that were away for a while
        self.devices: dict[str, tuple[str, ...]] = {}
        self.containers: dict[str, int] = {}  # what outlives the process: the start of each
        self.done: set[str] = set()  # their programs have ended
        self.concluded: set[str] = set()  # the end of these is durable

    # ------------------------------------------------------------ the shell

    def post(self, event: Event) -> None:
        self.queue.append(self.agent.turn(event))
        self.agent.machine.validate()

    def settle(self) -> None:
        while self.queue:
            self.commit_one()

    def commit_one(self) -> None:
        turn = self.queue.popleft()
        for row in turn.rows:
            self.durable.append(row)
            if isinstance(row, PutKnown) and row.known.want.value == "stop":
                self.stopped.add(row.known.execution_id)
            if isinstance(row, PutKnown) and (not row.known.live or row.known.ended is not None):
                self.concluded.add(row.known.execution_id)
            if isinstance(row, PutKnown) and row.known.ended is not None:
                self.ended.add(row.known.execution_id)
        for instruction in turn.instructions:
            self.carry_out(instruction)

    def carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Stage(execution_id, needs=needs, gpus=gpus):
                assert execution_id not in self.stopped, "staged after a durable stop"
                assert execution_id not in self.ended, "a program that has ended is run again"
                assert len(gpus) == needs.gpu
                taken = {key for other in self.staging | self.running for key in self.devices.get(other, ())}
                assert not taken & {gpu.key for gpu in gpus}, "a device was handed out twice"
                assert set(self.devices.get(execution_id, ())) <= {gpu.key for gpu in gpus} | self.moved, (
                    "others than before"
                )
                self.devices[execution_id] = tuple(gpu.key for gpu in gpus)
                self.staging.add(execution_id)
            case RunEngine(execution_id, start):
                earlier = self.starts.setdefault(execution_id, [])
                assert start > max(earlier, default=0), "a start number was used twice"
                assert execution_id not in self.dropped
                earlier.append(start)
                self.running.add(execution_id)
                if self.adopting:
                    assert execution_id not in self.containers or execution_id in self.done, "two programs of one"
                    self.done.discard(execution_id)
                    self.containers[execution_id] = start
            case Adopt(execution_id, start):
                if self.containers.get(execution_id) == start:
                    self.running.add(execution_id)
                else:
                    self.post(NotAdopted(execution_id))
            case Release(execution_id):
                assert execution_id in self.concluded, "removed before its end was durable"
                self.containers.pop(execution_id, None)
                self.done.discard(execution_id)
            case Kill(execution_id):
                if execution_id in self.staging:
                    self.staging.discard(execution_id)
                    self.post(StageFailed(execution_id, Problem(code="cancelled", message="")))
                elif execution_id in self.running:
                    self.running.discard(execution_id)
                    self.done.add(execution_id)
                    self.post(Exited(execution_id, problem=Problem(code="killed", message="")))
                elif execution_id in self.uploading:
                    self.uploading.discard(execution_id)
                    self.post(UploadFailed(execution_id, Problem(code="killed", message="")))
            case Upload(parcel):
                assert parcel.execution_id in self.ended, "an upload began before the end was durable"
                assert parcel.execution_id not in self.uploading | self.running | self.dropped
                self.uploading.add(parcel.execution_id)
            case Publish(batches):
                for batch in batches:
                    self.receive(batch.first, batch.facts)
            case SendHello(pages):
                incarnation = pages[0].incarnation or 1
                reply = HelloReply(timeline=1, epoch=1, incarnation=incarnation, confirmed=self.confirmed)
                self.post(Replied(reply.model_copy(update={"publisher_url": "http://publisher"})))
            case DropFiles(execution_id):
                assert execution_id not in self.staging | self.running | self.uploading, (
                    "files went under a running execution"
                )
                self.dropped.add(execution_id)
            case _:
                pass

    def receive(self, first: int, facts: tuple[Fact, ...]) -> None:
        for sequence, fact in enumerate(facts, start=first):
            assert sequence <= len(self.log) + 1, "facts left a gap"
            if sequence in self.log:
                assert self.log[sequence] == fact, "history was rewritten"
            self.log[sequence] = fact

    def boot(self) -> None:
        self.boots += 1
        self.queue.clear()
        self.staging.clear()
        self.running.clear()
        self.uploading.clear()
        self.agent = AgentDriver(
            replay(Meta(NODE), self.durable), boot_id=f"b-{self.boots}", gpus=self.here, adopting=self.adopting
        )
        self.post(Begun())
        self.post(HelloDue())

    # ------------------------------------------------------------ what happens

    @initialize()
    def first_boot(self) -> None:
        self.boot()
        self.settle()

    @rule(
        target=executions,
        restarts=st.integers(0, 2),
        fetches=st.booleans(),
        gpus=st.integers(0, 2),
        kind=st.sampled_from(["batch", "service"]),
    )
    def run(self, restarts: int, fetches: bool, gpus: int, kind: str) -> str:
        execution_id = f"e-{len(self.commanded)}"
        self.commanded[execution_id] = restarts
        needs = {"CPU": "100m", "Memory": "100Mb", "GPU": str(gpus)}
        task = a_task(InputSources=[LOCAL] if fetches else [], Resources=needs)
        order = {"task": task, "job_type": kind, "local_restarts": restarts, **TIMEOUTS}
        self.queue.append(self.agent.command(a_run(execution_id, **order)))
        return execution_id

    @rule(execution_id=executions)
    def repeat_the_run(self, execution_id: str) -> None:
        self.queue.append(
            self.agent.command(a_run(execution_id, local_restarts=self.commanded[execution_id], **TIMEOUTS))
        )

    @rule(execution_id=executions)
    def stop(self, execution_id: str) -> None:
        self.queue.append(self.agent.command(a_stop(execution_id)))

    @rule(target=executions)
    def stop_before_run(self) -> str:
        execution_id = f"e-{len(self.commanded)}"
        self.commanded[execution_id] = 1
        self.queue.append(self.agent.command(a_stop(execution_id)))
        return execution_id

    @precondition(lambda self: self.queue)
    @rule()
    def commit(self) -> None:
        self.commit_one()

    @rule()
    def commit_all(self) -> None:
        self.settle()

    @precondition(lambda self: self.staging)
    @rule(data=st.data(), works=st.booleans())
    def staging_ends(self, data: st.DataObject, works: bool) -> None:
        execution_id = data.draw(st.sampled_from(sorted(self.staging)))
        self.staging.discard(execution_id)
        self.post(Staged(execution_id) if works else StageFailed(execution_id, TROUBLE))

    @precondition(lambda self: self.staging)
    @rule(data=st.data(), text=st.sampled_from(["pulling: 1 of 2 MB", "pulling: 2 of 2 MB"]))
    def staging_is_told_of(self, data: st.DataObject, text: str) -> None:
        self.post(Noted(data.draw(st.sampled_from(sorted(self.staging))), text))

    @rule()
    def everything_staged_runs(self) -> None:
        self.settle()
        for execution_id in sorted(self.staging):
            self.staging.discard(execution_id)
            self.post(Staged(execution_id))
        self.settle()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), works=st.booleans(), result=st.sampled_from([None, LARGE]))
    def the_engine_ends(self, data: st.DataObject, works: bool, result: ResultRef | None) -> None:
        execution_id = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(execution_id)
        self.done.add(execution_id)
        problem = None if works else TROUBLE
        self.post(Exited(execution_id, exit_code=0 if works else None, problem=problem, result=result))

    @precondition(lambda self: self.uploading)
    @rule(data=st.data(), works=st.booleans())
    def an_upload_ends(self, data: st.DataObject, works: bool) -> None:
        execution_id = data.draw(st.sampled_from(sorted(self.uploading)))
        self.uploading.discard(execution_id)
        self.post(Uploaded(execution_id, "receipt") if works else UploadFailed(execution_id, TROUBLE))

    @rule(execution_id=executions)
    def forget(self, execution_id: str) -> None:
        known = self.agent.machine.node.known(execution_id)
        if known is not None and known.state.is_terminal and not known.forgotten:
            self.queue.append(self.agent.command(a_forget(execution_id, known.revision + 1)))

    @rule(execution_id=executions, timer=st.sampled_from(Timer))
    def a_timer_fires(self, execution_id: str, timer: Timer) -> None:
        held = self.agent.machine.held(execution_id)
        if timer is Timer.EXECUTION and (held is None or held.phase.value == "staging"):
            return  # armed when the engine starts, not before
        self.post(TimerFired(execution_id, timer))

    @rule(upto=st.integers(0, 3))
    def confirm(self, upto: int) -> None:
        self.confirmed = max(self.confirmed, min(len(self.log), self.confirmed + upto))
        self.queue.append(self.agent.confirm(self.confirmed))

    @rule(upto=st.integers(1, 3))
    def a_confirmation_is_lost(self, upto: int) -> None:
        self.confirmed = max(self.confirmed, min(len(self.log), self.confirmed + upto))

    @rule(here=st.sets(st.sampled_from(range(3)), min_size=1))
    def devices_come_and_go(self, here: set[int]) -> None:
        self.here = tuple(DEVICES[number] for number in sorted(here))
        self.moved |= {gpu.key for gpu in DEVICES if gpu not in self.here}
        self.queue.append(self.agent.turn(Fingerprinted(an_info(gpus=self.here))))

    @rule()
    def the_link_goes(self) -> None:
        self.queue.append(self.agent.turn(LinkLost()))

    @rule()
    def the_link_returns(self) -> None:
        self.post(HelloDue())

    @rule()
    def time_passes(self) -> None:
        self.agent.seconds += 100.0
        self.post(RepeatDue())

    @rule()
    def crash(self) -> None:
        self.boot()

    @rule()
    def the_machine_reboots(self) -> None:
        """What outlived the agent is gone, too."""
        self.containers.clear()
        self.boot()

    def resting(self) -> list[str]:
        held = [self.agent.machine.held(execution_id) for execution_id in self.commanded]
        return [each.execution_id for each in held if each is not None and each.phase is Phase.RESTING]

    def sweep(self) -> None:
        """What `service` does each minute: the engine removes what the machine does not hold."""
        for execution_id in list(self.containers):
            if self.agent.machine.held(execution_id) is None:
                assert execution_id in self.concluded, "swept before its end was durable"
                del self.containers[execution_id]

    # ------------------------------------------------------------ what must hold

    @invariant()
    def nothing_starts_more_often_than_allowed(self) -> None:
        for execution_id, starts in self.starts.items():
            assert len(starts) <= self.commanded[execution_id] + 1

    @invariant()
    def no_execution_ends_in_two_ways(self) -> None:
        ends: dict[str, ExecutionState] = {}
        for sequence in sorted(self.log):
            fact = self.log[sequence]
            if isinstance(fact, ExecutionObserved) and fact.state.is_terminal:
                assert ends.setdefault(fact.execution_id, fact.state) is fact.state

    def teardown(self) -> None:
        """Once nothing goes wrong any more, everything that was taken ends, is told and is cleaned up."""
        if not self.boots:
            return
        self.post(HelloDue())
        for _ in range(200):
            self.settle()
            for execution_id in sorted(self.staging):
                self.staging.discard(execution_id)
                self.post(Staged(execution_id))
            for execution_id in sorted(self.running):
                self.running.discard(execution_id)
                self.post(Exited(execution_id, exit_code=0))
            for execution_id in sorted(self.resting()):
                self.post(TimerFired(execution_id, Timer.RESTART))
            for execution_id in sorted(self.uploading):
                self.uploading.discard(execution_id)
                self.post(Uploaded(execution_id, "receipt"))
            self.settle()
            self.confirmed = len(self.log)
            self.queue.append(self.agent.confirm(self.confirmed))
            self.agent.seconds += 100.0
            self.post(RepeatDue())
            memory = self.agent.machine.node.memory
            if not self.queue and not memory.outbox:
                break
        self.settle()
        for known in list(memory.known.listed.values()):
            assert known.ended is not None, "only what was uploaded is kept until it is to be forgotten"
            assert known.execution_id not in self.dropped, "it was kept, and its files are gone"
            self.queue.append(self.agent.command(a_forget(known.execution_id, known.revision + 1)))
        self.settle()
        assert not memory.known.listed
        self.agent.machine.validate()
        memory = self.agent.machine.node.memory
        assert not memory.outbox, "facts were never sent"
        assert not [known for known in memory.known.values() if known.live], "something never ended"
        assert self.agent.machine.reserved.cpu_milli == 0
        self.sweep()
        assert not self.containers, "a container was left"
        told = {fact.execution_id for fact in self.log.values() if isinstance(fact, ExecutionObserved)}
        assert told >= memory.known.keys(), "an execution was taken and never spoken of"
        assert replay(Meta(NODE), self.durable).known == memory.known, "the journal and the memory differ"


class AdoptingNode(Node):
    """A node whose engine's programs outlive the agent."""

    adopting = frozenset({"scripted"})

    @invariant()
    def what_runs_is_what_the_journal_counts(self) -> None:
        for execution_id in self.running:
            known = self.agent.machine.node.known(execution_id)
            assert known is not None
            assert self.containers[execution_id] == known.starts, "an earlier start was taken for this one"


Node.TestCase.settings = settings(max_examples=180, stateful_step_count=40, deadline=None)
TestNode = Node.TestCase
AdoptingNode.TestCase.settings = Node.TestCase.settings
TestAdoptingNode = AdoptingNode.TestCase
