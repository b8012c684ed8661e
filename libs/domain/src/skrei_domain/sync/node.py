"""The node's half: what its journal remembers, which commands it obeys, and its ordered log of facts.

Every method returns acts in order. A `Write` must be durable before the acts after it are carried out: that is
the only duty of the shell, and all that the promises at a crash rest on.
"""

from datetime import datetime, timedelta

from skrei_domain.evolving import replace
from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import (
    CommandBatch,
    Confirm,
    ExecutionObserved,
    ExecutionWanted,
    Fact,
    FactBatch,
    Heartbeat,
    Hello,
    HelloExecution,
    HelloReply,
    NodeChanged,
    PortObserved,
    Wanted,
)
from skrei_domain.node import NodeInfo
from skrei_domain.sync.acts import Act, Denied, Drop, Halt, Run, SayHello, Write
from skrei_domain.sync.digest import digest
from skrei_domain.sync.facts import storable, weight
from skrei_domain.sync.known import Known
from skrei_domain.sync.memory import DropFacts, DropKnown, JournalRow, NodeMemory, PutFact, PutKnown, PutMeta

BATCH_FACTS = 256  # a batch stays far below the 512 KiB of a message
BATCH_BYTES = 256 * 1024
WINDOW_BATCHES = 4  # unconfirmed batches: enough to cover a commit, few enough to push back
REPEAT_SECONDS = 5.0  # first repeat of what stays unconfirmed; doubles
REPEAT_MAX_SECONDS = 60.0
HELLO_PAGE = 1_000  # executions a page: about 130 KiB
REMEMBERED = timedelta(hours=1)  # how long a revision outlives its execution: well over COMMANDS' 10 minutes
REMEMBERED_MAX = 100_000  # about 20 MB of journal
PRUNE_ROWS = 256  # tombstones dropped in one turn: about a millisecond of the journal's time


class NodeSide:
    """One process's view of the protocol over the node's journal. `boot_id` is new for every process."""

    def __init__(self, memory: NodeMemory, boot_id: str) -> None:
        self.memory = memory
        self.boot_id = boot_id
        self.greeted = False
        self._challenge = ""
        self._next = memory.meta.confirmed + 1  # the first fact that is not in flight
        self._in_flight: list[tuple[int, float]] = []  # (last sequence, sent at) of each unconfirmed batch
        self._repeat_seconds = REPEAT_SECONDS
        self._weights: dict[int, int] = {}  # bytes of the facts in the outbox, once they were weighed

    # ------------------------------------------------------------ reading

    @property
    def sequence(self) -> int:
        """The sequence of the last fact in the log."""
        return self.memory.meta.confirmed + len(self.memory.outbox)

    @property
    def unconfirmed(self) -> int:
        """How many facts wait for a leader to confirm them."""
        return len(self.memory.outbox)

    @property
    def in_flight(self) -> int:
        """How many batches of them are under way."""
        return len(self._in_flight)

    def known(self, execution_id: str) -> Known | None:
        """Return what the journal knows of an execution."""
        return self.memory.known.get(execution_id)

    def unfinished(self) -> list[Known]:
        """Return the executions that a new process has to take up again."""
        return list(self.memory.known.live.values())

    def heartbeat(self, *, leaving: bool = False) -> Heartbeat:
        """Return a heartbeat as of the last fact."""
        meta = self.memory.meta
        return Heartbeat(
            node_id=meta.node_id,
            boot_id=self.boot_id,
            timeline=meta.timeline,
            incarnation=meta.incarnation,
            sequence=self.sequence,
            digest=digest(
                (known.execution_id, known.told, known.state) for known in self.memory.known.live.values() if known.told
            ),
            leaving=leaving,
        )

    # ------------------------------------------------------------ hello

    def hello(self, info: NodeInfo) -> list[Hello]:
        """Return the pages of a hello. Until its reply is taken, commands are not obeyed and facts are held."""
        self.greeted = False
        meta = self.memory.meta
        untold = {
            fact.execution_id
            for fact in self.memory.outbox.values()
            if isinstance(fact, ExecutionObserved) and fact.state.is_terminal
        }
        listed = [
            HelloExecution(
                execution_id=known.execution_id,
                revision=known.revision,
                state=known.state,
                starts=known.starts,
                kept=known.state.is_terminal and known.execution_id not in untold,
            )
            for known in self.memory.known.listed.values()
        ]
        pages = [listed[start : start + HELLO_PAGE] for start in range(0, len(listed), HELLO_PAGE)] or [[]]
        return [
            Hello(
                node_id=meta.node_id,
                boot_id=self.boot_id,
                timeline=meta.timeline,
                epoch=meta.epoch,
                incarnation=meta.incarnation,
                sequence=self.sequence,
                confirmed=meta.confirmed,
                executions=tuple(page),
                writers=self._writers(),
                info=info,
                challenge=self._challenge,
                page=number,
                pages=len(pages),
            )
            for number, page in enumerate(pages)
        ]

    def on_reply(self, reply: HelloReply, now: datetime) -> list[Act]:
        """Take the answer to the last page of a hello."""
        meta = self.memory.meta
        if reply.refusal is not None:
            return [Denied(reply.refusal)]
        if reply.more or reply.timeline < meta.timeline:
            return []
        if reply.timeline == meta.timeline and reply.epoch < meta.epoch:
            return []  # a leader that has been replaced
        if reply.incarnation > meta.incarnation:
            return self._open(reply, now)
        if reply.incarnation < meta.incarnation or reply.confirmed > self.sequence or reply.timeline > meta.timeline:
            return [SayHello()]  # an answer to an older hello than the journal's state
        self.greeted = True
        acts: list[Act] = []
        rows: list[JournalRow] = []
        if reply.epoch > meta.epoch:
            self.memory.meta = replace(meta, epoch=reply.epoch)
            rows.append(PutMeta(self.memory.meta))
        rows += [
            self._put(replace(known, told=known.revision))
            for known in self.unfinished()
            if known.told != known.revision
        ]
        if rows:
            acts.append(Write(tuple(rows)))
        acts += self._confirm(reply.confirmed, now)
        for wanted in reply.wanted:
            acts += self._apply(wanted, now)
        self._rewind(self.memory.meta.confirmed + 1)
        return acts

    def _open(self, reply: HelloReply, now: datetime) -> list[Act]:
        """Open a new incarnation: a new log, which begins with one fact for every execution still known."""
        latest: dict[str, ExecutionObserved] = {}
        for sequence in sorted(self.memory.outbox):
            fact = self.memory.outbox[sequence]
            if isinstance(fact, ExecutionObserved):
                latest[fact.execution_id] = (
                    fact if fact.result or fact.execution_id not in latest else _later(latest[fact.execution_id], fact)
                )
        self.memory.meta = replace(
            self.memory.meta,
            timeline=reply.timeline,
            epoch=reply.epoch,
            incarnation=reply.incarnation,
            confirmed=0,
            confirmed_by="",
        )
        self.memory.outbox, self.memory.writers = {}, {}
        self._weights.clear()
        rows: list[JournalRow] = [DropFacts(None), PutMeta(self.memory.meta)]
        for known in list(self.memory.known.listed.values()):
            ended = known.ended if known.state.is_terminal else None
            fact = (
                latest.get(known.execution_id)
                or ended
                or ExecutionObserved(
                    execution_id=known.execution_id,
                    revision=known.revision,
                    state=known.state,
                    starts=known.starts,
                    ports=known.ports or None,
                )
            )
            rows.append(self._put(replace(known, told=known.revision, changed_at=now)))
            rows.append(self._append(fact.model_copy(update={"revision": known.revision})))
        self._rewind(1)
        return [Write(tuple(rows)), SayHello()]

    # ------------------------------------------------------------ commands

    def on_commands(self, batch: CommandBatch, now: datetime) -> list[Act]:
        """Obey what is new. Before a hello nothing is; nor is a leader that has been replaced."""
        meta = self.memory.meta
        if not self.greeted or batch.timeline < meta.timeline:
            return []
        if batch.timeline > meta.timeline:
            return [SayHello()]
        if batch.epoch < meta.epoch:
            return []
        acts: list[Act] = []
        if batch.epoch > meta.epoch:
            self.memory.meta = replace(meta, epoch=batch.epoch)
            acts.append(Write((PutMeta(self.memory.meta),)))
        for command in batch.commands:
            acts += self._apply(command, now)
        return acts

    def _apply(self, command: ExecutionWanted | Wanted, now: datetime) -> list[Act]:
        known = self.memory.known.get(command.execution_id)
        if known is not None and command.revision <= known.revision:
            return []
        match command.want:
            case Want.RUN:
                return self._apply_run(command, known, now)
            case Want.STOP:
                return self._apply_stop(command, known, now)
            case Want.FORGET:
                return self._apply_forget(command, known, now)

    def _apply_run(self, command: ExecutionWanted | Wanted, known: Known | None, now: datetime) -> list[Act]:
        if known is not None:  # a higher revision of what is here already: nothing to start
            rows: list[JournalRow] = [self._put(replace(known, revision=command.revision, changed_at=now))]
            return [Write(tuple(rows))]
        if isinstance(command, Wanted) or command.run is None or command.incarnation != self.memory.meta.incarnation:
            return []  # offered to an earlier incarnation: the leader counts it as lost
        fresh = Known(command.execution_id, command.revision, Want.RUN, order=command.run, changed_at=now)
        return [Write((self._put(fresh),)), Run(command.execution_id, command.run)]

    def _apply_stop(self, command: ExecutionWanted | Wanted, known: Known | None, now: datetime) -> list[Act]:
        if known is not None and known.live:
            stopping = replace(known, revision=command.revision, want=Want.STOP, changed_at=now)
            return [Write((self._put(stopping),)), Halt(command.execution_id, getattr(command, "reason", ""))]
        # unknown: noted as stopped, so that a late run is refused; ended already: say so at the new revision
        state = ExecutionState.STOPPED if known is None else known.state
        base = known or Known(command.execution_id, 0, Want.STOP, state=state)
        ended = replace(base, revision=command.revision, want=Want.STOP, told=command.revision, changed_at=now)
        fact = ExecutionObserved(
            execution_id=command.execution_id, revision=command.revision, state=state, starts=ended.starts
        )
        return [Write((self._put(ended), self._append(fact)))]

    def _apply_forget(self, command: ExecutionWanted | Wanted, known: Known | None, now: datetime) -> list[Act]:
        if known is None:
            return []
        gone = replace(_forgotten(known), revision=command.revision, want=Want.FORGET, changed_at=now)
        halt: list[Act] = [Halt(known.execution_id)] if known.live else []
        return [Write((self._put(gone),)), *halt, Drop(known.execution_id)]

    # ------------------------------------------------------------ facts

    def started(self, execution_id: str, now: datetime) -> list[Act]:
        """Number the next start of an execution, to be journaled before it happens."""
        known = self.memory.known[execution_id]
        return [Write((self._put(replace(known, starts=known.starts + 1, fell_at=None, changed_at=now)),))]

    def fell(self, execution_id: str, falls: int, now: datetime) -> list[Act]:
        """Note that a start has ended which this node follows by another one itself: the n-th such end in a row."""
        known = self.memory.known[execution_id]
        return [Write((self._put(replace(known, falls=falls, fell_at=now, changed_at=now)),))]

    def assigned(self, execution_id: str, devices: tuple[str, ...], now: datetime) -> list[Act]:
        """Note which GPUs an execution was given, by key; nothing where that is noted already."""
        known = self.memory.known[execution_id]
        if known.devices == devices:
            return []
        return [Write((self._put(replace(known, devices=devices, changed_at=now)),))]

    def opened(self, execution_id: str, ports: tuple[PortObserved, ...], now: datetime) -> list[Act]:
        """Note which ports an execution was given; nothing where that is noted already."""
        known = self.memory.known[execution_id]
        if known.ports == ports:
            return []
        return [Write((self._put(replace(known, ports=ports, changed_at=now)),))]

    def observe(self, fact: ExecutionObserved, now: datetime) -> list[Act]:
        """Append the whole observed state of an execution to the log, at the revision that the journal holds.

        An execution that is not known, forgotten or already terminal has nothing more to say: no acts.
        """
        known = self.memory.known.get(fact.execution_id)
        if known is None or not known.live:
            return []
        said = storable(fact).model_copy(update={"revision": known.revision, "starts": known.starts})
        kept = said if fact.state.is_terminal and fact.result is not None and fact.result.receipt else None
        told = replace(known, state=fact.state, told=known.revision, changed_at=now, ended=kept)
        return [Write((self._put(told), self._append(said)))]

    def withhold(self, fact: ExecutionObserved, now: datetime) -> list[Act]:
        """Remember the end of an execution whose result is still to be uploaded; the log tells that it publishes.

        Like `observe`, it has nothing to say of what is not known, forgotten or terminal.
        """
        known = self.memory.known.get(fact.execution_id)
        if known is None or not known.live:
            return []
        end = storable(fact).model_copy(update={"revision": known.revision, "starts": known.starts})
        said = end.model_copy(update={"state": ExecutionState.PUBLISHING, "problem": None, "result": None})
        told = replace(known, state=said.state, told=known.revision, changed_at=now, ended=end)
        return [Write((self._put(told), self._append(said)))]

    def changed(self, info: NodeInfo) -> list[Act]:
        """Append what the node can do now."""
        return [Write((self._append(NodeChanged(info=info)),))]

    def batches(self, now: float) -> list[FactBatch]:
        """Return the batches to send now (monotonic seconds): what is new, or what stayed unconfirmed too long."""
        if not self.greeted:
            return []
        if (due := self.next_repeat()) is not None and now >= due:
            self._repeat_seconds = min(self._repeat_seconds * 2, REPEAT_MAX_SECONDS)
            self._rewind(self.memory.meta.confirmed + 1, keep_pace=True)
        meta = self.memory.meta
        found: list[FactBatch] = []
        while self._next <= self.sequence and len(self._in_flight) < WINDOW_BATCHES:
            first, size = self._next, 0
            facts: list[Fact] = []
            while self._next <= self.sequence and len(facts) < BATCH_FACTS:
                fact = self.memory.outbox[self._next]
                if self._next not in self._weights:
                    self._weights[self._next] = weight(fact)
                size += self._weights[self._next]
                if facts and size > BATCH_BYTES:
                    break
                facts.append(fact)
                self._next += 1
            found.append(
                FactBatch(
                    node_id=meta.node_id,
                    boot_id=self.boot_id,
                    incarnation=meta.incarnation,
                    first=first,
                    facts=tuple(facts),
                    writer=self.memory.writers[self._next - 1],
                )
            )
            self._in_flight.append((self._next - 1, now))
        return found

    def next_repeat(self) -> float | None:
        """When (monotonic seconds) `batches` has something to repeat, if nothing is confirmed before."""
        return self._in_flight[0][1] + self._repeat_seconds if self._in_flight else None

    def on_confirm(self, confirm: Confirm, now: datetime) -> list[Act]:
        """Take a confirmation: drop what is committed, send again from a gap, say hello when asked."""
        meta = self.memory.meta
        if confirm.boot_id not in ("", self.boot_id):
            return []
        if confirm.hello or confirm.timeline > meta.timeline:
            self._challenge = confirm.challenge
            # Also for one that seems to come from the past: a restored record knows only by our hello that it is.
            return [SayHello()]
        if confirm.timeline < meta.timeline or confirm.epoch < meta.epoch:
            return []
        if not self.greeted or confirm.incarnation != meta.incarnation:
            return []
        if confirm.confirmed > self.sequence:
            return [SayHello()]  # our journal is behind what it once said: a restored snapshot
        acts = self._confirm(confirm.confirmed, now)
        if confirm.resend_from is not None:
            self._rewind(max(confirm.resend_from, self.memory.meta.confirmed + 1))
        return acts

    def _confirm(self, confirmed: int, now: datetime) -> list[Act]:
        meta = self.memory.meta
        if confirmed <= meta.confirmed:
            return []
        dropped: list[Act] = []
        self.memory.meta = replace(meta, confirmed=confirmed, confirmed_by=self.memory.writers[confirmed])
        rows: list[JournalRow] = [DropFacts(confirmed), PutMeta(self.memory.meta)]
        for sequence in range(meta.confirmed + 1, confirmed + 1):
            fact = self.memory.outbox.pop(sequence)
            del self.memory.writers[sequence]
            self._weights.pop(sequence, None)
            if not isinstance(fact, ExecutionObserved) or not fact.state.is_terminal:
                continue
            known = self.memory.known.get(fact.execution_id)
            if known is not None and not known.forgotten and known.ended is None:  # else it is kept until `forget`
                gone = replace(_forgotten(known), changed_at=now)
                rows.append(self._put(gone))
                dropped.append(Drop(fact.execution_id))
        self._in_flight = [batch for batch in self._in_flight if batch[0] > confirmed]
        self._next = max(self._next, confirmed + 1)
        self._repeat_seconds = REPEAT_SECONDS
        return [Write(tuple(rows)), *dropped]

    def prune(self, now: datetime) -> list[Act]:
        """Drop tombstones that no stored command can reach any more, and the oldest beyond the limit.

        At most `PRUNE_ROWS` of them; none: no acts. As many as that: there may be more.
        """
        old = self.memory.known.drop_stones(now - REMEMBERED, keep=REMEMBERED_MAX, most=PRUNE_ROWS)
        return [Write(tuple(DropKnown(execution_id) for execution_id in old))] if old else []

    # ------------------------------------------------------------ helpers

    def _put(self, known: Known) -> PutKnown:
        self.memory.known.put(known)
        return PutKnown(known)

    def _append(self, fact: Fact) -> PutFact:
        sequence = self.sequence + 1
        self.memory.outbox[sequence] = fact
        self.memory.writers[sequence] = self.boot_id
        return PutFact(sequence, fact, self.boot_id)

    def _writers(self) -> tuple[tuple[int, str], ...]:
        """Return who wrote the log, as runs that begin at a sequence; the first one covers `confirmed`."""
        meta = self.memory.meta
        runs = [(meta.confirmed, meta.confirmed_by)]
        for sequence in range(meta.confirmed + 1, self.sequence + 1):
            if self.memory.writers[sequence] != runs[-1][1]:
                runs.append((sequence, self.memory.writers[sequence]))
        return tuple(runs)

    def _rewind(self, sequence: int, *, keep_pace: bool = False) -> None:
        self._next = sequence
        self._in_flight = []
        if not keep_pace:
            self._repeat_seconds = REPEAT_SECONDS


def _forgotten(known: Known) -> Known:
    return replace(known, order=None, ended=None, devices=(), ports=(), falls=0, fell_at=None, forgotten=True)


def _later(earlier: ExecutionObserved, later: ExecutionObserved) -> ExecutionObserved:
    """Keep the result that an earlier terminal fact carried when a later one only moves the revision."""
    return earlier.model_copy(update={"revision": later.revision}) if earlier.state.is_terminal else later
