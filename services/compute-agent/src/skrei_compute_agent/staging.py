"""Inputs of a task onto this node: each by its storage, all of one execution side by side."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from skrei_compute_agent.events import Stage
from skrei_compute_agent.input_cache import InputCache
from skrei_compute_agent.staging_notes import StagingNotes
from skrei_compute_agent.task_results import TaskResults
from skrei_domain.spec import InputSource
from skrei_plugin_api.engine import Mount, Tell
from skrei_plugin_api.storage import SourceSpec, StageLimits, Storage, TaskResult


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was staged for one execution, and the cached blobs that it uses until `Stager.release`."""

    mounts: tuple[Mount, ...] = ()
    pinned: tuple[str, ...] = ()


class _TokenReader:
    """What one run command entitles to: its token brings blobs (pinned here) and what earlier tasks left, its owner may
    read the node's paths.
    """

    def __init__(self, cache: InputCache, results: TaskResults, token: str, *, owner: bool) -> None:
        self.owner = owner
        self._cache = cache
        self._results = results
        self._token = token
        self.pinned: list[str] = []

    async def fetch(self, digest: str) -> Path:
        """Return a file with exactly the bytes of `digest`."""
        path = self._cache.ready(digest) or await self._cache.get(digest, self._token)
        self.pinned.append(digest)
        return path

    def keep(self, data: bytes) -> Path:
        """Return a shared file with exactly these bytes."""
        digest, path = self._cache.keep(data)
        self.pinned.append(digest)
        return path

    def results(self, task: str) -> AsyncIterator[TaskResult]:
        """Yield what the partitions of a task left that this execution waits for."""
        return self._results.of(task, self._token)


class Stager:
    """Stages with the storages of this node, at most `parallel` executions at once."""

    def __init__(
        self,
        storages: Mapping[str, Storage],
        cache: InputCache,
        results: TaskResults,
        *,
        limits: StageLimits,
        parallel: int,
    ) -> None:
        self._storages = storages
        self._cache = cache
        self._results = results
        self._limits = limits
        self._gate = asyncio.Semaphore(parallel)

    async def stage(self, wanted: Stage, folders: tuple[Path, ...], tell: Tell) -> Inputs:
        """Stage each input into its own of `folders`, and `tell` how far that is where it takes a while.

        Raises SkreiError for the first that cannot be had.
        """
        sources = wanted.task.input_sources
        if not sources:
            return Inputs()
        reader = _TokenReader(self._cache, self._results, wanted.order.token, owner=wanted.order.owner)
        try:
            with StagingNotes(sources, tell) as notes:
                async with self._gate:
                    notes.begun()
                    mounts = await self._stage_all(sources, folders, reader, notes)
        except BaseException:
            self._unpin(reader.pinned)
            raise
        return Inputs(mounts, tuple(reader.pinned))

    def release(self, inputs: Inputs) -> None:
        """Give the cached blobs of an execution back."""
        self._unpin(inputs.pinned)

    async def _stage_all(
        self, sources: tuple[InputSource, ...], folders: tuple[Path, ...], reader: _TokenReader, notes: StagingNotes
    ) -> tuple[Mount, ...]:
        if len(sources) == 1:  # the common case, without a task of its own
            return (await self._stage_one(sources[0], folders[0], reader, notes),)
        tasks = [
            asyncio.create_task(self._stage_one(source, folder, reader, notes))
            for source, folder in zip(sources, folders, strict=True)
        ]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stage_one(self, source: InputSource, folder: Path, reader: _TokenReader, notes: StagingNotes) -> Mount:
        spec = SourceSpec(
            source.source.type, source.source.params, source.target, source.alias, owner_reads=reader.owner
        )
        storage = self._storages[source.source.type.casefold()]
        mount = await storage.stage(spec, folder, self._limits, reader)
        notes.came(source)
        return mount

    def _unpin(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self._cache.release(digest)
