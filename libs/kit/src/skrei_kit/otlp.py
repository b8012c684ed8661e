"""The way of spans to a collector: gathered, sent in batches over HTTP, and dropped rather than waited for.

Nobody who has something to do waits for any of this: `add` puts spans into a queue that has an end. What a collector
does not take is tried again for as long as there is room, and counted when there is none. What was under way when the
service stopped may come twice: collectors know spans by their ids.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from skrei_kit.metrics import Figures, gauge
from skrei_kit.observability import get_logger
from skrei_kit.tracing import Span, otlp

log = get_logger()

QUEUED_SPANS = 10_000
"""Spans that wait for a collector: a thousand jobs', some megabytes; the newest beyond that are dropped."""
BATCH_SPANS = 512
"""Spans in one request: what collectors expect, some 200 KB."""
GATHER_SECONDS = 1.0
"""How long spans wait for company: who looks at a trace looks a few seconds later."""
SEND_SECONDS = 10.0
"""How long one request may take, its connection included."""
AGAIN_SECONDS = 1.0
"""First pause before a batch is sent again; doubles."""
AGAIN_MAX_SECONDS = 30.0
"""The longest: a collector that is back is found within half a minute."""
LAST_SECONDS = 1.0
"""How long what is left is sent for when the service stops."""
ANSWER_BYTES = 4 * 1024
"""Read of an answer: its first line counts."""
PATH = "/v1/traces"
_AGAIN = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
_PORTS = {"http": 80, "https": 443}


class _Refused(Exception):
    """The collector does not take this batch, now or ever."""


class Exporter:
    """Sends spans to the collector at `endpoint`. `run` works until it is cancelled, and sends what is left then."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], figures: Figures) -> None:
        parts = urlsplit(endpoint)
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        path = parts.path.rstrip("/")
        self._path = path if path.endswith(PATH) else path + PATH
        told = {"Host": parts.netloc.rpartition("@")[2], "Content-Type": "application/json", **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self._waiting: deque[Span] = deque()
        self._there = asyncio.Event()
        self._sent = figures.counter("skrei_spans_sent_total", "Spans that a collector took.")
        self._dropped = figures.counter("skrei_spans_dropped_total", "Spans that no collector took, by why.", ("why",))
        figures.read(lambda: (gauge("skrei_spans_waiting", "Spans that wait for a collector.", len(self._waiting)),))

    def add(self, spans: Iterable[Span]) -> None:
        """Send these some time; never waits."""
        for span in spans:
            if len(self._waiting) >= QUEUED_SPANS:
                self._dropped.add(1, "full")
            else:
                self._waiting.append(span)
        if self._waiting:
            self._there.set()

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        pause = AGAIN_SECONDS
        try:
            while True:
                await self._there.wait()
                await asyncio.sleep(GATHER_SECONDS)
                if await self._send_batch():
                    pause = AGAIN_SECONDS
                    continue
                await asyncio.sleep(pause)
                pause = min(pause * 2, AGAIN_MAX_SECONDS)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    while self._waiting and await self._send_batch():
                        pass

    async def _send_batch(self) -> bool:
        """Send what fits into one request; return whether the next may follow."""
        batch = [self._waiting.popleft() for _ in range(min(BATCH_SPANS, len(self._waiting)))]
        if not self._waiting:
            self._there.clear()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._post(otlp(batch))
        except _Refused as error:
            log.warning("spans_refused", count=len(batch), reason=str(error))
            self._dropped.add(len(batch), "refused")
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("collector_away", reason=str(error) or type(error).__name__)
            self._put_back(batch)
            return False
        except asyncio.CancelledError:
            self._put_back(batch)
            raise
        else:
            self._sent.add(len(batch))
        return True

    def _put_back(self, batch: list[Span]) -> None:
        room = QUEUED_SPANS - len(self._waiting)
        self._waiting.extendleft(reversed(batch[:room]))
        self._dropped.add(max(len(batch) - room, 0), "full")
        self._there.set()

    async def _post(self, body: bytes) -> None:
        """Send one body. Raises _Refused, or OSError where another try may succeed."""
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=ANSWER_BYTES)
        try:
            head = f"POST {self._path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode("latin-1") + body)
            await writer.drain()
            line = (await reader.readuntil(b"\r\n")).decode("latin-1").strip()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        code = line.split(" ")[1] if line.count(" ") else ""
        if not code.isdigit():
            raise _Refused(f"no answer of a collector: {line[:80]!r}")
        if int(code) in _AGAIN:
            raise ConnectionError(line)
        if not 200 <= int(code) < 300:
            raise _Refused(line)
