"""The node's line to the control plane: hello, commands in, facts and heartbeats out.

Nothing here waits on anybody's behalf: facts are handed to the connection as soon as they are durable, commands
are taken as they come, but none before the hello of this connection has been answered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from skrei_compute_agent.agent import Agent
from skrei_compute_agent.events import Commanded, Confirmed, HelloDue, LinkLost, Replied
from skrei_compute_agent.greeter import Greeter
from skrei_compute_agent.heard import heard
from skrei_compute_agent.held_inputs import HeldInputs
from skrei_compute_agent.standing import Standing
from skrei_domain import subjects
from skrei_domain.envelope import wrap
from skrei_domain.listing import InputListed, InputWanted
from skrei_domain.messages import CommandBatch, Confirm, FactBatch, Hello, HelloReply, Problem
from skrei_kit.bus import Bus, BusUnavailable, Message, PullReader
from skrei_kit.observability import get_logger

log = get_logger()

FACTS_TYPE = "skrei.facts.v1"
HEARTBEAT_TYPE = "skrei.heartbeat.v1"
CONNECT_SECONDS = 2.0
"""How long one try to connect waits for a server to listen: it is tried again for ever."""
NEWS_SECONDS = 1.0
"""How long the first input that came into the cache waits for company before a heartbeat of its own tells of it: who
submits the next job over the same data is there within seconds. One such between two heartbeats."""
OUTGOING = 256
"""Messages that may wait for the sender: at most four batches are unconfirmed, so this only bounds a fault."""


class Link:
    """Speaks for one agent over one connection. `told` hears what the control plane says of itself with each hello,
    `inputs` which inputs it wants listed, and says what they come to."""

    def __init__(
        self,
        node_id: str,
        agent: Agent,
        standing: Standing,
        told: Callable[[HelloReply], None] | None = None,
        inputs: Callable[[InputWanted, Callable[[InputListed], None]], None] | None = None,
        *,
        held: HeldInputs | None = None,
        domain: str = "",
    ) -> None:
        """Speak. `held`: the inputs in the node's cache, which heartbeats tell of; `domain`: of the streams' server."""
        self._domain = domain
        self._node_id = node_id
        self._agent = agent
        self._standing = standing
        self._told = told
        self._inputs = inputs
        self._held = held
        self._news: asyncio.TimerHandle | None = None
        if held is not None:
            held.news = self._has_news
        self._bus: Bus | None = None
        self._commands: PullReader
        self._outgoing: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(OUTGOING)
        self._greeted = asyncio.Event()
        self._beat = asyncio.Event()
        self._interval = HelloReply().heartbeat_seconds
        self._greeter = Greeter(
            node_id,
            self._ask,
            answered=self._answered,
            again=self._hello_due,
            unheard=standing.waiting,
            fail=agent.fail,
        )

    @property
    def greeted(self) -> bool:
        """Whether a leader hears this node now: it took its hello, and the link is there."""
        return self._greeted.is_set() and self._bus is not None and self._bus.connected

    async def connect(
        self, url: str, creds: Path | None, *, ca: Path | None = None, refused: Callable[[], None] | None = None
    ) -> None:
        """Connect, listen for confirmations, and say the first hello. Raises BusUnavailable.

        `refused` is told when the transport does not let this node in (any more).
        """
        bus = await Bus.connect(
            url,
            name=f"agent {self._node_id}",
            creds=creds,
            ca=ca,
            inbox_prefix=subjects.inbox(self._node_id),
            wait_seconds=CONNECT_SECONDS,
            on_reconnect=self._reconnected,
            on_refused=refused,
            on_disconnect=self._disconnected,
        )
        self._bus = bus
        stream, consumer = subjects.STREAM_COMMANDS, subjects.consumer(self._node_id)
        self._commands = PullReader(bus, stream, consumer, self._commanded, domain=self._domain)
        await bus.subscribe(subjects.confirm(self._node_id), self._confirmed)
        await bus.subscribe(subjects.inputs(self._node_id), self._asked_for_inputs)
        self._hello_due()

    # ------------------------------------------------------------ what the agent says

    def publish(self, batches: tuple[FactBatch, ...]) -> None:
        """Send facts without waiting; a lost batch is repeated until it is confirmed."""
        for batch in batches:
            identity = f"{batch.boot_id}-{batch.incarnation}-{batch.first}"
            payload = wrap(batch, type_=FACTS_TYPE, source=self._node_id, id_=identity)
            self._send(subjects.fact(self._node_id), payload)

    def say_hello(self, pages: tuple[Hello, ...]) -> None:
        """Begin a hello; until it is answered no stored command is looked at."""
        self._greeted.clear()
        self._greeter.say(pages)

    def refused(self, problem: Problem) -> None:
        """The leader refused the hello."""
        self._greeter.refused(problem)

    # ------------------------------------------------------------ what runs

    async def take_commands(self) -> None:
        """Hand stored commands to the agent, in order, until cancelled.

        They are acknowledged as soon as they are handed over: what a crash loses before it is journaled, the
        leader's sweep sends again.
        """
        await self._greeted.wait()  # the node's consumer is made with its first hello
        await self._commands.run()

    async def send(self) -> None:
        """Put what is said on the wire, in order, until cancelled."""
        while True:
            subject, payload = await self._outgoing.get()
            try:
                await self._line.publish(subject, payload)
                await self._commands.acknowledge()  # in the same write
            except BusUnavailable as error:
                log.debug("message_dropped", subject=subject, reason=error.message)

    async def beat(self) -> None:
        """Send heartbeats at the interval that the last hello told, until cancelled."""
        while True:
            self._beat.clear()
            if self._greeted.is_set():
                self._send(*self._heartbeat())
            try:
                async with asyncio.timeout(self._interval):
                    await self._beat.wait()
            except TimeoutError:
                self._news = None

    async def ended(self) -> None:
        """Wait until the connection is over for good; the transport let us in no more."""
        await self._line.ended()
        self._greeted.clear()

    async def renew(self) -> None:
        """Connect with the credentials as they are now, and say hello."""
        if self._bus is not None:
            await self._bus.renew()

    async def leave(self) -> None:
        """Say that this process goes, as the last thing that it says, and close."""
        self._greeter.close()
        if self._news is not None:
            self._news.cancel()
        if self._bus is None:
            return
        try:
            while not self._outgoing.empty():
                await self._line.publish(*self._outgoing.get_nowait())
            if self._greeted.is_set():
                await self._line.publish(*self._heartbeat(leaving=True))
        except BusUnavailable as error:
            log.debug("leaving_unheard", reason=error.message)
        await self._bus.close()

    # ------------------------------------------------------------ what comes

    async def _commanded(self, payload: bytes) -> None:
        await self._greeted.wait()
        if (batch := heard(CommandBatch, payload)) is not None:
            self._agent.post(Commanded(batch))

    async def _confirmed(self, message: Message) -> None:
        if (confirm := heard(Confirm, message.data)) is not None:
            self._agent.post(Confirmed(confirm))

    async def _asked_for_inputs(self, message: Message) -> None:
        if self._inputs is not None and (wanted := heard(InputWanted, message.data)) is not None:
            self._inputs(wanted, self._listed)

    def _listed(self, listed: InputListed) -> None:
        payload = wrap(listed, type_=listed.type, source=self._node_id, id_=f"{listed.request_id}-{listed.files}")
        self._send(subjects.listed(self._node_id), payload)

    async def _disconnected(self) -> None:
        self._agent.post(LinkLost())

    async def _reconnected(self) -> None:
        self._commands.renew()
        self._hello_due()

    def _answered(self, reply: HelloReply) -> None:
        self._agent.post(Replied(reply))
        if self._agent.machine.greeted:
            if self._told is not None:
                self._told(reply)
            self._interval = reply.heartbeat_seconds
            if self._held is not None:
                self._held.greeted()
            if self._domain:
                self._commands.renew()  # the site's uplink may have been cut, of which its own link knows nothing
            self._greeted.set()
            self._standing.greeted()
            self._beat.set()
            log.info("greeted", timeline=reply.timeline, epoch=reply.epoch, incarnation=reply.incarnation)

    @property
    def _line(self) -> Bus:
        if self._bus is None:
            raise BusUnavailable("there was no connection yet")
        return self._bus

    def _ask(self, payload: bytes, timeout_seconds: float) -> Awaitable[bytes]:
        return self._line.request(subjects.hello(self._node_id), payload, timeout_seconds=timeout_seconds)

    def _hello_due(self) -> None:
        self._agent.post(HelloDue())

    def _has_news(self) -> None:
        if self._news is None:
            self._news = asyncio.get_running_loop().call_later(NEWS_SECONDS, self._beat.set)

    def _heartbeat(self, *, leaving: bool = False) -> tuple[str, bytes]:
        beat = self._agent.machine.heartbeat(leaving=leaving)
        if self._held is not None and not leaving:
            cached = self._held.told(asyncio.get_running_loop().time())
            beat = beat if cached is None else beat.model_copy(update={"cached": cached})
        payload = wrap(beat, type_=HEARTBEAT_TYPE, source=self._node_id, id_=f"{beat.boot_id}-{beat.sequence}")
        return subjects.heartbeat(self._node_id), payload

    def _send(self, subject: str, payload: bytes) -> None:
        bus = self._bus
        if bus is not None and self._outgoing.empty():
            acknowledgements = self._commands.acknowledgements()
            if bus.publish_now((subject, payload), *acknowledgements):
                return
            self._commands.owe(acknowledgements)
        try:
            self._outgoing.put_nowait((subject, payload))
        except asyncio.QueueFull:
            log.warning("message_dropped", subject=subject, reason=f"{OUTGOING} messages wait for the sender")
