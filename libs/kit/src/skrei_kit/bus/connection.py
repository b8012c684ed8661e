"""One connection to NATS: publish, request, subscribe, and the streams that exist.

Publishing is a core publish and waits for nothing: a stream that captures the subject keeps the message, and what
must arrive is confirmed by its reader, not by the transport (DESIGN rule 1).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import ParseResult, urlsplit

from nats.aio import client as client_module
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig, StreamInfo
from nats.js.errors import BadRequestError, NotFoundError
from nats.protocol import command

from skrei_domain.errors import Unavailable
from skrei_kit.cancelling import ended, heeding
from skrei_kit.observability import get_logger
from skrei_kit.proxies import port_of, proxy_of

if TYPE_CHECKING:
    from skrei_kit.bus.credentials import Credentials

log = get_logger()

Message: TypeAlias = Msg
Handler: TypeAlias = Callable[[Msg], Awaitable[None]]

CONNECT_SECONDS = 30.0  # how long a service waits for its server at start before its supervisor tries again
RECONNECT_SECONDS = 0.2  # between tries: a restarted server is back within a second
PING_SECONDS = 10  # notices a dead link within two of them, also behind a NAT that drops silently
CLOSE_SECONDS = 0.5  # for the client to let a link go: one whose TLS failed never says that it has gone
PENDING_BYTES = 8 * 1024 * 1024  # what may wait for the wire while the server is away; more is refused
QUEUED_MESSAGES = 65_536  # of one subscription; a slow reader loses the newest beyond it (and facts are repeated)
QUEUED_BYTES = 64 * 1024 * 1024
WEBSOCKETS = ("ws", "wss")
"""Schemes of addresses that are reached through HTTP."""


class BusUnavailable(Unavailable):
    """NATS cannot be reached, or nobody answers there."""

    code = "bus-unavailable"


_START_IT = "start it, or name another with SKREI_NATS_URL"

REFUSALS = ("authorization violation", "authentication expired", "authentication revoked", "user authentication")
"""How a server says that credentials let nobody in (any more)."""


DISTRUST = "certificate_verify_failed"
"""How TLS says that a server's certificate is for another name, or of nobody who is trusted."""
_NAMED = "the server's certificate has to name the host of this address, by an authority that this program was told"


class CredentialsUnreadable(NatsError):
    """A file of credentials holds none. To the client an error as any other: it tries again, and reads anew."""

    hint = "write the file anew and whole; a node gets another by `skrei node join`"


class MessageTooLarge(BusUnavailable):
    """The message is larger than the server takes: sending it again will not help, and nothing may end by it."""

    code = "message-too-large"
    retryable = False


class Tcp(TcpTransport):
    """The client's own transport, but for how it writes much: joined to one piece; and for how it lets a link go.

    `writelines` of asyncio does that itself until Python 3.11. From 3.12 to 3.13.5, which Ubuntu 24.04 and Debian 13
    have, it fails by a TypeError on a link that is gone, where the client expects OSError; and until 3.13.1 it holds
    nobody up whose peer reads nothing.
    """

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Connect. The client leaves open what it has of a try that failed, five times a second."""
        if self._io_writer is not None:
            _cut(self._io_writer)
        await super().connect(uri, buffer_size, connect_timeout)

    def writelines(self, payload: list[bytes]) -> None:
        """Write all of these."""
        self.write(b"".join(payload))  # type: ignore[no-untyped-call]  # the client's own, which has no types

    async def wait_closed(self) -> None:
        """Return once the link is closed: cut, where its peer does not take what was written.

        The client waits for that before it connects anew, and a frozen peer takes nothing for ever.
        """
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await super().wait_closed()  # type: ignore[no-untyped-call]  # as above
        except TimeoutError:
            assert self._io_writer is not None, "it was connected"
            _cut(self._io_writer)


def _cut(writer: asyncio.StreamWriter) -> None:
    """Let go of a link at once."""
    with contextlib.suppress(AttributeError):  # with TLS that was closed twice: Python's own, until 3.11.3
        writer.transport.abort()


vars(client_module)["TcpTransport"] = Tcp


class _Client(Client):
    """The library's client, whose end is told whatever became of the link.

    By itself it first says what is left to say, in a task that nobody awaits; where the link was gone before that, it
    is closed for good, but neither lets go of its subscriptions nor tells anybody.
    """

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            await super()._close(status, do_cbs)
        except (OSError, RuntimeError) as error:  # uvloop raises the latter for a link that is gone
            log.debug("bus_said_nothing_more", error=str(error))
            self._pending, self._pending_data_size = [], 0
            self._status = Client.DISCONNECTED
            await super()._close(status, do_cbs)


class Bus:
    """A connection that comes back by itself. Make one with `Bus.connect`."""

    def __init__(self, client: Client, ended: asyncio.Event) -> None:
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=5)
        self._ended = ended

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str,
        creds: Path | None = None,
        ca: Path | None = None,
        inbox_prefix: str = "_INBOX",
        on_reconnect: Callable[[], Awaitable[None]] | None = None,
        on_disconnect: Callable[[], Awaitable[None]] | None = None,
        on_refused: Callable[[], None] | None = None,
        wait_seconds: float = CONNECT_SECONDS,
    ) -> "Bus":
        """Connect, waiting up to `wait_seconds` for a server to listen. Raises BusUnavailable. May be cancelled.

        `ca` holds the certificates (PEM) that vouch for a server with TLS; none: those that this machine trusts. By a
        WebSocket either is enough: what answers there may be a proxy with a certificate that everybody trusts.
        `on_refused` is told each time that the server does not let these credentials in, now or any more.
        """
        trusting = _trusting(ca, by_http=urlsplit(url).scheme in WEBSOCKETS)
        await _wait_for_port(url, wait_seconds)
        if urlsplit(url).scheme in WEBSOCKETS:
            import_module("skrei_kit.bus.websocket").bring()  # few have one, and it costs 8 MB
        keys = None if creds is None else _credentials(creds)
        client = _Client()
        told = _Told(client, name, on_reconnect, on_disconnect, on_refused)
        connecting = asyncio.ensure_future(
            client.connect(
                url,
                name=name,
                user_jwt_cb=None if keys is None else keys.jwt,
                signature_cb=None if keys is None else keys.sign,
                tls=trusting,
                inbox_prefix=inbox_prefix.encode(),
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_SECONDS,  # type: ignore[arg-type]  # it only sleeps for it
                ping_interval=PING_SECONDS,
                max_outstanding_pings=2,
                pending_size=PENDING_BYTES,
                flusher_queue_size=4_096,
                error_cb=told.failed,
                disconnected_cb=told.lost,
                reconnected_cb=told.back,
                closed_cb=told.gone,
                verbose=False,
            )
        )
        connected = False
        try:
            first: set[asyncio.Future[Any]] = {connecting, told.refused}
            await asyncio.wait(first, timeout=wait_seconds + CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise told.refused.result() if told.refused.done() else NatsTimeout
            connecting.result()
            connected = True
        except (OSError, NatsError, TimeoutError) as error:
            raise BusUnavailable(
                f"NATS at {url} refuses: {str(error) or type(error).__name__}", hint="check the URL and the credentials"
            ) from error
        finally:
            if not connected:  # also where we are cancelled
                await ended(connecting, again_seconds=0.1)  # it has nothing to tidy up
                await heeding(client.close())
        return cls(client, told.ended)

    async def ended(self) -> None:
        """Wait until the connection is over for good: closed, or ended by a server that lets us in no more."""
        await self._ended.wait()

    async def lasting(self) -> None:
        """Wait as `ended` does, and raise BusUnavailable then: a loop of a service that makes no other connection."""
        await self.ended()
        raise BusUnavailable("the connection to NATS is over for good", hint="its server's log says why it ended it")

    async def renew(self) -> None:
        """Connect anew, with the credentials as they are now; what waits is sent then."""
        await heeding(self._client.force_reconnect())

    @property
    def connected(self) -> bool:
        """Whether the link is there now."""
        return self._client.is_connected

    async def close(self) -> None:
        """Send what is pending and close."""
        if self._client.is_closed:
            return
        with contextlib.suppress(NatsError, TimeoutError, OSError):
            if self._client.is_connected:
                await heeding(self._client.flush(timeout=2))
        with contextlib.suppress(OSError, TimeoutError):  # the client drains a link that is already gone
            async with asyncio.timeout(CLOSE_SECONDS):
                await heeding(self._client.close())

    # ------------------------------------------------------------ core

    async def publish(self, subject: str, payload: bytes, *, reply: str = "") -> None:
        """Send and wait for nothing.

        Raises MessageTooLarge for what the server does not take, BusUnavailable when too much waits for one that is
        away.
        """
        try:
            await heeding(self._client.publish(subject, payload, reply=reply))
        except MaxPayloadError as error:
            raise _too_large(subject, payload) from error
        except (NatsError, OSError) as error:
            raise BusUnavailable(f"NATS is away: {str(error) or type(error).__name__}") from error

    def publish_now(self, *messages: tuple[str, bytes]) -> bool:
        """Write these in this turn of the loop, in one piece, behind what was published before.

        The client itself writes two turns later, for company; this is for what somebody waits for. False, and nothing
        sent, where they would have to wait, or are too large: `publish` knows what to do with them.
        """
        client = self._client
        transport = client._transport
        if client._status != Client.CONNECTED or not isinstance(transport, TcpTransport):
            return False
        if any(len(payload) > client.max_payload for _, payload in messages):
            return False
        socket: asyncio.WriteTransport = transport._io_writer.transport  # type: ignore[union-attr]
        if socket.is_closing() or socket.get_write_buffer_size():
            return False
        for subject, payload in messages:
            client._pending.append(command.pub_cmd(subject, "", payload))
            client.stats["out_msgs"] += 1
            client.stats["out_bytes"] += len(payload)
        socket.set_write_buffer_limits(high=1)  # uvloop writes at the end of the turn what is below it; 0 stops TLS
        pending, client._pending, client._pending_data_size = client._pending, [], 0
        socket.writelines(pending)
        return True

    async def request(self, subject: str, payload: bytes, *, timeout_seconds: float) -> bytes:
        """Send and wait for one answer. Raises MessageTooLarge as `publish` does, BusUnavailable when none comes."""
        try:
            answer = await heeding(self._client.request(subject, payload, timeout=timeout_seconds))
        except MaxPayloadError as error:
            raise _too_large(subject, payload) from error
        except (NatsError, TimeoutError, OSError) as error:
            raise BusUnavailable(f"nobody answered on {subject}: {type(error).__name__}") from error
        return answer.data

    async def subscribe(
        self, subject: str, handler: Handler, *, queue: str = "", pending_bytes: int = QUEUED_BYTES
    ) -> Subscription:
        """Call `handler` for each message, one at a time, in order. The queue is bounded; the newest is dropped."""
        return await heeding(
            self._client.subscribe(
                subject,
                queue=queue,
                cb=handler,
                pending_msgs_limit=QUEUED_MESSAGES,
                pending_bytes_limit=pending_bytes,
            )
        )

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; a connection that is gone has none left, and ending one twice is fine."""
        with contextlib.suppress(NatsError):
            await heeding(subscription.unsubscribe())

    async def flush(self) -> None:
        """Wait until the server has all that was sent."""
        # The client writes its first PING past what it queued in the same turn of the loop; a second one is behind it.
        await heeding(self._client.flush(timeout=5))
        await heeding(self._client.flush(timeout=5))

    def new_inbox(self) -> str:
        """Return a fresh subject under this connection's inbox prefix."""
        return self._client.new_inbox()

    # ------------------------------------------------------------ streams (control plane only)

    @property
    def jetstream(self) -> JetStreamContext:
        """The JetStream API, for what the methods below do not do; whoever asks it heeds cancellations himself."""
        return self._js

    async def ensure_stream(self, config: StreamConfig) -> StreamInfo:
        """Make the stream, or bring it to this configuration; idempotent. Raises BusUnavailable."""
        assert config.name is not None
        try:
            try:
                return await heeding(self._js.add_stream(config))
            except BadRequestError:  # exists with another configuration
                return await heeding(self._js.update_stream(config))
        except (NatsError, TimeoutError) as error:
            raise BusUnavailable(f"stream {config.name} cannot be made: {error}") from error

    async def stream_info(self, name: str) -> StreamInfo | None:
        """Return what the server says of a stream; None when there is none. Raises BusUnavailable."""
        try:
            return await heeding(self._js.stream_info(name))
        except NotFoundError:
            return None
        except (NatsError, TimeoutError) as error:
            raise BusUnavailable(f"stream {name} cannot be looked at: {error}") from error

    async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> None:
        """Make the consumer; a durable one is brought to this configuration, idempotent. Raises BusUnavailable."""
        try:
            await heeding(self._js.add_consumer(stream, config))
        except (NatsError, TimeoutError) as error:
            named = config.durable_name or f"on {stream}"
            raise BusUnavailable(f"consumer {named} cannot be made: {error}") from error


class _Told:
    """What the client tells of one connection: into the log, to whoever asked, and to who waits for its end."""

    def __init__(
        self,
        client: Client,
        name: str,
        on_reconnect: Callable[[], Awaitable[None]] | None,
        on_disconnect: Callable[[], Awaitable[None]] | None,
        on_refused: Callable[[], None] | None,
    ) -> None:
        self._client = client
        self._name = name
        self._on_reconnect = on_reconnect
        self._on_disconnect = on_disconnect
        self._on_refused = on_refused
        self.refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self._said = ""
        self._closing: asyncio.Task[None] | None = None

    async def failed(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if self._says_refused(text) and not self.refused.done():
            self.refused.set_result(error)  # at the first connection: trying again would change nothing
        if "permissions violation" in text.lower():  # it asks for what it may not: a mistake of ours
            log.warning("bus_refused", bus=self._name, error=text)
        elif DISTRUST in text.lower():  # nothing here mends it, and it is tried again five times a second: said once
            if text != self._said:
                log.warning("bus_distrusted", bus=self._name, error=text, hint=_NAMED)
            self._said = text
        elif isinstance(error, CredentialsUnreadable):
            if text != self._said:
                log.warning("bus_credentials_unreadable", bus=self._name, error=text, hint=error.hint)
            self._said = text
        else:
            log.debug("bus_error", bus=self._name, error=text)

    async def lost(self) -> None:
        log.debug("bus_disconnected", bus=self._name)
        task = asyncio.current_task()
        if task is not None and task is self._client._reconnection_task:
            task.add_done_callback(self._tried)
        if self._on_disconnect is not None:
            await self._on_disconnect()

    async def back(self) -> None:
        log.debug("bus_reconnected", bus=self._name)
        self._said = ""
        if self._on_reconnect is not None:
            await self._on_reconnect()

    def _tried(self, reconnecting: "asyncio.Task[Any]") -> None:
        """The client no longer tries to connect anew: where by an error that it does not know, nobody would again."""
        if not reconnecting.cancelled() and (error := reconnecting.exception()) is not None:
            log.error("bus_given_up", bus=self._name, error=f"{type(error).__name__}: {error}")
            self.ended.set()
            self._closing = asyncio.ensure_future(self._client.close())

    async def gone(self) -> None:
        """The connection is over: we closed it, or the server did, and the client does not try again."""
        self._says_refused(str(self._client.last_error or ""))
        self.ended.set()

    def _says_refused(self, text: str) -> bool:
        found = any(refusal in text.lower() for refusal in REFUSALS)
        if found and self._on_refused is not None:
            self._on_refused()
        return found


def _credentials(path: Path) -> "Credentials":
    """Return what shows the credentials in a file. Raises BusUnavailable where they are none."""
    from skrei_kit.bus.credentials import Credentials  # with what signs: without credentials nobody needs it

    found = Credentials(path)
    try:
        found.sign("anything")
    except OSError:
        pass  # it may come yet, while a server is waited for
    except CredentialsUnreadable as error:
        raise BusUnavailable(str(error), hint=error.hint) from error
    return found


def _trusting(ca: Path | None, *, by_http: bool) -> ssl.SSLContext | None:
    """Return what trusts the certificates in a file, and no others but, `by_http`, those that this machine trusts.

    Raises BusUnavailable for what is none.
    """
    if ca is None:
        return None
    try:
        if not by_http:
            return ssl.create_default_context(cafile=str(ca))
        trusting = ssl.create_default_context()
        trusting.load_verify_locations(cafile=str(ca))
        return trusting
    except OSError as error:  # ssl's own errors are some
        hint = "name the certificate (PEM) that signed the server's with SKREI_NATS_CA"
        raise BusUnavailable(f"{ca} holds no certificate that can be read: {error}", hint=hint) from error


async def offer(bus: Bus, subject: str, payload: bytes, *, now: bool = False) -> None:
    """Send what nobody waits for: what the bus does not take now is not kept. `now`: in this turn of the loop."""
    if now and bus.publish_now((subject, payload)):
        return
    try:
        await bus.publish(subject, payload)
    except BusUnavailable as error:
        log.debug("not_sent", subject=subject, error=error.message)


def _too_large(subject: str, payload: bytes) -> MessageTooLarge:
    log.error("message_too_large", subject=subject, bytes=len(payload))
    return MessageTooLarge(f"a message of {len(payload)} bytes on {subject} is too large to send")


async def _wait_for_port(url: str, wait_seconds: float) -> None:
    """Wait until something listens: the client logs a traceback for every refused first connection."""
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    proxy = proxy_of(url)
    host, port = (proxy.host, proxy.port) if proxy else (parts.hostname or "127.0.0.1", port_of(url))
    deadline = asyncio.get_running_loop().time() + wait_seconds
    while True:
        try:
            async with asyncio.timeout(5):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError) as error:
            if asyncio.get_running_loop().time() >= deadline:
                what, hint = ("the proxy", "see HTTPS_PROXY and NO_PROXY") if proxy else ("NATS", _START_IT)
                raise BusUnavailable(f"{what} does not listen at {host}:{port}", hint=hint) from error
            await asyncio.sleep(0.05)
        else:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return
