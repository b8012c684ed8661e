"""Lists inputs that the leader asks about before it places their job, and brings the lists to the store."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from skrei_compute_agent.listings import Listings, key_of
from skrei_domain.errors import SkreiError
from skrei_domain.listing import InputListed, InputWanted
from skrei_domain.messages import ManifestRef, Problem
from skrei_kit.observability import get_logger
from skrei_plugin_api.storage import SourceSpec, StageLimits, Storage

if TYPE_CHECKING:
    from skrei_compute_agent.manifest_client import ManifestClient

log = get_logger()

AT_ONCE = 4
"""Listings for the leader at once: each is requests one after another, and their pages are read on the event loop."""
MOST_WAITING = 256
"""That wait for their turn; the leader places the jobs of more without."""
TURN_SECONDS = 8.0
"""How long one waits for its turn: the leader waits for ten, and what it has given up is not to keep others waiting."""
TELL_SECONDS = 1.0
"""Between two words on how far a listing is: the leader takes one that says nothing for ten for lost."""
LONGEST_SECONDS = 900.0
"""Of one listing: five million keys take some ten minutes."""
TROUBLE_CHARACTERS = 1_000
"""Of why there is none."""

Say = Callable[[InputListed], None]


class Resolver:
    """Answers each request with how far it is, and in the end with a list in the store, or why there is none."""

    def __init__(
        self,
        storages: Mapping[str, Storage],
        listings: Listings,
        store: "Callable[[], ManifestClient]",
        limits: StageLimits,
    ) -> None:
        self._storages = storages
        self._listings = listings
        self._store = store
        self._limits = limits
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._running: dict[str, asyncio.Task[None]] = {}

    def take(self, wanted: InputWanted, say: Say) -> None:
        """List what is wanted, and `say` so. One that is asked again while it goes on is one."""
        if wanted.request_id in self._running:
            return
        if len(self._running) >= MOST_WAITING:
            say(InputListed(request_id=wanted.request_id, problem=_problem("exhausted", "this node lists enough")))
            return
        task = asyncio.get_running_loop().create_task(self._answer(wanted, say), name=f"list {wanted.job_id}")
        self._running[wanted.request_id] = task
        task.add_done_callback(lambda done: self._done(wanted, done))

    async def close(self) -> None:
        """Give up what is under way: who asked asks elsewhere, or goes on without."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, wanted: InputWanted, task: "asyncio.Task[None]") -> None:
        del self._running[wanted.request_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("listing_failed", job_id=wanted.job_id, problem=f"{type(error).__name__}: {error}")

    async def _answer(self, wanted: InputWanted, say: Say) -> None:
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._gate.acquire()
        except TimeoutError:
            problem = _problem("exhausted", "the node that was asked still lists the inputs of others")
            say(InputListed(request_id=wanted.request_id, problem=problem))
            return
        try:
            say(await self._listed(wanted, say))
        finally:
            self._gate.release()

    async def _listed(self, wanted: InputWanted, say: Say) -> InputListed:
        """Return what an input came to, and `say` meanwhile how far it is."""
        files = 0

        def told(count: int) -> None:
            nonlocal files
            files = count

        listing = asyncio.ensure_future(self._list(wanted, told))
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                while not listing.done():
                    await asyncio.wait([listing], timeout=TELL_SECONDS)
                    if not listing.done():
                        say(InputListed(request_id=wanted.request_id, files=files))
            ref = listing.result()
            return InputListed(request_id=wanted.request_id, files=ref.files, manifest=ref)
        except SkreiError as error:
            return InputListed(request_id=wanted.request_id, problem=_problem(str(error.code), error.message))
        except (OSError, TimeoutError) as error:
            text = f"{type(error).__name__}: {error}"
            return InputListed(request_id=wanted.request_id, problem=_problem("node-trouble", text))
        finally:
            listing.cancel()

    async def _list(self, wanted: InputWanted, told: Callable[[int], None]) -> ManifestRef:
        source = SourceSpec(wanted.source_type, wanted.params, wanted.target, partitions=wanted.partitions)
        storage = self._storages.get(wanted.source_type.casefold())
        entries = None if storage is None else storage.resolve(source, self._limits)
        if entries is None:
            raise SkreiError(f"this node lists no inputs of the type {wanted.source_type!r}")
        key = key_of(wanted.job_id, wanted.job_version, source)
        listing = await self._listings.get(key, lambda: entries, wanted.partitions, self._limits, told)
        manifest = listing.manifest
        await self._store().bring(listing.path, manifest.digest, wanted.token)
        return ManifestRef(
            digest=manifest.digest, parts=manifest.slices, files=manifest.files, size_bytes=manifest.size_bytes
        )


def _problem(code: str, message: str) -> Problem:
    return Problem(code=code, message=message[:TROUBLE_CHARACTERS])
