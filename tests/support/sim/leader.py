"""A scheduler process: the real core of the leader, and a shell that may crash, freeze, go deaf or be replaced."""

import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Protocol, cast

from skrei_domain.errors import LeadershipLost
from skrei_domain.ids import IdSource
from skrei_domain.lifecycle import Want
from skrei_domain.messages import (
    CommandBatch,
    Confirm,
    ExecutionWanted,
    Heartbeat,
    Hello,
    HelloReply,
    PublisherCommand,
    PublisherFact,
    RunOrder,
)
from skrei_kit.tokens import TokenSigner
from skrei_scheduler.core import Core
from skrei_scheduler.specs import SpecCache, order
from skrei_scheduler.work import Commit, Fetch, Outgoing, ReadSoon, Reply, SendCommands, SendConfirm, SendPublisher
from skrei_scheduling.changes import Changes, Position
from skrei_scheduling.rows import Evaluation, ExecutionRow
from tests.support.sim.agenda import Agenda
from tests.support.sim.network import FactStream
from tests.support.sim.publisher import verify
from tests.support.sim.record import SimRecord

DUE_PAGE = 256


class Nodes(Protocol):
    """Where a leader's messages go."""

    def commands(self, node_id: str, batch: CommandBatch) -> None: ...

    def confirm(self, node_id: str, confirm: Confirm) -> None: ...

    def publish(self, command: PublisherCommand) -> None: ...


class _NoTokens:
    """Run tokens open blobs and doors, which nobody checks here."""

    def run(self, *_: object, **__: object) -> str:
        return "token"


class SimLeader:
    """One scheduler process: leads while it holds the lease, else waits for it."""

    def __init__(
        self,
        name: str,
        record: SimRecord,
        agenda: Agenda,
        stream: FactStream,
        nodes: Nodes,
        *,
        specs: SpecCache,
        ids: IdSource,
        rng: random.Random,
        tell: Callable[[str], None],
        publisher_url: str = "",
    ) -> None:
        self._publisher_url = publisher_url
        self.name = name
        self.core: Core | None = None
        self.epoch = 0
        self.doomed = 0.0  # how likely each commit is the last of this process
        self._record = record
        self._agenda = agenda
        self._stream = stream
        self._nodes = nodes
        self._specs = specs
        self._ids = ids
        self._rng = rng
        self._tell = tell
        self._term = 0  # rises when a leadership ends: what was set up for it does nothing any more
        self._away_until = 0.0  # crashed
        self._frozen_until = 0.0
        self._deaf_until = 0.0
        self._busy = False
        self._read: tuple[int, int] = (0, 0)
        self._answers: dict[str, Callable[[HelloReply], None]] = {}
        self._asked = 0
        self._skew = timedelta(seconds=rng.uniform(-0.2, 0.2))
        self._boot = rng.uniform(0.0, 1e6)

    # ------------------------------------------------------------ time

    @property
    def mono(self) -> float:
        return self._agenda.now + self._boot

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do it then, in this leadership; a frozen process does it when it wakes."""
        term = self._term

        def now() -> None:
            if self._term != term:
                return
            if self._agenda.now < self._frozen_until:
                self._agenda.after(self._frozen_until - self._agenda.now, now)
            else:
                act()

        self._agenda.after(seconds, now)

    # ------------------------------------------------------------ faults

    def freeze(self, seconds: float) -> None:
        self._tell(f"{self.name} freezes for {seconds:.1f} s")
        self._frozen_until = max(self._frozen_until, self._agenda.now + seconds)

    def deafen(self, seconds: float) -> None:
        """Its own link is away for so long."""
        self._tell(f"{self.name} is deaf for {seconds:.1f} s")
        self._deaf_until = max(self._deaf_until, self._agenda.now + seconds)
        self._later(seconds + 0.001, self._hears_again)

    def die(self, seconds: float) -> None:
        """End the process; the next one is there after so long."""
        self._tell(f"{self.name} dies")
        self._end()
        self._away_until = self._agenda.now + seconds

    def heal(self) -> None:
        self.doomed = 0.0
        self._deaf_until = 0.0

    @property
    def deaf(self) -> bool:
        return self._agenda.now < self._deaf_until

    def _hears_again(self) -> None:
        if self.core is not None and not self.deaf:
            self.core.on_reconnect(self.mono)
            self._read_facts()

    def _end(self) -> None:
        self._term += 1
        self.core = None
        self._busy = False
        self._answers.clear()

    # ------------------------------------------------------------ the lease

    def stand_by(self) -> None:
        """Try for the lease each second, for ever."""
        self._agenda.after(self._rng.uniform(0.8, 1.2), self.stand_by)
        away = self._agenda.now < max(self._away_until, self._frozen_until)
        if self.core is not None or away:
            return
        epoch = self._record.take_lease()
        if epoch is not None:
            self._lead(epoch)

    def _lead(self, epoch: int) -> None:
        self._tell(f"{self.name} leads epoch {epoch}")
        self.epoch = epoch
        self.core = Core(
            self._record.view(),
            timeline=self._record.timeline,
            epoch=epoch,
            now=self.mono,
            ids=self._ids,
            verify=verify,
            piece=self._rng.choice([1, 2, 500]),  # as if nodes held thousands
        )
        position = self._record.position
        self._read = (int(position.created), position.sequence) if position else (0, 0)
        self._send(self.core.takeover())
        self._renew()
        self._tick()
        self._read_facts()

    def _renew(self) -> None:
        if self._record.renew(self.epoch):
            self._later(1.0, self._renew)
        else:
            self._tell(f"{self.name} finds its lease lost")
            self._end()

    # ------------------------------------------------------------ what arrives

    def hello(self, hello: Hello, answer: Callable[[HelloReply], None]) -> None:
        def take() -> None:
            assert self.core is not None
            self._asked += 1
            self._answers[str(self._asked)] = answer
            self.core.on_hello(hello, str(self._asked))
            self._pump()

        self._take(take)

    def heartbeat(self, beat: Heartbeat) -> None:
        def take() -> None:
            assert self.core is not None
            self._send(self.core.on_heartbeat(beat, self.mono))
            self._pump()

        self._take(take)

    def hint(self, evaluations: Iterable[Evaluation]) -> None:
        def take() -> None:
            assert self.core is not None
            self.core.on_evaluations(evaluations)
            self._pump()

        self._take(take)

    def facts_came(self) -> None:
        self._take(self._read_facts)

    def published(self, fact: PublisherFact) -> None:
        def take() -> None:
            assert self.core is not None
            self.core.on_publisher_fact(fact)
            self._pump()

        self._take(take)

    def _take(self, act: Callable[[], None]) -> None:
        if self.core is not None and not self.deaf:
            self._later(0.0, act)

    def _read_facts(self) -> None:
        if self.core is None or self.deaf:
            return
        created, sequence = self._read
        if created != self._stream.created:
            sequence = 0
        for number, batch in self._stream.after(sequence):
            self.core.on_facts(batch, Position(str(self._stream.created), number))
        self._read = (self._stream.created, self._stream.sequence)
        self._pump()

    # ------------------------------------------------------------ the loops

    def _tick(self) -> None:
        assert self.core is not None
        self._send(self.core.on_tick(self.mono))
        self._read_due()
        self._read_facts()
        if not self.deaf:
            self._nodes.publish(self._record.publisher_work())
        self._later(1.0, self._tick)

    def _read_due(self) -> None:
        self._record.tick()
        if self.core is not None:
            self.core.on_node_intents(self._record.intents)
        found = self._record.due()[:DUE_PAGE]
        if found:
            self._later(self._rng.uniform(0.001, 0.02), lambda: self._got_due(found))

    def _got_due(self, found: list[Evaluation]) -> None:
        assert self.core is not None
        self.core.on_evaluations(found)
        self._pump()

    def _pump(self) -> None:
        while self.core is not None and not self._busy:
            work = self.core.next_work(self.mono, self._agenda.wall + self._skew)
            match work:
                case None:
                    return
                case Commit():
                    self._busy = True
                    self._later(self._rng.uniform(0.0005, 0.01), lambda work=work: self._commit(work))  # type: ignore[misc]
                case Fetch(ids):
                    self._busy = True
                    self._later(self._rng.uniform(0.0005, 0.01), lambda ids=ids: self._fetch(ids))  # type: ignore[misc]
                case _:
                    self._send(work)

    def _fetch(self, ids: tuple[str, ...]) -> None:
        assert self.core is not None
        rows = self._record.executions
        self.core.fetched(ids, {each: rows[each] for each in ids if each in rows})
        self._busy = False
        self._pump()

    def _commit(self, work: Commit) -> None:
        fate = self._rng.random() / self.doomed if self.doomed else 1.0
        if fate < 0.4:
            self.die(self._rng.uniform(0.1, 8.0))
            return
        try:
            changes = self._record.commit_as(self.epoch, work.lock, work.evaluations, work.decide)
        except LeadershipLost:
            self._tell(f"{self.name}: a commit of epoch {self.epoch} is refused")
            self._end()
            return
        if fate < 0.8:
            self.die(self._rng.uniform(0.1, 8.0))
        elif fate < 1.0:
            self._tell(f"{self.name} does not learn what became of its commit")
            self._end()
        else:
            self._later(self._rng.uniform(0.0001, 0.005), lambda: self._committed(work, changes))

    def _committed(self, work: Commit, changes: Changes) -> None:
        assert self.core is not None
        out = work.after(changes, self.mono)
        self._busy = False
        if self._record.epoch == self.epoch:
            self._record.check_view(self.core.view)
        self._send(out)
        self._pump()

    # ------------------------------------------------------------ what leaves

    def _send(self, out: Iterable[Outgoing]) -> None:
        for each in out:
            match each:
                case SendCommands(node_id, rows):
                    self._command(node_id, rows)
                case SendPublisher(command) if not self.deaf:
                    self._nodes.publish(command)
                case SendConfirm(node_id, confirm) if not self.deaf:
                    self._nodes.confirm(node_id, confirm)
                case Reply(to, reply, node_id):
                    answer = self._answers.pop(to)
                    if node_id:
                        reply = reply.model_copy(update={"publisher_url": self._publisher_url})
                    if not self.deaf:
                        answer(reply)
                case ReadSoon(seconds) if seconds <= 1.0:
                    self._later(seconds + 0.01, self._read_due)
                case _:
                    pass

    def _command(self, node_id: str, rows: Iterable[ExecutionRow]) -> None:
        assert self.core is not None
        commands = [wanted for row in rows if (wanted := self._wanted(row)) is not None]
        if commands and not self.deaf:
            batch = CommandBatch(timeline=self.core.side.timeline, epoch=self.epoch, commands=tuple(commands))
            self._nodes.commands(node_id, batch)

    def _wanted(self, row: ExecutionRow) -> ExecutionWanted | None:
        assert self.core is not None
        run: RunOrder | None = None
        if row.want is Want.RUN:
            job, spec = self.core.view.jobs.get(row.job_id), self._specs.get(row.job_id, row.job_version)
            if job is None or spec is None or job.version != row.job_version:
                return None
            signer = cast("TokenSigner", _NoTokens())
            now = self._agenda.wall + self._skew
            run = order(row, job, spec, signer=signer, now=now, token=timedelta(hours=1))
        return ExecutionWanted(
            execution_id=row.id,
            revision=row.revision,
            want=row.want,
            incarnation=row.incarnation,
            run=run,
            reason=row.reason,
        )
