"""Reading a stream from a position, in order, without acknowledgements: how the leader reads facts.

The reader owns an ephemeral push consumer. A stream that was deleted and made again is read from its start; a
consumer that is gone, a gap, or a silence that its heartbeats should have filled, make a new consumer.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig

from skrei_kit.bus.connection import QUEUED_BYTES, Bus, BusUnavailable
from skrei_kit.observability import get_logger

log = get_logger()

IDLE_SECONDS = 0.5  # the server's heartbeat on an idle consumer; two missed mean that it is gone
RETRY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message of a stream, and where it stood: `created` tells one life of the stream from the next."""

    data: bytes
    created: str
    sequence: int
    subject: str = ""


class StreamReader:
    """Hands every message of a stream to `take`, in order, from a position on."""

    def __init__(
        self,
        bus: Bus,
        config: StreamConfig,
        take: Callable[[Arrival], Awaitable[None]],
        *,
        created: str = "",
        sequence: int = 0,
    ) -> None:
        self._bus = bus
        self._config = config
        self._take = take
        self._created = created
        self._sequence = sequence
        self._alive = 0.0
        self._busy = False
        self._broken = asyncio.Event()
        self._delivered = 0
        self.lag = 0
        """Messages of the stream that were not handed over yet, as of the last one."""

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            subscription = None
            try:
                subscription = await self._open()
                await self._watch(subscription)
            except (BusUnavailable, NatsError, TimeoutError) as error:
                log.debug("stream_reader_retries", stream=self._config.name, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                if subscription is not None:
                    await self._bus.unsubscribe(subscription)

    async def _open(self) -> Subscription:
        info = await self._bus.ensure_stream(self._config)
        created = str(info.created)
        if created != self._created:
            self._created, self._sequence = created, 0  # another life of the stream: from its start
        last = info.state.last_seq
        self._sequence = min(self._sequence, last)
        self._broken.clear()
        self._delivered = 0
        loop = asyncio.get_running_loop()
        self._alive = loop.time()

        async def handle(message: Msg) -> None:
            self._busy = True
            try:
                await self._handle(message)
            finally:
                self._busy, self._alive = False, loop.time()

        inbox = self._bus.new_inbox()
        subscription = await self._bus.subscribe(inbox, handle, pending_bytes=QUEUED_BYTES)
        await self._bus.ensure_consumer(
            str(self._config.name),
            ConsumerConfig(
                deliver_subject=inbox,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._sequence + 1,
                ack_policy=AckPolicy.NONE,
                max_deliver=1,
                idle_heartbeat=IDLE_SECONDS,
                mem_storage=True,
                num_replicas=1,
                inactive_threshold=30.0,
            ),
        )
        return subscription

    async def _handle(self, message: Msg) -> None:
        if message.headers and message.headers.get("Status") is not None:
            return  # an idle heartbeat
        parts = message.reply.split(".")
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
        sequence, nth = int(parts[-4]), int(parts[-3])
        if nth != self._delivered + 1:
            self._broken.set()  # something between was lost: read again from the last good one
            return
        self._delivered = nth
        self.lag = int(parts[-1])
        await self._take(Arrival(message.data, self._created, sequence, message.subject))
        self._sequence = sequence  # only now: what was cut off while it was taken is read again

    async def _watch(self, subscription: Subscription) -> None:
        loop = asyncio.get_running_loop()
        while not self._broken.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._broken.wait()
            if self._busy or subscription.pending_msgs:
                self._alive = loop.time()  # we are the slow side; its heartbeats wait in line
            elif loop.time() - self._alive > 2.5 * IDLE_SECONDS:
                return
