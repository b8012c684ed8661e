"""A whole stack as one child process: started, watched until it can run a job, stopped with all that it started."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from skrei.cli.log_tail import tail
from skrei.errors import Rejected

START_SECONDS = 45.0
"""A first start initialises a database; on a slow disk that is most of it."""
STOP_SECONDS = 15.0
"""The stack stops within 10 s by its own promise."""
LOOK_SECONDS = 0.1
SERVER_LINES = 5
"""Of the logs of Postgres and nats-server: they are rarely why."""
PARENT_PIPE = "SKREI_PARENT_PIPE"
"""Names the pipe whose end tells the stack that we are gone; `skrei_kit.supervisor` reads it."""


class StackProcess:
    """`skrei serve` as a child in a session of its own, with its log in `folder`."""

    def __init__(self, folder: Path, options: Sequence[str], *, outlives_us: bool) -> None:
        self.endpoint = ""
        self._folder = folder
        self._options = options
        self._outlives_us = outlives_us
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None

    @property
    def pid(self) -> int:
        """The process to end when all of it shall end."""
        assert self._process is not None, "started before"
        return self._process.pid

    async def start(self) -> None:
        """Start, and return once the API answers and the node can take work. Raises Rejected with what to read."""
        self._spawn()
        await self._ready()

    def _spawn(self) -> None:
        environment = dict(os.environ)
        inherited: tuple[int, ...] = ()
        if not self._outlives_us:
            read, self._pipe = os.pipe()
            environment[PARENT_PIPE] = str(read)
            inherited = (read,)
        command = [sys.executable, "-m", "skrei.cli.main", "serve", "--data-dir", str(self._data), *self._options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=inherited,
                start_new_session=True,  # Ctrl+C is ours to handle: the stack is stopped in its own order
            )
        for descriptor in inherited:
            os.close(descriptor)

    def check(self) -> None:
        """Raise Rejected when the stack has ended by itself."""
        assert self._process is not None, "started before"
        if (code := self._process.poll()) is not None:
            raise Rejected(f"The stack ended by itself with exit code {code}.")

    async def stop(self) -> None:
        """Stop the stack; what does not stop in time is killed with all of its session."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.shield(asyncio.to_thread(self._process.wait, STOP_SECONDS))
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log_tails(self) -> Iterator[tuple[str, str]]:
        """Yield the ends of the logs, the stack's own (with all services in it) first."""
        yield str(self._log), tail(self._log)
        for path in sorted(self._data.glob("logs/*.log")):
            yield str(path), tail(path, SERVER_LINES)

    @property
    def _log(self) -> Path:
        return self._folder / "serve.log"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    async def _ready(self) -> None:
        """Wait until the supervisor says that the API answers and its node is connected."""
        try:
            async with asyncio.timeout(START_SECONDS):
                while not (state := self._state()).get("ready"):
                    self.check()
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as error:
            raise Rejected(f"The stack was not ready after {START_SECONDS:g} s.") from error
        self.endpoint = str(state["api_url"])

    def _state(self) -> dict[str, object]:
        """Return what the supervisor tells of itself; nothing while it has not begun."""
        try:
            found = json.loads((self._data / "stack.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
