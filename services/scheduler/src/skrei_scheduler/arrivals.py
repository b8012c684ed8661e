"""What arrives at the leader: hellos, heartbeats, facts, hints and what the publisher did, told to the core."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from pydantic import ValidationError

from skrei_domain import envelope, subjects
from skrei_domain.bounds import wrong_with_cached
from skrei_domain.clock import Clock
from skrei_domain.lifecycle import JobState
from skrei_domain.listing import InputListed
from skrei_domain.messages import EvaluationHint, Heartbeat, Hello, HintedEvaluation
from skrei_kit.bus import Arrival, Bus, Message
from skrei_kit.observability import get_logger
from skrei_scheduler.core import Core
from skrei_scheduler.published import read_fact
from skrei_scheduler.reading import read_batch
from skrei_scheduler.specs import SpecCache
from skrei_scheduler.work import Outgoing, Reply
from skrei_scheduling.changes import Position
from skrei_scheduling.compile import compile_job
from skrei_scheduling.rows import Evaluation

log = get_logger()

QUEUED_BATCHES = 8_192
"""Fact batches in memory; beyond it the reader of the stream waits."""
QUEUED_BYTES = 64 * 1024 * 1024
"""Of what waits, as it came: the same, for batches that are large. Read, it takes several times that."""


class Arrivals:
    """Reads messages and tells the core. `work` is called when there may be some, `look` when evaluations are due,
    `collect` when what may go is to go now.
    """

    def __init__(
        self,
        core: Core,
        specs: SpecCache,
        clock: Clock,
        *,
        send: Callable[[Sequence[Outgoing]], Awaitable[None]],
        work: Callable[[], None],
        look: Callable[[], None],
        collect: Callable[[], None] = lambda: None,
        skipped: Callable[[float, str], None] = lambda *_: None,
    ) -> None:
        self._core = core
        self._specs = specs
        self._clock = clock
        self._send = send
        self._work = work
        self._look = look
        self._collect = collect
        self._skipped = skipped

    @asynccontextmanager
    async def listening(self, bus: Bus) -> AsyncIterator[None]:
        """Hear all but facts, which come from their stream."""
        subscriptions = [
            await bus.subscribe(subjects.ALL_HELLOS, self._guard(self._on_hello)),
            await bus.subscribe(subjects.ALL_HEARTBEATS, self._guard(self._on_heartbeat)),
            await bus.subscribe(subjects.ALL_LISTED, self._guard(self._on_listed)),
            await bus.subscribe(subjects.HINT_EVALUATION, self._guard(self._on_hint)),
            await bus.subscribe(subjects.PUBLISHER_FACT, self._guard(self._on_publisher)),
        ]
        try:
            yield
        finally:
            for subscription in subscriptions:
                await bus.unsubscribe(subscription)

    async def on_facts(self, arrival: Arrival) -> None:
        """Take in a batch of facts; waits while too much is queued, so that the stream is read no further."""
        try:
            batch = read_batch(arrival.data, subjects.node_of(arrival.subject))
        except ValueError as error:
            self._skipped(1, "facts")
            log.warning("facts_skipped", sequence=arrival.sequence, error=str(error).splitlines()[0])
            return
        self._core.on_facts(batch, Position(arrival.created, arrival.sequence), len(arrival.data))
        self._work()
        while self._core.waiting_facts > QUEUED_BATCHES or self._core.waiting_fact_bytes > QUEUED_BYTES:
            await self._clock.sleep(timedelta(milliseconds=5))

    def _guard(self, handler: Callable[[Message], Awaitable[None]]) -> Callable[[Message], Awaitable[None]]:
        async def guarded(message: Message) -> None:
            try:
                await handler(message)
            except ValidationError as error:
                # Unknown or broken messages are skipped, and told of: a newer node must not stop an older leader.
                self._skipped(1, "message")
                log.warning("message_skipped", subject=message.subject, error=str(error).splitlines()[0])

        return guarded

    async def _on_hello(self, message: Message) -> None:
        node = subjects.node_of(message.subject)
        if not message.reply.startswith(f"{subjects.inbox_of(node)}."):
            # A node may not publish elsewhere, so it may not have us do it either: an answer in another node's
            # branch would confirm facts that were never committed.
            log.warning("message_skipped", subject=message.subject, error="it asks for an answer in a foreign inbox")
            return
        try:
            hello = envelope.unwrap(Hello, message.data)
        except ValidationError as error:
            # Else it would say the same again and again, and never learn why nobody answers.
            await self._send([Reply(message.reply, self._core.refusal(str(error).splitlines()[0]))])
            raise
        if subjects.token(hello.node_id) == node:
            self._core.on_hello(hello, message.reply)
            self._work()

    async def _on_heartbeat(self, message: Message) -> None:
        beat = envelope.unwrap(Heartbeat, message.data)
        if subjects.token(beat.node_id) == subjects.node_of(message.subject):
            if beat.cached is not None and (wrong := wrong_with_cached(beat.cached)):
                log.warning("cache_report_skipped", node_id=beat.node_id, error=wrong)
                beat = beat.model_copy(update={"cached": None})
            await self._send(self._core.on_heartbeat(beat, self._clock.monotonic()))
            if beat.leaving or beat.cached is not None:
                self._work()

    async def _on_listed(self, message: Message) -> None:
        listed = envelope.unwrap(InputListed, message.data)
        self._core.on_listed(subjects.node_of(message.subject), listed, self._clock.monotonic())
        self._work()

    async def _on_hint(self, message: Message) -> None:
        hint = envelope.unwrap(EvaluationHint, message.data)
        if hint.collect:
            self._collect()
        if not hint.evaluations:
            self._look()
            return
        self._core.on_evaluations([self._evaluation(hinted) for hinted in hint.evaluations])
        self._work()

    async def _on_publisher(self, message: Message) -> None:
        try:
            fact = read_fact(message.data)
        except ValueError as error:
            self._skipped(1, "publisher")
            log.warning("publisher_fact_skipped", error=str(error).splitlines()[0])
            return
        self._core.on_publisher_fact(fact)
        self._work()

    def _evaluation(self, hinted: HintedEvaluation) -> Evaluation:
        spec = self._specs.put(hinted.job_id, hinted.version, hinted.spec_json)
        job = compile_job(
            spec.parsed,
            id=hinted.job_id,
            namespace=hinted.namespace,
            name=hinted.job_name,
            generation=hinted.generation,
            version=hinted.version,
            state=JobState(hinted.state),
            created_at=hinted.created_at,
            asked_at=hinted.asked_at,
            traceparent=hinted.traceparent,
            submitter=hinted.submitter,
            good_version=hinted.good_version,
            anew=hinted.anew,
            tasks=spec.plans(hinted.submitter),
        )
        return Evaluation(hinted.evaluation_id, hinted.job_id, hinted.trigger, job)
