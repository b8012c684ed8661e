"""Both halves of the node protocol against each other, over a network that a test controls message by message.

`World` is a record with the rules that matter to the protocol, leaders (some of them frozen), and nodes whose
journals can be crashed, wiped, rolled back or cloned. Nothing here decides anything that the product decides:
it only carries acts out and checks, at each step, what must never happen.
"""

import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from skrei_domain.lifecycle import ORDER, ExecutionState, Want
from skrei_domain.messages import (
    CommandBatch,
    Confirm,
    ExecutionObserved,
    ExecutionWanted,
    FactBatch,
    Heartbeat,
    Hello,
    HelloReply,
    Problem,
    RunOrder,
)
from skrei_domain.node import NodeInfo
from skrei_domain.sync import (
    Act,
    Denied,
    Halt,
    JournalRow,
    LeaderSide,
    Meta,
    NodeLog,
    NodeSide,
    PutFact,
    PutKnown,
    Run,
    SayHello,
    Write,
    replay,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """An execution in the record."""

    id: str
    unit: int
    node: str
    incarnation: int
    revision: int = 1
    seen_revision: int = 0
    staged: bool = False
    want: Want = Want.RUN
    state: ExecutionState = ExecutionState.OFFERED
    observed: ExecutionState = ExecutionState.OFFERED
    revoked: bool = False


@dataclass
class Record:
    """What Postgres would hold."""

    timeline: int = 1
    epoch: int = 0
    rows: dict[str, Row] = field(default_factory=dict)
    logs: dict[str, NodeLog] = field(default_factory=dict)
    winners: dict[int, str] = field(default_factory=dict)


@dataclass
class Process:
    """One agent process: its half of the protocol and the workloads that run in it."""

    node: str
    journal: "Journal"
    side: NodeSide
    running: set[str] = field(default_factory=set)
    dead: bool = False
    asked: float = float("-inf")  # when it said hello last


@dataclass
class Journal:
    """Durable rows, in order; a clone or an older copy of them is a fault that a test may make."""

    node: str
    rows: list[JournalRow] = field(default_factory=list)
    ever_run: set[str] = field(default_factory=set)  # executions that this copy was told to begin
    refused: set[str] = field(default_factory=set)  # executions that this copy was told to stop, or never to run


class World:
    """The record, its leaders, the nodes, and every message that is on its way."""

    def __init__(self, nodes: tuple[str, ...] = ("n-1", "n-2")) -> None:
        self.now = 0.0
        self.boots = 0
        self.names = 0
        self.facts = 0
        self.said: dict[tuple[str, int, int], set[str]] = {}  # (boot, incarnation, sequence) -> facts written there
        self.record = Record()
        self.frozen: list[LeaderSide] = []
        self.leader = self.elect()
        self.up: list[Hello | FactBatch | Heartbeat] = []
        self.down: list[tuple[str, CommandBatch | Confirm | tuple[str, HelloReply]]] = []
        self.processes = [self.boot(Journal(node)) for node in nodes]
        for process in self.processes:
            self.say_hello(process)

    # ------------------------------------------------------------ time and processes

    @property
    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now)

    def boot(self, journal: Journal) -> Process:
        self.boots += 1
        side = NodeSide(replay(Meta(journal.node), journal.rows), f"boot-{self.boots}")
        process = Process(journal.node, journal, side)
        # what survived in the journal is taken up again, unless it was being stopped
        for known in side.unfinished():
            if known.want is Want.RUN:
                process.running.add(known.execution_id)
            else:
                self.carry(process, side.observe(self.fact(known.execution_id, ExecutionState.STOPPED), self.wall))
        return process

    def restart(self, index: int) -> None:
        """Kill a process; its successor has what was durable."""
        old = self.processes[index]
        old.dead = True
        self.processes[index] = self.boot(old.journal)
        self.say_hello(self.processes[index])

    def clone(self, index: int) -> None:
        """A copy of the journal is started somewhere else under the same node id, while the original runs on."""
        process = self.boot(copy.deepcopy(self.processes[index].journal))
        self.processes.append(process)
        self.say_hello(process)

    def elect(self) -> LeaderSide:
        self.record.epoch += 1
        return LeaderSide(self.record.timeline, self.record.epoch)

    def replace_leader(self) -> None:
        """The leader freezes past its lease; another takes over and asks every node to say hello."""
        self.frozen.append(self.leader)
        self.leader = self.elect()
        self.ask_everyone()

    def ask_everyone(self) -> None:
        for node in sorted({process.node for process in self.processes}):
            self.down.append((node, self.leader.ask_hello()))

    def restore(self, backup: Record) -> None:
        """The record is restored from a backup; only a leader of the restored record goes on."""
        self.record = copy.deepcopy(backup)
        self.frozen.clear()
        self.leader = self.elect()
        self.ask_everyone()

    # ------------------------------------------------------------ the node's shell

    def say_hello(self, process: Process) -> None:
        process.asked = self.now
        self.up += process.side.hello(NodeInfo(node_id=process.node))

    def hours_pass(self) -> None:
        """What lies in the streams is gone, and journals forget what no command can reach any more."""
        self.now += 7_200.0
        self.up.clear()
        self.down.clear()
        for process in self.processes:
            if not process.dead:
                self.carry(process, process.side.prune(self.wall))

    def carry(self, process: Process, acts: list[Act], *, crash_after: int | None = None) -> None:
        process.side.memory.known.check()
        for index, act in enumerate(acts):
            if crash_after is not None and index >= crash_after:
                if process in self.processes:
                    self.restart(self.processes.index(process))
                return
            match act:
                case Write(rows):
                    process.journal.rows += rows
                    self.note(process, rows)
                case Run(execution_id, _):
                    assert execution_id not in process.journal.ever_run, "one journal began an execution twice"
                    assert execution_id not in process.journal.refused, "a stopped execution was begun"
                    assert process.side.greeted, "a command was obeyed before hello"
                    process.journal.ever_run.add(execution_id)
                    process.running.add(execution_id)
                case Halt(execution_id):
                    process.running.discard(execution_id)
                    self.carry(
                        process, process.side.observe(self.fact(execution_id, ExecutionState.STOPPED), self.wall)
                    )
                case SayHello():
                    self.say_hello(process)
                case Denied(problem):
                    if problem.code == "duplicate-node":
                        process.dead = True
                        process.running.clear()
                case _:
                    pass

    def fact(self, execution_id: str, state: ExecutionState) -> ExecutionObserved:
        """A fact that can be told from every other by its problem's message."""
        self.facts += 1
        mark = Problem(code="mark", message=str(self.facts))
        return ExecutionObserved(execution_id=execution_id, revision=0, state=state, problem=mark)

    def note(self, process: Process, rows: tuple[JournalRow, ...]) -> None:
        """Remember which fact was written where, and which executions this journal must never begin."""
        for row in rows:
            match row:
                case PutFact(sequence, fact, _):
                    place = (process.side.boot_id, process.side.memory.meta.incarnation, sequence)
                    self.said.setdefault(place, set()).add(repr(fact))
                case PutKnown(known) if known.want is Want.STOP and known.order is None:
                    process.journal.refused.add(known.execution_id)
                case _:
                    pass

    def observe(self, process: Process, execution_id: str, state: ExecutionState) -> None:
        if state.is_terminal:
            process.running.discard(execution_id)
        self.carry(process, process.side.observe(self.fact(execution_id, state), self.wall))

    def pump(self, process: Process, *, heartbeat: bool = True) -> None:
        """A node's own loop: facts that may go, a heartbeat, and hello again while nobody has answered."""
        if process.dead:
            return
        self.up += process.side.batches(self.now)
        if heartbeat:
            self.up.append(process.side.heartbeat())
        if not process.side.greeted and self.now - process.asked >= 0.5:
            self.say_hello(process)

    def deliver_down(self, index: int, *, keep: bool = False, crash_after: int | None = None) -> None:
        node, message = self.down[index] if keep else self.down.pop(index)
        for process in [p for p in self.processes if p.node == node and not p.dead]:
            match message:
                case CommandBatch():
                    acts = process.side.on_commands(message, self.wall)
                case Confirm():
                    acts = process.side.on_confirm(message, self.wall)
                case (boot_id, reply):
                    acts = process.side.on_reply(reply, self.wall) if boot_id == process.side.boot_id else []
            self.carry(process, acts, crash_after=crash_after)

    # ------------------------------------------------------------ the leader's shell

    def commits(self, leader: LeaderSide) -> bool:
        """The lease row under lock: only the present leader of the present record commits."""
        return leader.epoch == self.record.epoch and leader.timeline == self.record.timeline

    def plan(self, unit: int, node: str) -> None:
        """Place an attempt of a unit, as a scheduler would: only where none is live and unrevoked."""
        log = self.record.logs.get(node)
        rows = self.record.rows.values()
        if log is None or unit in self.record.winners:
            return
        if any(row.unit == unit and not row.revoked and not row.state.is_terminal for row in rows):
            return
        self.names += 1
        row = Row(f"e-{self.names}", unit, node, log.incarnation)
        self.record.rows[row.id] = row
        self.send(row)

    def revoke(self, execution_id: str) -> None:
        row = self.record.rows[execution_id]
        if not row.revoked and not row.state.is_terminal:
            self.record.rows[row.id] = replace(row, revoked=True, want=Want.STOP, revision=row.revision + 1)
            self.send(self.record.rows[row.id])

    def send(self, row: Row) -> None:
        if not self.leader.greeted(row.node):
            return
        order = RunOrder(
            job_id=f"j-{row.unit}", job_version=1, task="main", partition=0, partition_count=1, task_json="{}"
        )
        command = ExecutionWanted(
            execution_id=row.id,
            revision=row.revision,
            want=row.want,
            incarnation=row.incarnation,
            run=order if row.want is Want.RUN else None,
        )
        batch = CommandBatch(timeline=self.leader.timeline, epoch=self.leader.epoch, commands=(command,))
        self.down.append((row.node, batch))

    def sweep(self) -> None:
        """Repeat what stayed unseen."""
        for row in list(self.record.rows.values()):
            if row.revision > row.seen_revision and not row.state.is_terminal:
                self.send(row)

    def deliver_up(self, index: int, *, keep: bool = False, leader: LeaderSide | None = None) -> None:
        message = self.up[index] if keep else self.up.pop(index)
        leader = leader or self.leader
        log = self.record.logs.get(message.node_id)
        match message:
            case FactBatch():
                answer = leader.receive(log, message, self.now)
                if answer.facts and self.commits(leader):
                    assert log is not None
                    self.apply(message.node_id, log, answer.first, answer.facts, message.writer)
                    leader.applied(message.node_id, answer.facts)
                    self.down.append((message.node_id, leader.confirm(self.record.logs[message.node_id])))
                elif answer.confirm is not None:
                    self.down.append((message.node_id, answer.confirm))
            case Heartbeat():
                confirm = leader.heartbeat(log, message, self.now)
                if confirm is not None:
                    self.down.append((message.node_id, confirm))
            case Hello():
                self.greet(leader, log, message)

    def greet(self, leader: LeaderSide, log: NodeLog | None, hello: Hello) -> None:
        mine = {
            row.id: row for row in self.record.rows.values() if row.node == hello.node_id and not row.state.is_terminal
        }
        greeting = leader.greet(log, mine, hello, self.now)
        if greeting.challenge is not None:
            self.down.append((hello.node_id, greeting.challenge))
        if greeting.restored or greeting.log is not None:
            if not self.commits(leader):
                return  # a refused commit ends this leader: it answers nobody
            if greeting.restored:
                self.record.timeline = max(self.record.timeline, hello.timeline) + 1
                self.leader = LeaderSide(self.record.timeline, self.record.epoch)
                self.ask_everyone()
                return
        if greeting.log is not None:
            self.record.logs[hello.node_id] = greeting.log
            for execution_id in greeting.lost:
                row = self.record.rows[execution_id]
                self.record.rows[execution_id] = replace(row, state=ExecutionState.LOST, observed=ExecutionState.LOST)
            for item in greeting.listed.values():
                known = self.record.rows.get(item.execution_id)
                if known is not None and not known.state.is_terminal:
                    seen = max(known.seen_revision, item.revision)
                    self.record.rows[known.id] = replace(known, seen_revision=min(seen, known.revision))
        self.down.append((hello.node_id, (hello.boot_id, greeting.reply)))

    def apply(self, node: str, log: NodeLog, first: int, facts: tuple[object, ...], writer: str) -> None:
        """One commit of facts, with the record's rules: exactly the next sequence, and fencing by revocation."""
        assert first == log.confirmed + 1, "confirmed skipped"
        for sequence, fact in enumerate(facts, start=first):
            assert isinstance(fact, ExecutionObserved)
            self.check_place(log, sequence, fact)
            row = self.record.rows.get(fact.execution_id)
            if row is None:
                continue
            row = replace(row, seen_revision=max(row.seen_revision, min(fact.revision, row.revision)))
            if not row.state.is_terminal and ORDER[fact.state] > ORDER[row.observed]:
                final = ExecutionState.STOPPED if row.revoked and fact.state.is_terminal else fact.state
                row = replace(row, state=final, observed=final)
                if final is ExecutionState.COMPLETED:
                    assert not row.revoked, "a revoked execution won its unit"
                    assert row.unit not in self.record.winners, "a unit was won twice"
                    self.record.winners[row.unit] = row.id
            self.record.rows[row.id] = row
        self.record.logs[node] = NodeLog(log.incarnation, log.confirmed + len(facts), log.boot_id, writer)

    def check_place(self, log: NodeLog, sequence: int, fact: ExecutionObserved) -> None:
        """What is applied as a sequence is what some process of this node wrote there, and nothing else since."""
        written = self.said.get((log.boot_id, log.incarnation, sequence))
        if written is not None:
            assert repr(fact) in written, f"sequence {sequence} was applied with a fact that stands elsewhere"
        else:  # written by a process before this one
            places = [
                texts for (_, number, at), texts in self.said.items() if (number, at) == (log.incarnation, sequence)
            ]
            assert any(repr(fact) in texts for texts in places), f"nobody wrote that fact as sequence {sequence}"

    # ------------------------------------------------------------ the end of all faults

    def exchange(self, rounds: int = 400) -> None:
        """Deliver what is on its way, in order, until nothing is."""
        for _ in range(rounds):
            if self.up:
                self.deliver_up(0)
            elif self.down:
                self.deliver_down(0)
            else:
                return

    def settle(self) -> None:
        """Let everything arrive, in order, until nothing changes; frozen leaders stay frozen."""
        for _ in range(60):
            self.now += 1.0
            for process in list(self.processes):
                self.pump(process)
            self.sweep()
            self.exchange()

    def holder(self, node: str) -> Process | None:
        """The process that speaks for a node in the record."""
        log = self.record.logs.get(node)
        return next((p for p in self.processes if log and p.side.boot_id == log.boot_id and not p.dead), None)

    def check_end(self) -> None:
        """Once faults have stopped: nothing lost, nothing running that nobody wants, every fact confirmed."""
        for row in self.record.rows.values():
            if row.state.is_terminal:
                continue
            process = self.holder(row.node)
            assert process is not None, f"nobody speaks for {row.node}"
            known = process.side.known(row.id)
            assert known is not None, f"{row.id} is lost: live in the record, unknown to its node"
            assert known.live, f"{row.id} ended on its node as {known.state}, and the record never learned"
            assert row.id in process.running, f"{row.id} is live, and nothing runs"
            assert known.revision == row.revision
        for node in sorted({process.node for process in self.processes}):
            process = self.holder(node)
            assert process is not None, f"nobody speaks for {node}"
            assert process.side.greeted
            assert not process.side.memory.outbox, "facts stayed unconfirmed"
            for execution_id in process.running:
                kept = self.record.rows.get(execution_id)
                assert kept is not None, f"{execution_id} runs on, though the record does not know it"
                assert not kept.state.is_terminal, f"{execution_id} runs on, though the record has ended it"
