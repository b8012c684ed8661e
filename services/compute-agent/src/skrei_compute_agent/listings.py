"""Listings of inputs on this node: each is made once, for all executions of a job's version, and kept as a manifest.

So the second execution starts without asking anybody, and all of them see one state of what was listed, also after a
restart of the agent.
"""

import asyncio
import hashlib
import itertools
import json
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from skrei_plugin_api.aside import outcome, to_its_end
from skrei_plugin_api.manifest import Manifest, ManifestDamaged, Slice, load, read
from skrei_plugin_api.manifest_writer import ManifestWriter
from skrei_plugin_api.pieces import Entry, Listed, Piece, check_pieces
from skrei_plugin_api.storage import SourceSpec, StageLimits

MOST_KEPT = 256
"""Manifests that stay for the next execution of their job; the least used go first, and are listed anew if need be."""
MOST_KEPT_BYTES = 1024**3
"""Of all of them: one of a million objects has some 40 MB."""
MOST_AT_HAND = 16
"""Whose index stays in memory: 80 bytes for each partition, so a megabyte at most."""
TELL_EVERY = 250
"""Files between two words on how far a listing is, and between two turns of everything else: some 5 ms of work."""
READ_ASIDE = 1_000
"""Files of a slice above which it is read in a thread: milliseconds."""
SUFFIX = ".manifest"
PART = ".part"

Told = Callable[[int], None]
"""Hears how many files were listed so far."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A manifest on this node's disk."""

    manifest: Manifest
    path: Path

    def part(self, source: SourceSpec, limits: StageLimits) -> Listed:
        """Return what the partition of a source gets. Raises ManifestDamaged where it was not made for it."""
        wanted = self.manifest.slice(source.partition)
        return Listed(wanted.digest, wanted.files, wanted.size_bytes, partial(self._load, wanted, source, limits))

    async def _load(self, wanted: Slice, source: SourceSpec, limits: StageLimits) -> Sequence[Piece]:
        if wanted.files > READ_ASIDE:
            return await asyncio.to_thread(self._read, wanted, source, limits)
        return self._read(wanted, source, limits)

    def _read(self, wanted: Slice, source: SourceSpec, limits: StageLimits) -> Sequence[Piece]:
        try:
            pieces = list(read(self.path, wanted))
        except FileNotFoundError as error:
            raise ManifestDamaged("the listing is gone from this node's disk; it is made again") from error
        except ManifestDamaged:
            self.path.unlink(missing_ok=True)
            raise
        check_pieces(pieces, limits, source.target)
        return pieces


@dataclass(slots=True)
class _Running:
    """A listing under way, and who waits for it."""

    task: "asyncio.Task[Listing]"
    heard: dict[int, Told] = field(default_factory=dict)


def key_of(job_id: str, version: int, source: SourceSpec) -> str:
    """Return what names the listing of a source for a job's version: whichever partition asks, it is the same."""
    told = [job_id, version, source.type.casefold(), source.params, source.partitions]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


class Listings:
    """The listings of one node, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._at_hand: OrderedDict[str, Listing] = OrderedDict()
        self._running: dict[str, _Running] = {}
        self._given_up: set[asyncio.Task[Listing]] = set()
        self._numbers = itertools.count()

    def open(self) -> None:
        """Learn what is there, the least used first, and remove what was not finished. Blocks."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found: list[tuple[float, str, int]] = []
        for path in self._folder.iterdir():
            if path.suffix == SUFFIX:
                status = path.stat()
                found.append((status.st_mtime, path.stem, status.st_size))
            else:
                path.unlink()
        self._sizes = OrderedDict((key, size) for _, key, size in sorted(found))

    async def get(
        self,
        key: str,
        entries: Callable[[], AsyncGenerator[Entry, None]],
        partitions: int,
        limits: StageLimits,
        told: Told,
    ) -> Listing:
        """Return the listing of that name, made of `entries` where it is not here; `told` hears how far that is.

        Who asks meanwhile waits for the same, which is given up when nobody waits any more. Raises what listing
        raises.
        """
        if (found := self.find(key)) is not None:
            return found
        running = self._running.get(key)
        if running is None:
            task = asyncio.create_task(self._list(key, entries, partitions, limits), name="list input")
            running = self._running[key] = _Running(task)
            task.add_done_callback(partial(self._over, key))
        number = next(self._numbers)
        running.heard[number] = told
        try:
            return await outcome(running.task)
        finally:
            del running.heard[number]
            if not running.heard and not running.task.done():
                running.task.cancel()
                self._running.pop(key, None)  # who comes now begins anew
                self._given_up.add(running.task)

    async def close(self) -> None:
        """Give up what is being listed."""
        tasks = [*self._given_up, *(running.task for running in self._running.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def find(self, key: str) -> Listing | None:
        """Return the listing of that name, if it is here."""
        path = self._path(key)
        if key not in self._sizes:
            return None
        try:
            os.utime(path)
            listing = self._at_hand.get(key) or Listing(load(path), path)
        except (FileNotFoundError, ManifestDamaged):  # tidied up by hand, or what a power cut left
            self._drop(key)
            return None
        self._sizes.move_to_end(key)
        self._hold(key, listing)
        return listing

    def _hold(self, key: str, listing: Listing) -> None:
        self._at_hand[key] = listing
        self._at_hand.move_to_end(key)
        if len(self._at_hand) > MOST_AT_HAND:
            self._at_hand.popitem(last=False)

    async def _list(
        self, key: str, entries: Callable[[], AsyncGenerator[Entry, None]], partitions: int, limits: StageLimits
    ) -> Listing:
        path = self._path(key)
        part = path.with_suffix(f".{next(self._numbers)}{PART}")
        try:
            with ManifestWriter(self._folder, partitions, limits) as writer:
                async with aclosing(entries()) as found:
                    async for entry in found:
                        writer.add(entry)
                        if writer.full:
                            await to_its_end(writer.spill)
                        if writer.listed % TELL_EVERY == 0:
                            self._tell(key, writer.listed)
                            await asyncio.sleep(0)
                self._tell(key, writer.listed)
                manifest = await to_its_end(partial(writer.finish, part))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        listing = Listing(manifest, path)
        self._sizes[key] = path.stat().st_size
        self._hold(key, listing)
        self._trim()
        return listing

    def _tell(self, key: str, listed: int) -> None:
        if (running := self._running.get(key)) is not None:
            for told in running.heard.values():
                told(listed)

    def _over(self, key: str, task: "asyncio.Task[Listing]") -> None:
        self._given_up.discard(task)
        if (running := self._running.get(key)) is not None and running.task is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # who waited has heard it; where nobody does any more it is of no use

    def _trim(self) -> None:
        while len(self._sizes) > MOST_KEPT or (len(self._sizes) > 1 and sum(self._sizes.values()) > MOST_KEPT_BYTES):
            self._drop(next(iter(self._sizes)))

    def _drop(self, key: str) -> None:
        self._sizes.pop(key, None)
        self._at_hand.pop(key, None)
        with suppress(FileNotFoundError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"
