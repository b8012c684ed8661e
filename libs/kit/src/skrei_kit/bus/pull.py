"""Pulling from a durable consumer with a node's few rights: how an agent reads its commands.

It publishes to `$JS.API.CONSUMER.MSG.NEXT.<stream>.<durable>` and hears its own inbox, and needs nothing else. One
request is outstanding; messages of it arrive the moment that they are stored.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg

from skrei_kit.bus.connection import QUEUED_BYTES, Bus, BusUnavailable

BATCH = 64  # asked for at once; asked again when half has come, so that the server never waits for us
EXPIRES_SECONDS = 30.0  # a request lives this long on the server; then it is renewed
LATE_SECONDS = 5.0  # longer than that without an answer means that the request was lost
RETRY_SECONDS = 0.25  # after an answer that there is no consumer (yet)
ACK_SECONDS = 0.5  # an acknowledgement waits so long for something to travel with; the server waits 30
ACKS = BATCH  # so many go at once: the server lets a thousand be outstanding
_EXPIRED = "408"
_HEARTBEAT = "100"


class PullReader:
    """Hands every message of a durable consumer to `take`, in order, and acknowledges it soon afterwards.

    Nobody waits for that: it goes with what is published next (`acknowledge`), or after a moment.
    """

    def __init__(
        self, bus: Bus, stream: str, durable: str, take: Callable[[bytes], Awaitable[None]], *, domain: str = ""
    ) -> None:
        self._bus = bus
        api = f"$JS.{domain}.API" if domain else "$JS.API"
        self._next = f"{api}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._take = take
        self._request = 0
        self._left = 0
        self._renew = asyncio.Event()
        self._missing = False
        self._taken: list[str] = []
        self._patience: asyncio.TimerHandle | None = None
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        inbox = self._bus.new_inbox()
        subscription = await self._bus.subscribe(f"{inbox}.*", self._handle, pending_bytes=QUEUED_BYTES)
        body = json.dumps({"batch": BATCH, "expires": int(EXPIRES_SECONDS * 1e9)}).encode()
        acknowledging = asyncio.create_task(self._acknowledge_late(), name="acknowledgements")
        try:
            while True:
                if self._missing:
                    self._missing = False
                    await asyncio.sleep(RETRY_SECONDS)
                self._renew.clear()
                self._request += 1  # names the request, so that what is said of older ones is not heard
                self._left = BATCH
                with contextlib.suppress(BusUnavailable):  # asked again when the link is back, or late
                    await self._bus.publish(self._next, body, reply=f"{inbox}.{self._request}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EXPIRES_SECONDS + LATE_SECONDS):
                        await self._renew.wait()
        finally:
            acknowledging.cancel()
            await asyncio.gather(acknowledging, return_exceptions=True)
            await self._bus.unsubscribe(subscription)

    async def acknowledge(self) -> None:
        """Acknowledge what was taken, for who publishes something now anyway."""
        with contextlib.suppress(BusUnavailable):
            for reply, payload in self.acknowledgements():
                await self._bus.publish(reply, payload)

    def acknowledgements(self) -> list[tuple[str, bytes]]:
        """Return what acknowledges all that was taken, as messages that the caller publishes now."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        taken, self._taken = self._taken, []
        return [(reply, b"+ACK") for reply in taken]

    def owe(self, acknowledgements: list[tuple[str, bytes]]) -> None:
        """Take back what could not be published now: it goes with the next."""
        self._taken = [*(reply for reply, _ in acknowledgements), *self._taken]

    async def _acknowledge_late(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self.acknowledge()

    def renew(self) -> None:
        """Ask again now: the link was away, and the server has forgotten the request."""
        self._renew.set()

    async def _handle(self, message: Msg) -> None:
        status = message.headers.get("Status") if message.headers else None
        if status is not None:
            if status != _HEARTBEAT and message.subject.rpartition(".")[2] == str(self._request):
                self._missing = status != _EXPIRED
                self._renew.set()
            return
        self._left -= 1
        if self._left <= BATCH // 2:
            self._renew.set()
        await self._take(message.data)
        if message.reply:
            self._taken.append(message.reply)
            if len(self._taken) >= ACKS:
                await self.acknowledge()
            elif self._patience is None:
                self._patience = asyncio.get_running_loop().call_later(ACK_SECONDS, self._due.set)
