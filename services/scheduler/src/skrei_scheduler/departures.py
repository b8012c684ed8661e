"""What the core wants done besides commits: what is sent to nodes and the publisher, looked at later, and reported."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from skrei_domain.lifecycle import Want
from skrei_kit.observability import get_logger
from skrei_scheduler.sender import Sender
from skrei_scheduler.specs import SpecCache
from skrei_scheduler.work import (
    Outgoing,
    ReadSoon,
    Reply,
    Report,
    SendCommands,
    SendConfirm,
    SendListing,
    SendPublisher,
)
from skrei_scheduling.changes import Changes

log = get_logger()

MOST_AHEAD = 4
"""Executions whose commands are written while the record commits them: half a millisecond, as long as that takes."""


class Departures:
    """Carries out what the core asks for. `look` is called when evaluations are due."""

    def __init__(
        self,
        sender: Sender,
        specs: SpecCache,
        *,
        fetch_specs: Callable[[Collection[tuple[str, int]]], Awaitable[None]],
        look: Callable[[], None],
    ) -> None:
        self._sender = sender
        self._specs = specs
        self._fetch_specs = fetch_specs
        self._look = look
        self._timers: set[asyncio.TimerHandle] = set()
        self._ahead: Changes | None = None

    def close(self) -> None:
        """Look at nothing later."""
        for timer in self._timers:
            timer.cancel()

    def write_ahead(self, changes: Changes) -> None:
        """Write the commands that follow from a commit which is under way: nobody else works while the record does.

        Nothing is sent of it unless the commit is made, as it was decided (`send_ahead`). One that changes what its
        commands say of their jobs has them written afterwards.
        """
        self._ahead = None
        rows = changes.executions_new
        if 0 < len(rows) <= MOST_AHEAD and not any(job.targets or job.manifests for job in changes.jobs):
            self._sender.write(rows)
            self._ahead = changes

    async def send_ahead(self, changes: Changes) -> None:
        """A commit was made: send what was written of it."""
        if self._ahead is changes:
            await self._sender.send_written(changes.executions_new)

    async def send(self, out: Sequence[Outgoing]) -> None:
        """Carry all of it out, in order."""
        rows = [row for each in out if isinstance(each, SendCommands) for row in each.rows if row.want is Want.RUN]
        lists = {(each.job.id, each.job.version) for each in out if isinstance(each, SendListing)}
        lists = {key for key in lists if self._specs.get(*key) is None}
        await self._fetch_specs(self._specs.missing(rows) | lists)
        for each in out:
            match each:
                case SendCommands(node_id, wanted):
                    await self._sender.commands(node_id, wanted)
                case SendPublisher(command):
                    await self._sender.publisher(command)
                case SendListing():
                    await self._sender.listing(each)
                case SendConfirm(node_id, confirm):
                    await self._sender.confirm(node_id, confirm)
                case Reply(to, reply, node_id):
                    await self._sender.reply(to, reply, node_id)
                case ReadSoon(seconds):
                    self._call_later(seconds)
                case Report(event, fields, error):
                    (log.error if error else log.info)(event, **fields)
        self._sender.all_said()

    def _call_later(self, seconds: float) -> None:
        """Read due evaluations then; the sweep of each second covers what is further away."""
        if seconds > 1.0:
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds + 0.01, self._look)
        self._timers.add(timer)
        self._timers = {each for each in self._timers if not each.cancelled() and each.when() > loop.time()}
