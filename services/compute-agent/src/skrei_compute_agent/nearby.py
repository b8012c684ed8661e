"""What of elsewhere is near this node, looked for rarely and beside everything else, for those who place work."""

import asyncio
import time
from collections.abc import Collection

from skrei_compute_agent.held_inputs import HeldInputs
from skrei_domain.errors import SkreiError
from skrei_domain.node import NearServer
from skrei_kit.observability import get_logger
from skrei_plugin_api.storage import Near, Storage

log = get_logger()

LOOK_SECONDS = 30.0
"""How long one storage may look: it connects to some servers, and reads a list of some thousand names."""
MOST_SERVERS = 16
"""That are told of: a node has a handful, and the leader remembers each."""
FIRST_SECONDS = 2.0
"""After the start, before anything is looked for: what a node begins with is more urgent."""
SOON_SECONDS = 5.0
"""From the first look to the second; each of the next is twice as far away, up to what is usual, so that what a node's
first jobs read from is known soon."""
STEADY_SHARE, STEADY_MICROS = 0.3, 500
"""By how much a server has to be nearer or farther than it was before that is told: each new word is a commit."""


class Nearby:
    """What the storages of one node found last, each `seconds`; with 0 nothing is looked for."""

    def __init__(self, storages: Collection[Storage], held: HeldInputs, *, seconds: float) -> None:
        self.servers: tuple[NearServer, ...] = ()
        self._storages = [each for each in dict.fromkeys(storages) if type(each).near is not Storage.near]
        self._held = held
        self._seconds = seconds
        self._apart = min(SOON_SECONDS, seconds)
        self._next = time.monotonic() + FIRST_SECONDS
        self._looking: asyncio.Task[None] | None = None

    def look_if_due(self) -> None:
        """Begin to look where it is time to; never waits."""
        now = time.monotonic()
        if not self._seconds or not self._storages or now < self._next or self._looking is not None:
            return
        self._next = now + self._apart
        self._apart = min(2 * self._apart, self._seconds)
        self._looking = asyncio.create_task(self.look(), name="look nearby")
        self._looking.add_done_callback(self._looked)

    async def look(self) -> None:
        """Look now."""
        found = await asyncio.gather(*(_ask(each) for each in self._storages))
        servers = [server for near in found for server in near.servers]
        self.servers = steady(self.servers, servers)
        self._held.pin(key for near in found for key in near.holds)

    async def close(self) -> None:
        """Give up a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def _looked(self, task: "asyncio.Task[None]") -> None:
        self._looking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("look_nearby_failed", problem=f"{type(error).__name__}: {error}")


def steady(before: Collection[NearServer], now: Collection[NearServer]) -> tuple[NearServer, ...]:
    """Return what is known of servers by now, the nearest first; one that is about as near as it was stays as told."""
    known = {each.url: each for each in before}
    quickest = {each.url: each for each in sorted(now, key=lambda each: -each.latency_micros)}
    told = (_steadied(known.get(url), each) for url, each in quickest.items())
    return tuple(sorted(told, key=lambda each: (each.latency_micros, each.url))[:MOST_SERVERS])


def _steadied(old: NearServer | None, new: NearServer) -> NearServer:
    if old is None or (old.region, old.usual) != (new.region, new.usual):
        return new
    change = abs(old.latency_micros - new.latency_micros)
    return old if change <= max(STEADY_MICROS, STEADY_SHARE * old.latency_micros) else new


async def _ask(storage: Storage) -> Near:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await storage.near()
    except TimeoutError:
        log.info("look_nearby_cut_off", storage=storage.name, seconds=LOOK_SECONDS)
    except (SkreiError, OSError, ValueError) as error:
        log.info("look_nearby_failed", storage=storage.name, problem=str(error))
    return Near()
