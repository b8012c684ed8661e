"""A scripted leader over a real nats-server: the protocol's other half, with a record in memory and no scheduler."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skrei_domain import subjects
from skrei_domain.envelope import unwrap, wrap
from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import (
    CommandBatch,
    Confirm,
    ExecutionObserved,
    ExecutionWanted,
    FactBatch,
    Heartbeat,
    Hello,
    HelloReply,
    LogChunk,
    LogRequest,
    NodeChanged,
    Problem,
    RunOrder,
)
from skrei_domain.node import NodeInfo
from skrei_domain.sync import LeaderSide, NodeLog
from skrei_embedded.nats import free_port
from skrei_kit import topology
from skrei_kit.bus import Bus, Message

SECONDS = 15.0  # how long a test waits for what must come


@dataclass(frozen=True, slots=True)
class Row:
    """An execution in the record."""

    id: str
    incarnation: int
    order: RunOrder | None
    revision: int = 1
    seen_revision: int = 0
    staged: bool = False
    want: Want = Want.RUN
    state: ExecutionState = ExecutionState.OFFERED
    observed: ExecutionState = ExecutionState.OFFERED


class NatsServer:
    """One nats-server on a free port of the loopback, which can be killed and started again."""

    def __init__(self, folder: Path, config: str = "") -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._store = folder / "jetstream"
        self._config = folder / "nats.conf"
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self._store}" }}\n{config}'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = Path(sys.executable).parent / "nats-server"
        self._process = subprocess.Popen(
            [binary, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if time.monotonic() > deadline:
                raise TimeoutError("nats-server does not listen")
            os.sched_yield()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        """Lose every stream."""
        shutil.rmtree(self._store, ignore_errors=True)


@contextmanager
def a_nats_server(folder: Path, config: str = "") -> Any:
    """Run a server for the caller."""
    server = NatsServer(folder, config)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class ScriptedLeader:
    """Greets one node, commands it, and keeps every fact; `confirming` False leaves facts unconfirmed."""

    def __init__(self, bus: Bus, node_id: str, *, epoch: int = 1, heartbeat_seconds: float = 0.1) -> None:
        self.bus = bus
        self.node_id = node_id
        self.side = LeaderSide(1, epoch, heartbeat_seconds=heartbeat_seconds)
        self.rows: dict[str, Row] = {}
        self.log: NodeLog | None = None
        self.facts: list[ExecutionObserved] = []
        self.batches: list[FactBatch] = []
        self.beats: list[Heartbeat] = []
        self.hellos: list[Hello] = []
        self.infos: list[NodeInfo] = []  # what the node said of itself, in hellos and facts
        self.confirming = True
        self.refusal: Problem | None = None
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        await self.make_streams()
        await self.bus.subscribe(subjects.ALL_HELLOS, self._hello)
        await self.bus.subscribe(subjects.ALL_FACTS, self._facts)
        await self.bus.subscribe(subjects.ALL_HEARTBEATS, self._heartbeat)
        await self.bus.flush()

    async def make_streams(self) -> None:
        await self.bus.ensure_stream(topology.commands())
        await self.bus.ensure_stream(topology.facts())
        await self.bus.ensure_consumer(subjects.STREAM_COMMANDS, topology.node_consumer(self.node_id))

    # ------------------------------------------------------------ acts

    async def run(self, execution_id: str, order: RunOrder) -> None:
        assert self.log is not None, "greet the node first"
        self.rows[execution_id] = Row(execution_id, self.log.incarnation, order)
        await self.command(execution_id)

    async def stop(self, execution_id: str) -> None:
        row = self.rows[execution_id]
        self.rows[execution_id] = replace(row, revision=row.revision + 1, want=Want.STOP)
        await self.command(execution_id)

    async def command(self, *execution_ids: str) -> None:
        """Send what is wanted of these executions, once more if need be."""
        wanted = []
        for execution_id in execution_ids:
            row = self.rows[execution_id]
            run = row.order if row.want is Want.RUN else None
            wanted.append(
                ExecutionWanted(
                    execution_id=row.id, revision=row.revision, want=row.want, incarnation=row.incarnation, run=run
                )
            )
        batch = CommandBatch(timeline=self.side.timeline, epoch=self.side.epoch, commands=tuple(wanted))
        await self.bus.publish(
            subjects.command(self.node_id), wrap(batch, type_="skrei.commands.v1", source="leader", id_="c")
        )

    async def confirm(self) -> None:
        assert self.log is not None
        confirm = self.side.confirm(self.log)
        await self.bus.publish(
            subjects.confirm(self.node_id), wrap(confirm, type_="skrei.confirm.v1", source="leader", id_="f")
        )

    async def ask_hello(self) -> None:
        """Ask the node for a hello, as a leader does that has not heard it for a while."""
        asked = Confirm(timeline=self.side.timeline, epoch=self.side.epoch, hello=True)
        await self.bus.publish(
            subjects.confirm(self.node_id), wrap(asked, type_="skrei.confirm.v1", source="leader", id_="q")
        )

    async def read_log(self, execution_id: str, *, follow: bool = False, tail: bool = False) -> AsyncIterator[LogChunk]:
        """Yield the chunks of a log request up to its end."""
        request = LogRequest(request_id=f"r-{time.monotonic_ns()}", execution_id=execution_id, follow=follow, tail=tail)
        queue: asyncio.Queue[LogChunk] = asyncio.Queue()

        async def take(message: Message) -> None:
            queue.put_nowait(unwrap(LogChunk, message.data))

        subscription = await self.bus.subscribe(subjects.log(self.node_id, request.request_id), take)
        await self.bus.publish(
            subjects.rpc(self.node_id), wrap(request, type_=request.type, source="api", id_=request.request_id)
        )
        try:
            while True:
                async with asyncio.timeout(SECONDS):
                    chunk = await queue.get()
                yield chunk
                if chunk.end:
                    return
        finally:
            await subscription.unsubscribe()
            cancel = request.model_copy(update={"cancel": True})
            await self.bus.publish(subjects.rpc(self.node_id), wrap(cancel, type_=request.type, source="api", id_="x"))

    # ------------------------------------------------------------ waits

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once `holds`, looked at after every message."""
        async with asyncio.timeout(SECONDS), self._changed:
            await self._changed.wait_for(holds)

    async def ended(self, execution_id: str) -> ExecutionObserved:
        """Return the terminal fact of an execution."""
        await self.until(lambda: any(self._ended(execution_id)))
        return self._ended(execution_id)[0]

    async def greeted(self) -> None:
        """Return once the node has said a hello that was taken."""
        await self.until(lambda: self.log is not None)

    def _ended(self, execution_id: str) -> list[ExecutionObserved]:
        return [fact for fact in self.facts if fact.execution_id == execution_id and fact.state.is_terminal]

    # ------------------------------------------------------------ messages

    async def _hello(self, message: Message) -> None:
        hello = unwrap(Hello, message.data)
        self.hellos.append(hello)
        self.infos.append(hello.info)
        if self.refusal is not None:
            reply = HelloReply(timeline=1, epoch=self.side.epoch, refusal=self.refusal)
        else:
            live = {key: row for key, row in self.rows.items() if not row.state.is_terminal}
            greeting = self.side.greet(self.log, live, hello, time.monotonic())
            if greeting.log is not None:
                self.log = greeting.log
                await self.make_streams()
            reply = greeting.reply
            if greeting.unseen:
                await self.command(*greeting.unseen)
            if greeting.challenge is not None:
                asked = wrap(greeting.challenge, type_="skrei.confirm.v1", source="leader", id_="a")
                await self.bus.publish(subjects.confirm(self.node_id), asked)
        await self.bus.publish(message.reply, wrap(reply, type_="skrei.hello.reply.v1", source="leader", id_="h"))
        await self._tell()

    async def _facts(self, message: Message) -> None:
        batch = unwrap(FactBatch, message.data)
        self.batches.append(batch)
        answer = self.side.receive(self.log, batch, time.monotonic())
        if answer.facts and self.log is not None:
            for fact in answer.facts:
                if isinstance(fact, NodeChanged):
                    self.infos.append(fact.info)
                if isinstance(fact, ExecutionObserved):
                    self.facts.append(fact)
                    if (row := self.rows.get(fact.execution_id)) is not None:
                        self.rows[row.id] = replace(
                            row, state=fact.state, observed=fact.state, seen_revision=fact.revision
                        )
            last = answer.first + len(answer.facts) - 1
            self.log = replace(self.log, confirmed=last, confirmed_by=batch.writer)
            self.side.applied(self.node_id, answer.facts)
            if self.confirming:
                await self.confirm()
        elif answer.confirm is not None and self.confirming:
            await self.bus.publish(
                subjects.confirm(self.node_id),
                wrap(answer.confirm, type_="skrei.confirm.v1", source="leader", id_="f"),
            )
        await self._tell()

    async def _heartbeat(self, message: Message) -> None:
        beat = unwrap(Heartbeat, message.data)
        self.beats.append(beat)
        if beat.leaving:
            self.side.leave(self.node_id)
        elif (asked := self.side.heartbeat(self.log, beat, time.monotonic())) is not None and self.confirming:
            payload = wrap(asked, type_="skrei.confirm.v1", source="leader", id_="b")
            await self.bus.publish(subjects.confirm(self.node_id), payload)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def a_leader(
    url: str, node_id: str, *, creds: Path | None = None, **options: Any
) -> AsyncIterator[ScriptedLeader]:
    """Run a scripted leader for the caller."""
    bus = await Bus.connect(url, name="leader", creds=creds)
    leader = ScriptedLeader(bus, node_id, **options)
    await leader.start()
    try:
        yield leader
    finally:
        await bus.close()
