"""What leaves the leader: commands with their orders, confirmations, replies, and the publisher's work."""

import asyncio
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple

from pydantic import BaseModel

from skrei_domain import envelope, subjects
from skrei_domain.clock import Clock
from skrei_domain.lifecycle import Want
from skrei_domain.listing import InputWanted
from skrei_domain.messages import (
    CommandBatch,
    Confirm,
    ExecutionWanted,
    HelloReply,
    PublisherCommand,
    RunOrder,
)
from skrei_kit import topology
from skrei_kit.bus import Bus, BusUnavailable, offer
from skrei_kit.observability import get_logger
from skrei_kit.tokens import TokenSigner, UploadGrant
from skrei_scheduler.core import Core
from skrei_scheduler.listings import LONGEST_SECONDS
from skrei_scheduler.specs import SpecCache, order
from skrei_scheduler.work import SendListing
from skrei_scheduling.rows import ExecutionRow, JobRow

log = get_logger()

SOURCE = "skrei/scheduler"
BATCH_BYTES = 256 * 1024  # half of what a message may hold


MOST_LISTING_BYTES = 512 * 1024 * 1024
"""Of one list: five million keys, as many as a node lists, have some 200 MB."""


def in_messages(command: PublisherCommand, most_bytes: int) -> Iterator[PublisherCommand]:
    """Yield a command in parts that each fit into a message: the places of some hundred results may not."""
    size = len(command.__pydantic_serializer__.to_json(command))
    halves = {name: _halves(getattr(command, name)) for name in _ASKED} if size > most_bytes else {}
    if not any(later for _, later in halves.values()):
        yield command
        return
    for half in (0, 1):
        part = command.model_copy(update={name: both[half] for name, both in halves.items()})
        yield from in_messages(part, most_bytes)


_ASKED = ("take", "drop", "finalise", "keep", "drop_logs")


def _halves(items: tuple[object, ...]) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Return the first half, which has what is there alone, and the other."""
    middle = -(-len(items) // 2)
    return items[:middle], items[middle:]


class Doors(NamedTuple):
    """Where nodes reach the API and the publisher; empty where nobody said."""

    api_url: str = ""
    publisher_url: str = ""


NOWHERE = Doors()


class Sender:
    """Puts messages on the bus. What cannot be sent is not kept: the record knows it, and the sweep repeats it."""

    def __init__(
        self,
        bus: Bus,
        core: Core,
        *,
        specs: SpecCache,
        signer: TokenSigner,
        clock: Clock,
        token: timedelta,
        doors: Doors = NOWHERE,
        upload: UploadGrant | None = None,
        trace: Callable[[JobRow, ExecutionRow], str] = lambda *_: "",
        stream_bytes: int = topology.MOST_BYTES,
    ) -> None:
        self._bus = bus
        self._stream_bytes = stream_bytes
        self._core = core
        self._specs = specs
        self._signer = signer
        self._clock = clock
        self._token = token
        self._doors = doors
        self._upload = upload
        self._trace = trace
        self._consumers: set[str] = set()
        self._written: dict[tuple[str, int], bytes] = {}  # by execution and revision
        self._sent: set[tuple[str, int]] = set()

    def write(self, rows: Iterable[ExecutionRow]) -> None:
        """Write the commands of these executions, for `send_written`; what was written before is forgotten."""
        self._written = {}
        for row in rows:
            if self._core.side.greeted(row.node_id) and (wanted := self._wanted(row)) is not None:
                self._written[row.id, row.revision] = self._batch((wanted,))

    async def send_written(self, rows: Iterable[ExecutionRow]) -> None:
        """Send what was written; `commands` does not say it once more, until `all_said`."""
        for row in rows:
            if (payload := self._written.pop((row.id, row.revision), None)) is not None:
                self._sent.add((row.id, row.revision))
                await offer(self._bus, subjects.command(row.node_id), payload, now=True)

    def all_said(self) -> None:
        """What follows from a commit was said: who asks for a command from here on, gets it."""
        self._sent.clear()

    async def commands(self, node_id: str, rows: Collection[ExecutionRow]) -> None:
        """Send what is wanted of these executions, in batches."""
        batch: list[ExecutionWanted] = []
        alone = len(rows) == 1  # then nothing is weighed
        size = 0
        for row in rows:
            if (row.id, row.revision) in self._sent:  # as soon as its commit was made; a repetition is said
                self._sent.discard((row.id, row.revision))
                continue
            wanted = self._wanted(row)
            if wanted is None:
                continue
            # A task is JSON within JSON: only its encoded size is true.
            weight = 0 if alone else len(wanted.__pydantic_serializer__.to_json(wanted)) + 1
            if batch and size + weight > BATCH_BYTES:
                await self._send_batch(node_id, batch)
                await asyncio.sleep(0)  # a full batch takes about 15 ms to write, and a node may get many
                batch, size = [], 0
            batch.append(wanted)
            size += weight
        if batch:
            await self._send_batch(node_id, batch)

    def _wanted(self, row: ExecutionRow) -> ExecutionWanted | None:
        run: RunOrder | None = None
        if row.want is Want.RUN:
            job, spec = self._core.view.jobs.get(row.job_id), self._specs.get(row.job_id, row.job_version)
            if job is None or spec is None or job.version != row.job_version:
                return None  # ended or updated meanwhile, or to be sent with the next sweep, which reads the spec
            services: Mapping[str, str] | None = None
            of_node: tuple[str, ...] = ()
            if uses := job.task(row.task).requirement.uses:
                services = self._core.view.matrix.told(uses, row.node_id, turn=row.partition)
                if services is None:
                    return None  # gone since it was placed: it is told once it is back, or placed again in the end
                of_node = self._core.view.matrix.of_node(uses, row.node_id)
            now = self._clock.now()
            run = order(
                row,
                job,
                spec,
                signer=self._signer,
                now=now,
                token=self._token,
                upload=self._upload,
                services=services,
                node_services=of_node,
                traceparent=self._trace(job, row),
            )
        return ExecutionWanted(
            execution_id=row.id,
            revision=row.revision,
            want=row.want,
            incarnation=row.incarnation,
            run=run,
            reason=row.reason,
        )

    async def _send_batch(self, node_id: str, commands: list[ExecutionWanted]) -> None:
        await offer(self._bus, subjects.command(node_id), self._batch(commands))

    def _batch(self, commands: Iterable[ExecutionWanted]) -> bytes:
        batch = CommandBatch(timeline=self._core.side.timeline, epoch=self._core.epoch, commands=tuple(commands))
        return _message(batch, "skrei.commands.v1")

    async def listing(self, wanted: SendListing) -> None:
        """Ask a node to list an input; nothing is sent where its spec is not at hand any more."""
        job, spec = wanted.job, self._specs.get(wanted.job.id, wanted.job.version)
        task = None if spec is None else next((each for each in spec.parsed.tasks if each.name == wanted.task), None)
        if task is None:
            return
        source = task.input_sources[wanted.input]
        question = InputWanted(
            request_id=wanted.request_id,
            job_id=job.id,
            job_version=job.version,
            source_type=source.source.type,
            params=dict(source.source.params),
            target=source.target,
            partitions=job.shares(job.task(wanted.task)),
            token=self._signer.listing(
                job.id, wanted.node_id, most_bytes=MOST_LISTING_BYTES, seconds=2 * LONGEST_SECONDS
            ),
        )
        await self._publish(subjects.inputs(wanted.node_id), question, question.type)

    async def confirm(self, node_id: str, confirm: Confirm) -> None:
        """Tell a node how far its log is committed."""
        await self._publish(subjects.confirm(node_id), confirm, "skrei.confirm.v1")

    async def reply(self, to: str, reply: HelloReply, node_id: str = "") -> None:
        """Answer a hello; a node that is taken in has its consumer first, also one that the server had let go."""
        if node_id:
            self._consumers.discard(node_id)
            await self.ensure_consumer(node_id)
            reply = reply.model_copy(update=self._doors._asdict())
        await self._publish(to, reply, "skrei.hello.reply.v1")

    async def publisher(self, command: PublisherCommand) -> None:
        """Hand results to the publisher, in as many messages as they need."""
        for each in in_messages(command, BATCH_BYTES):
            await self._publish(subjects.PUBLISHER_COMMAND, each, each.type)

    async def ensure_streams(self) -> None:
        """Make what is missing of the streams; consumers are made again with the next hello of their node."""
        for stream in topology.streams(self._stream_bytes):
            await self._bus.ensure_stream(stream)
        self._consumers.clear()
        for node_id in self._core.view.nodes:
            await self.ensure_consumer(node_id)

    async def ensure_consumer(self, node_id: str) -> None:
        """Make a node's consumer once while the stream lives."""
        if node_id in self._consumers:
            return
        try:
            await self._bus.ensure_consumer(subjects.STREAM_COMMANDS, topology.node_consumer(node_id))
        except BusUnavailable as error:
            log.warning("consumer_not_made", node_id=node_id, error=error.message)
        else:
            self._consumers.add(node_id)

    async def _publish(self, subject: str, message: BaseModel, type_: str) -> None:
        await offer(self._bus, subject, _message(message, type_))


def _message(message: BaseModel, type_: str) -> bytes:
    return envelope.wrap(message, type_=type_, source=SOURCE, id_=uuid.uuid4().hex)
