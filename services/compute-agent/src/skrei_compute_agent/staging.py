"""Inputs of a task onto this node: each by its storage, all of one execution side by side."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from skrei_compute_agent import patience
from skrei_compute_agent.asked import Asked
from skrei_compute_agent.cached_files import name_of
from skrei_compute_agent.disk_room import BeyondDisk, NoRoom
from skrei_compute_agent.events import Stage
from skrei_compute_agent.held_inputs import HeldInputs
from skrei_compute_agent.input_cache import InputCache
from skrei_compute_agent.input_trees import InputTrees
from skrei_compute_agent.listings import Listings, key_of
from skrei_compute_agent.pinned import Pinned
from skrei_compute_agent.staging_notes import StagingNotes
from skrei_compute_agent.task_results import TaskResults
from skrei_domain.job_kinds import Kind
from skrei_domain.messages import DataRead, ManifestRef
from skrei_domain.source_keys import is_dealt_out, share_key, source_key
from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.engine import InPlace, Mount, Tell
from skrei_plugin_api.manifest import MOST_SLICES
from skrei_plugin_api.pieces import Bring, Listed, Piece
from skrei_plugin_api.storage import BlobReader, SourceSpec, StageLimits, Storage, TaskResult


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was staged for one execution, what of the cache it uses until `Stager.release`, and what it reads.

    `data` counts what lies on the node and what is fetched; what came with the job itself is none of it.
    """

    mounts: tuple[Mount, ...] = ()
    pinned: tuple[str, ...] = ()
    data: DataRead | None = None


@dataclass(frozen=True, slots=True)
class Shelves:
    """Where this node keeps what inputs are made of: files, directories of them, lists of them, results of tasks; and
    which inputs it has whole.
    """

    cache: InputCache
    trees: InputTrees
    listings: Listings
    pinned: Pinned
    results: TaskResults
    held: HeldInputs


class _Reader:
    """What one run command entitles to: its token brings blobs and what earlier tasks left, its owner may read the
    node's paths; what storages fetch is counted. All of it is pinned.
    """

    def __init__(self, shelves: Shelves, wanted: Stage, notes: StagingNotes, asked: Asked) -> None:
        self.owner = wanted.order.owner
        self.pinned: list[str] = []
        self.read = DataRead()
        self._execution_id = wanted.execution_id
        self._shelves = shelves
        self._order = wanted.order
        self._token = wanted.order.token
        self._notes = notes
        self._asked = asked
        self._pins: dict[str, ManifestRef] = {}

    async def fetch(self, digest: str) -> Path:
        """Return a file with exactly the bytes of `digest`."""
        path = self._shelves.cache.ready(digest) or await self._shelves.cache.get(digest, self._token)
        self.pinned.append(digest)
        return path

    def keep(self, data: bytes) -> Path:
        """Return a shared file with exactly these bytes."""
        digest, path = self._shelves.cache.keep(data)
        self.pinned.append(digest)
        return path

    def results(self, task: str) -> AsyncIterator[TaskResult]:
        """Yield what the partitions of a task left that this execution waits for."""
        return self._shelves.results.of(task, self._token, self._count)

    async def listed(self, storage: Storage, source: SourceSpec, limits: StageLimits) -> Listed | None:
        """Return what this execution gets of the list that its job is pinned to, else of one that it shares with the
        others of its job's version on this node.

        What never ends is to see what is there at each of its starts, and one that is alone has nobody to share with.
        """
        order, key = self._order, self._key(source)
        if (ref := self._pins.get(key)) is not None:
            return await self._shelves.pinned.part(key, ref, source, limits, self._token)
        if Kind(order.job_type).endless or order.partition_count <= 1 or source.partitions > MOST_SLICES:
            return None
        if (entries := storage.resolve(source, limits)) is None:
            return None
        told = partial(self._notes.listed, source)
        listing = await self._shelves.listings.get(key, lambda: entries, source.partitions, limits, told)
        return listing.part(source, limits)

    def pin(self, source: SourceSpec, number: int) -> None:
        """Say which of the task's inputs a source is: it may be pinned to a list."""
        ref = next((each.manifest for each in self._order.manifests if each.input == number), None)
        if ref is not None:
            self._pins[self._key(source)] = ref

    def _key(self, source: SourceSpec) -> str:
        return key_of(self._order.job_id, self._order.job_version, source)

    async def gather(self, pieces: Sequence[Piece] | Listed, bring: Bring) -> Path:
        """Return a shared directory with all pieces, or the file of the one that has no path."""
        return (await self.gathered(pieces, bring))[0]

    async def gathered(self, pieces: Sequence[Piece] | Listed, bring: Bring) -> tuple[Path, tuple[str, ...]]:
        """Do what `gather` does, and also tell which files of the cache it came to."""
        if isinstance(pieces, Listed) and pieces.files == 1:
            pieces = await pieces.load()
        self._asked.add(pieces)
        if not isinstance(pieces, Listed) and len(pieces) == 1 and not pieces[0].path:
            piece, cache = pieces[0], self._shelves.cache
            name = name_of(piece.identity)
            with cache.room.promised({} if cache.files.has(name) else {name: piece.size or 0}):
                path, brought = await cache.bring(piece.identity, partial(bring, piece), piece.size)
            self.pinned.append(piece.identity)
            self._count(path.stat().st_size, brought)
            return path, (name,)
        path = await self._shelves.trees.get(pieces, bring, self._execution_id, self._count)
        return path, self._shelves.trees.names(path)

    def in_place(self, held: InPlace) -> None:
        """Count an input that lies where it always does."""
        read = self.read
        self.read = read.model_copy(
            update={"local": read.local + held.size_bytes, "at_least": read.at_least or held.at_least}
        )

    def _count(self, size: int, brought: bool, files: int = 1) -> None:
        read = self.read
        if brought:
            self.read = read.model_copy(update={"moved": read.moved + size})
        else:
            self.read = read.model_copy(
                update={"local": read.local + size, "cached": read.cached + size, "hits": read.hits + files}
            )


class _OfInput:
    """The reader of one input that is fetched: what it consists of is noted under its key."""

    def __init__(self, reader: _Reader, held: HeldInputs, key: str) -> None:
        self.fetch, self.keep, self.results, self.listed = reader.fetch, reader.keep, reader.results, reader.listed
        self._reader = reader
        self._held = held
        self._key = key

    async def gather(self, pieces: Sequence[Piece] | Listed, bring: Bring) -> Path:
        """See `BlobReader.gather`."""
        path, names = await self._reader.gathered(pieces, bring)
        if names:
            self._held.note(self._key, names)
        return path


class Stager:
    """Stages with the storages of this node, at most `parallel` executions at once."""

    def __init__(
        self,
        storages: Mapping[str, Storage],
        shelves: Shelves,
        *,
        limits: StageLimits,
        parallel: int,
    ) -> None:
        self._storages = storages
        self._shelves = shelves
        self._limits = limits
        self._gate = asyncio.Semaphore(parallel)
        self._patience = patience.Patience()

    async def stage(self, wanted: Stage, folders: tuple[Path, ...], tell: Tell) -> Inputs:
        """Stage each input into its own of `folders`, and `tell` how far that is where it takes a while.

        Where there is no room, and a look elsewhere has not helped, it is waited for (`patience`). Raises SkreiError
        for the first that cannot be had.
        """
        if not wanted.task.input_sources:
            return Inputs()
        until, line, pauses = 0.0, "", patience.pauses()
        now = asyncio.get_running_loop().time
        while True:
            asked = Asked()
            try:
                return await self._stage(wanted, folders, tell, asked)
            except BeyondDisk:
                raise
            except NoRoom as error:
                sizes = await asked.sizes()
                self._shelves.cache.room.check_together(sizes)
                if not until:
                    until = now() + self._patience.seconds(wanted.order, wanted.task.name)
                    line = f"waits for room on the disk: {error.message}"
                if now() >= until:
                    raise
                tell(line)  # the same each time: a new one is a fact, a row and a commit
                await self._until_room(sizes, until, pauses)
                await to_its_end(partial(_clear, folders))

    async def _until_room(self, sizes: Mapping[str, int], until: float, pauses: Iterator[float]) -> None:
        """Return once there may be room for files by name, or it is so late: nothing is asked for meanwhile, nor
        dropped that others may want."""
        now = asyncio.get_running_loop().time
        for pause in pauses:
            await asyncio.sleep(min(pause, max(0.0, until - now())))
            if now() >= until or self._shelves.cache.room.fits(sizes):
                return

    async def _stage(self, wanted: Stage, folders: tuple[Path, ...], tell: Tell, asked: Asked) -> Inputs:
        sources = wanted.task.input_sources
        notes = StagingNotes(sources, tell)
        reader = _Reader(self._shelves, wanted, notes, asked)
        try:
            with notes:
                async with self._gate:
                    notes.begun()
                    mounts = await self._stage_all(wanted, folders, reader, notes)
        except BaseException:
            self.release(wanted.execution_id, Inputs((), tuple(reader.pinned)))
            raise
        self._shelves.held.count(reader.read)
        return Inputs(mounts, tuple(reader.pinned), None if reader.read == DataRead() else reader.read)

    def release(self, execution_id: str, inputs: Inputs) -> None:
        """Give back what an execution uses of the cache."""
        self._shelves.trees.release(execution_id)
        for identity in inputs.pinned:
            self._shelves.cache.release(identity)

    async def _stage_all(
        self, wanted: Stage, folders: tuple[Path, ...], reader: _Reader, notes: StagingNotes
    ) -> tuple[Mount, ...]:
        sources = wanted.task.input_sources
        if len(sources) == 1:  # the common case, without a task of its own
            return (await self._stage_one(wanted, 0, folders[0], reader, notes),)
        tasks = [
            asyncio.create_task(self._stage_one(wanted, number, folders[number], reader, notes))
            for number in range(len(sources))
        ]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stage_one(self, wanted: Stage, number: int, folder: Path, reader: _Reader, notes: StagingNotes) -> Mount:
        order, source = wanted.order, wanted.task.input_sources[number]
        shares = order.partition_count if order.shares is None else order.shares
        spec = SourceSpec(
            source.source.type,
            source.source.params,
            source.target,
            source.alias,
            owner_reads=reader.owner,
            partition=order.partition if shares > 1 else 0,
            partitions=max(shares, 1),
        )
        reader.pin(spec, number)
        storage = self._storages[source.source.type.casefold()]
        mount = await storage.stage(spec, folder, self._limits, self._reader_of(spec, reader))
        if mount.in_place is not None:
            reader.in_place(mount.in_place)
        notes.came(source)
        return mount

    def _reader_of(self, spec: SourceSpec, reader: _Reader) -> BlobReader:
        key = source_key(spec.type, spec.params)
        if not key:
            return reader
        if is_dealt_out(spec.params):
            key = share_key(key, spec.partition, spec.partitions)
        return _OfInput(reader, self._shelves.held, key)


def _clear(folders: Sequence[Path]) -> None:
    """Remove what a try has left of its inputs: the next begins in their place."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
