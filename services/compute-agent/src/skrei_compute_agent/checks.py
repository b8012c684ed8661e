"""Whether what runs here is ready: each start with a check is asked again and again, and changes are told.

`Verdicts` counts answers and decides, pure; `Checks` asks, over this machine's network, and posts what changed. One
that is slow to answer holds up nobody: each start has a task of its own, and each question its time.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from skrei_compute_agent.events import Adopt, Answer, Checked, Stage, Staged
from skrei_domain.messages import PortObserved
from skrei_domain.spec import Check
from skrei_kit.observability import get_logger

log = get_logger()

FIRST_ASK_SECONDS = 0.2
"""After a start, doubling up to the check's interval until it is ready: most programs listen within a second, and
whoever waits for a new version waits for this."""
LINE_BYTES = 8 * 1024
"""Of the first line of an answer: a status and a few words."""

Ask = Callable[[Check, str, int], Awaitable[bool]]
"""Asks a port of this machine once: host, port. Never raises; takes as long as its check's timeout at most."""


@dataclass(slots=True)
class Verdicts:
    """What the answers so far come to. A start is not ready until it has said so `healthy` times in a row."""

    healthy: int
    unhealthy: int
    ready: bool = False
    in_a_row: int = 0

    def count(self, good: bool) -> bool:
        """Take in an answer; returns whether that changed what it comes to."""
        if good is self.ready:
            self.in_a_row = 0
            return False
        self.in_a_row += 1
        if self.in_a_row < (self.healthy if good else self.unhealthy):
            return False
        self.ready, self.in_a_row = good, 0
        return True


@dataclass(frozen=True, slots=True)
class _Watched:
    check: Check
    ports: tuple[PortObserved, ...] = ()


class Checks:
    """Asks the starts that have a check. A `Listener` of the runner; it never waits."""

    def __init__(
        self, post: Callable[[Checked], None], ask: Ask | None = None, *, near: Callable[[str], str] = str
    ) -> None:
        """Ask by `ask`; `near` says where this machine reaches a port that others are told of at a host."""
        self._post = post
        self._near = near
        self._ask = ask or ask_port
        self._watched: dict[str, _Watched] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def staged(self, wanted: Stage, answer: Staged) -> None:
        """An execution is staged."""
        if wanted.task.check is not None:
            self._watched[wanted.execution_id] = _Watched(wanted.task.check, answer.ports)

    def begun(self, execution_id: str, start: int) -> None:
        """A staged execution is about to run."""
        if (watched := self._watched.get(execution_id)) is not None:
            self._watch(execution_id, start, watched)

    def adopted(self, wanted: Adopt) -> None:
        """A start that an earlier process began is about to be taken up."""
        if wanted.task.check is not None:
            self._watch(wanted.execution_id, wanted.start, _Watched(wanted.task.check, wanted.ports))

    def ended(self, execution_id: str, answer: Answer | None) -> None:
        """A start has ended."""
        if (task := self._tasks.pop(execution_id, None)) is not None:
            task.cancel()

    def dropped(self, execution_id: str) -> None:
        """What an execution left is about to go."""
        self._watched.pop(execution_id, None)

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self, execution_id: str, start: int, watched: _Watched) -> None:
        self.ended(execution_id, None)
        work = self._look(execution_id, start, watched)
        self._tasks[execution_id] = asyncio.get_running_loop().create_task(work, name=f"check {execution_id}")

    async def _look(self, execution_id: str, start: int, watched: _Watched) -> None:
        check = watched.check
        port = _port(watched)
        if port is None:
            log.warning("check_without_port", execution_id=execution_id)
            return
        host = self._near(port.host)
        verdicts = Verdicts(check.healthy, check.unhealthy)
        pause = FIRST_ASK_SECONDS
        while True:
            await asyncio.sleep(pause)
            if verdicts.count(await self._ask(check, host, port.port)):
                log.info("check_changed", execution_id=execution_id, start=start, ready=verdicts.ready)
                self._post(Checked(execution_id, start, verdicts.ready))
            pause = check.interval if verdicts.ready else min(pause * 2, check.interval)


def _port(watched: _Watched) -> PortObserved | None:
    way = watched.check.http or watched.check.tcp
    return None if way is None else next((port for port in watched.ports if port.name == way.port), None)


async def ask_port(check: Check, host: str, port: int) -> bool:
    """Ask a port as its check says; False for whatever is no good answer in time."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(check.timeout):
            reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES)
            return check.http is None or await _http(reader, writer, check.http.path, f"{host}:{port}")
    except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, host: str) -> bool:
    """Whether a GET is answered with 200 to 399: its first line says so, and the rest is nobody's concern."""
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}", "User-Agent: skrei-check", "Connection: close", "", "")
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    version, status, *_ = (await reader.readuntil(b"\n")).decode("latin-1").split()
    return version.startswith("HTTP/1.") and 200 <= int(status) < 400
