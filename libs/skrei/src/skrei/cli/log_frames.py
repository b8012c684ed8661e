"""A log stream of the API, frame by frame, for commands: blocking, and imported only where output is streamed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from skrei.answers import CONNECT_SECONDS, LOG_FRAME_BYTES, log_line_of
from skrei.credentials import headers_for
from skrei.endpoint import is_loopback
from skrei.errors import LogsFailed
from skrei.log_query import LogQuery
from skrei.trust import context_for, unreachable
from skrei.views import LogLine

LOOK_SECONDS = 0.5
"""How often a reader of a quiet stream gets its turn."""
CLOSE_SECONDS = 1.0
"""For the API's answer to our goodbye."""


def frames(endpoint: str, query: LogQuery) -> Iterator[LogLine | None]:
    """Yield output to its end, and None first and whenever nothing came for a while.

    Raises LogsFailed for what the API says instead, Unreachable where nobody answers.
    """
    from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, WebSocketException

    try:
        with _receiving(endpoint, query.url(endpoint)) as receive:
            yield None
            while True:
                try:
                    frame = receive()
                except TimeoutError:
                    yield None
                    continue
                except ConnectionClosedOK:
                    return
                yield log_line_of(frame)
    except ConnectionClosedError as error:
        raise LogsFailed("The log stream broke off.", hint="Ask again; the output is kept.") from error
    except WebSocketException as error:
        raise LogsFailed(f"The API did not open a log stream: {error}.") from error
    except OSError as error:
        raise unreachable(endpoint, error) from error


@contextmanager
def _receiving(endpoint: str, url: str) -> Iterator[Callable[[], str | bytes]]:
    """Open the stream at `url`; yields what returns its next frame, or raises TimeoutError after LOOK_SECONDS.

    Over TLS through an event loop: the blocking client writes and reads in two threads, and OpenSSL loses what is
    written while it reads what a server sends after its handshake. Without TLS the loop would only cost its import.
    """
    context = context_for(endpoint)
    options: dict[str, Any] = {
        "max_size": LOG_FRAME_BYTES,
        "proxy": None if is_loopback(endpoint) else True,
        "open_timeout": CONNECT_SECONDS,
        "close_timeout": CLOSE_SECONDS,
        "additional_headers": headers_for(endpoint),
    }
    if context is None:
        from websockets.sync.client import connect

        with connect(url, **options) as socket:
            yield lambda: socket.recv(timeout=LOOK_SECONDS)
        return

    import asyncio

    from websockets.asyncio import client

    async def opened() -> client.ClientConnection:
        return await client.connect(url, ssl=context, **options)

    async def received(stream: client.ClientConnection) -> str | bytes:
        async with asyncio.timeout(LOOK_SECONDS):
            return await stream.recv()

    with asyncio.Runner() as runner:
        stream = runner.run(opened())
        try:
            yield lambda: runner.run(received(stream))
        finally:
            runner.run(stream.close())
