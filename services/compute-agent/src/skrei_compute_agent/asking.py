"""One question of a check: to a port of this machine, or by a command beside a program; answers say what was wrong."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from skrei_domain.errors import SkreiError
from skrei_domain.spec import Check
from skrei_plugin_api.engine import CommandRequest, Engine

LINE_BYTES = 8 * 1024
"""Of the first line of an answer: a status and a few words."""
STAYS_SECONDS = 1.3
"""How long a connection must stay open to count: docker's proxy hangs up within a millisecond or two, and while its
container is being started once its second knock is refused, a second later."""
COMMANDS_AT_ONCE = 8
"""Commands of checks that run at once on a node: each is a process or two, and what waits is asked a little later."""
SAID_CHARACTERS = 160
"""Of the end of what a command said that are told: an error's last line or two, within what a fact's note holds."""


class Reply(NamedTuple):
    """Whether an answer was good, and what was wrong where it was not."""

    good: bool
    why: str = ""


class Inside(NamedTuple):
    """A command to ask by, beside the n-th start of an execution."""

    execution_id: str
    start: int
    engine: str
    command: tuple[str, ...]
    timeout: int


Ask = Callable[[Check, str, int], Awaitable[Reply]]
"""Asks a port of this machine once: host, port. Never raises; takes as long as its check's timeout at most."""
AskInside = Callable[[Inside], Awaitable[Reply]]
"""Asks by a command. Never raises; takes as long as its timeout, and what it waits for others."""


async def ask_port(check: Check, host: str, port: int) -> Reply:
    """Ask a port as its check says; whatever is no good answer in time is a bad one."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(check.timeout):
            reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES)
            if check.http is None:
                return await _stays(reader, port, min(STAYS_SECONDS, check.timeout * 0.8))
            return await _http(reader, writer, check.http.path, f"{host}:{port}")
    except TimeoutError:
        return Reply(False, f"port {port} has not answered within {check.timeout} s")
    except ConnectionRefusedError:
        return Reply(False, f"nothing listens on port {port}")
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return Reply(False, f"what listens on port {port} does not answer as it should")
    finally:
        if writer is not None:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _stays(reader: asyncio.StreamReader, port: int, seconds: float) -> Reply:
    """Whether a connection that was taken is kept for a moment, or something is said on it.

    A proxy before a container takes every connection, and hangs up where nothing listens behind it.
    """
    try:
        async with asyncio.timeout(seconds):
            said_something = bool(await reader.read(1))
    except TimeoutError:
        return Reply(good=True)
    return Reply(good=True) if said_something else Reply(False, f"port {port} hangs up at once: nothing listens behind")


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, host: str) -> Reply:
    """Whether a GET is answered with 200 to 399: its first line says so, and the rest is nobody's concern."""
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}", "User-Agent: skrei-check", "Connection: close", "", "")
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    version, status, *_ = (await reader.readuntil(b"\n")).decode("latin-1").split()
    if version.startswith("HTTP/1.") and 200 <= int(status) < 400:
        return Reply(good=True)
    return Reply(False, f"GET {path} is answered {int(status)}")


async def nobody_inside(inside: Inside) -> Reply:
    """Answer for a node without engines."""
    return Reply(False, f"this node has no engine {inside.engine!r}")


class CommandAsker:
    """Asks by commands of this node's engines, so many at once."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        self._turn = asyncio.Semaphore(COMMANDS_AT_ONCE)

    async def __call__(self, inside: Inside) -> Reply:
        """See `AskInside`."""
        engine = self._engines.get(inside.engine.casefold())
        if engine is None:
            return await nobody_inside(inside)
        request = CommandRequest(inside.execution_id, inside.start, inside.command, float(inside.timeout))
        async with self._turn:
            try:
                outcome = await engine.command(request)
            except SkreiError as error:
                return Reply(False, error.message)
        if outcome.exit_code == 0:
            return Reply(good=True)
        if outcome.exit_code is None:
            return Reply(
                False, f"its command has not ended within {inside.timeout} s and was killed{said(outcome.output)}"
            )
        return Reply(False, f"its command ended with exit code {outcome.exit_code}{said(outcome.output)}")


def said(output: bytes) -> str:
    """Return the end of what a command said, on one line, as the end of a sentence; empty where it said nothing."""
    words = " ".join(output.decode("utf-8", errors="replace").replace("\x00", " ").split())
    return f": {words if len(words) <= SAID_CHARACTERS else '…' + words[-SAID_CHARACTERS:]}" if words else ""
