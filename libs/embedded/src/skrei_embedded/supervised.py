"""One supervised child: started, started again with backoff when it ends, and stopped."""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from skrei_domain.errors import SkreiError
from skrei_embedded.processes import Process, kill_session, started_at
from skrei_kit.observability import get_logger

log = get_logger()

FIRST_BACKOFF_SECONDS = 0.2  # a killed process is back before its lease or heartbeat is missed
LONGEST_BACKOFF_SECONDS = 10.0  # one that cannot start does not fill the log
HEALTHY_SECONDS = 30.0  # after so long its next end counts as the first again
_LOOK_SECONDS = 0.02


@dataclass
class Supervised:
    """A child by name. `spawn` starts it and returns at once; `gently` is the signal that asks it to stop."""

    name: str
    spawn: Callable[[], Process]
    stop_seconds: float
    gently: int = signal.SIGTERM
    then: int | None = None
    """A firmer request before the kill, where the program knows one."""
    process: Process | None = None
    _started: float = 0.0
    _backoff: float = FIRST_BACKOFF_SECONDS
    _due: float = 0.0

    def adopt(self, process: Process, now: float) -> None:
        """Have one that was started already; only its successors are spawned."""
        self.process, self._started = process, now

    def look(self, now: float) -> float | None:
        """Start it when it is due; return when to look again, None while it runs.

        Raises what `spawn` raises at the first start; later that is tried again: a machine may be short of memory or
        processes for a moment, or an upgrade replace the program.
        """
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return None
            kill_session(self.process)
            self.process = None
            if now - self._started >= HEALTHY_SECONDS:
                self._backoff = FIRST_BACKOFF_SECONDS
            log.warning("child_ended", child=self.name, exit_code=code, again_in_seconds=self._backoff)
            self._back_off(now)
        if now < self._due:
            return self._due
        self._started = now
        try:
            self.process = self.spawn()
        except (OSError, SkreiError) as error:
            if not self._due:
                raise
            log.warning("child_not_started", child=self.name, reason=str(error), again_in_seconds=self._backoff)
            self._back_off(now)
            return self._due
        log.debug("child_started", child=self.name, pid=self.process.pid)
        return None

    def _back_off(self, now: float) -> None:
        self._due = now + self._backoff
        self._backoff = min(self._backoff * 2, LONGEST_BACKOFF_SECONDS)

    @property
    def born(self) -> str:
        """What tells its process from a later one with the same pid."""
        return started_at(self.process.pid) if self.process is not None else ""

    async def stop(self, longest_seconds: float) -> None:
        """Ask it to stop, wait, and kill it with its session when it does not."""
        process = self.process
        if process is None:
            return
        limit = min(self.stop_seconds, longest_seconds)
        if process.poll() is None:
            process.send_signal(self.gently)
        if not await _ended(process, limit) and self.then is not None:
            process.send_signal(self.then)
            await _ended(process, 1.0)
        if process.poll() is None:
            log.warning("child_killed", child=self.name, after_seconds=limit)
        kill_session(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        self.process = None


async def _ended(process: Process, limit_seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_seconds):
            while process.poll() is None:  # noqa: ASYNC110  # a process has no event to wait for on every platform
                await asyncio.sleep(_LOOK_SECONDS)
    return process.poll() is not None
