"""The `s3` storage: an object, or all whose keys begin alike, dealt out to the partitions of a task.

What an input consists of is listed first, each object with its version or ETag; it is those bytes that are fetched, or
none: an object that changes meanwhile ends the execution with that cause.
"""

import configparser
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from skrei_domain.job_reading import FieldProblem, printable
from skrei_plugin_api.pieces import Entry, Piece, PieceStorage
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo
from skrei_plugin_api.storage import Near, SourceSpec, StageFailed, StageLimits, StageProblem
from skrei_plugin_s3.again import again
from skrei_plugin_s3.credentials import credentials
from skrei_plugin_s3.failures import AMAZON, Asked, listed_elsewhere, not_asked_for, too_large
from skrei_plugin_s3.identity import Sight, fits, identity, sight_of
from skrei_plugin_s3.late_clients import LateClients, rules_of
from skrei_plugin_s3.nearness import Seen, measured
from skrei_plugin_s3.params import S3Input, path_of, read
from skrei_plugin_s3.partition import compiled, dealer
from skrei_plugin_s3.settings import S3Settings

if TYPE_CHECKING:
    from skrei_plugin_s3.client import Client, Listed

MOST_PAGES = 10_000
"""Of one listing: a server that goes on without end is not followed."""


class S3Storage(PieceStorage):
    """Brings objects of buckets."""

    plugin_api = PLUGIN_API
    name = "s3"
    version = "0.5.0"

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._clients = LateClients(context, partial(rules_of, context))
        self._last: tuple[Params, S3Input] | None = None
        self._seen = Seen()

    async def describe(self) -> PluginInfo:
        """Say whether this node has credentials; whether they are good for a bucket is each job's to find out."""
        try:
            found = credentials(S3Settings.from_options(self.context.options))
        except (ValueError, OSError, configparser.Error) as error:
            return PluginInfo(available=False, reason=f"its settings cannot be read: {type(error).__name__}: {error}")
        if not found:
            return PluginInfo(available=False, reason="this node has no credentials for S3 (docs/INPUTS.md)")
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every parameter that is wrong, or unknown."""
        return read(params)[1]

    async def pieces(self, source: SourceSpec, limits: StageLimits) -> Sequence[Piece]:
        """List what this partition gets. Raises StageFailed, and S3Away."""
        pieces: list[Piece] = []
        async with aclosing(self.resolve(source, limits)) as entries:
            async for entry in entries:
                if entry.partition in (None, source.partition):
                    pieces.append(entry.piece)
                if len(pieces) > limits.max_files:
                    wanted = self._read(source)
                    raise _many(
                        wanted, f"{wanted} comes to more than the {limits.max_files:,} files that this node takes"
                    )
        return pieces

    async def resolve(self, source: SourceSpec, limits: StageLimits) -> AsyncGenerator[Entry, None]:
        """List all objects, each with the partition that it is dealt to. Raises StageFailed, and S3Away."""
        wanted = self._read(source)
        async with (await self._clients.get()).open(wanted) as client:
            prefix = wanted.prefix
            if prefix is None:
                found = await _head(client, wanted)
                if not found.folder:
                    self._seen.note(wanted)
                    yield _one(client, wanted, found, source, limits)
                    return
                prefix = wanted.key
            async with aclosing(_all(client, wanted, prefix, source, limits)) as entries:
                async for entry in entries:
                    yield entry
            self._seen.note(wanted)

    async def near(self) -> Near:
        """Measure how far the servers are that the node's owner names, and those that jobs have read from here."""
        try:
            settings = S3Settings.from_options(self.context.options)
            return Near(servers=await measured(self._seen, settings, rules_of(self.context)))
        except (ValueError, OSError, configparser.Error):
            return Near()  # `describe` tells what is wrong with its settings

    async def bring(self, source: SourceSpec, limits: StageLimits, piece: Piece, folder: Path) -> None:
        """Download an object. Raises StageFailed, and S3Away where another try may bring it."""
        from skrei_plugin_s3.transfer import Transfer

        wanted = self._read(source)
        async with (await self._clients.get()).open(wanted) as client:
            sight, size = sight_of(piece.identity), piece.size
            if sight is None or size is None:  # it is known by its digest: which version that is now is asked for
                found = await _head(client, wanted)
                sight, size = _sight(client, wanted, found), found.size
            asked = client.asked(wanted, sight.key)
            if not fits(sight, wanted):
                raise not_asked_for(replace(asked, what=f"s3://{printable(sight.bucket)}/{printable(sight.key)}"))
            if sight.server != client.server:
                raise listed_elsewhere(asked, sight.server)
            if size > limits.max_bytes:
                raise too_large(asked, limits)
            await Transfer(client, asked, sight, size, folder).run()
        self._seen.note(wanted)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    def _read(self, source: SourceSpec) -> S3Input:
        """Read what an input says; once for all the objects that are then brought for it."""
        if self._last is None or self._last[0] is not source.params:
            wanted, problems = read(source.params)
            if problems:
                raise StageFailed(StageProblem.INVALID, "; ".join(str(problem) for problem in problems))
            self._last = (source.params, wanted)
        return self._last[1]


async def _head(client: "Client", wanted: S3Input) -> "Listed":
    return await again(lambda: client.head(wanted), str(wanted))


def _one(client: "Client", wanted: S3Input, found: "Listed", source: SourceSpec, limits: StageLimits) -> Entry:
    asked = client.asked(wanted, wanted.key)
    if found.size > limits.max_bytes:
        raise too_large(asked, limits)
    if wanted.checksum and wanted.checksum != found.checksum and (found.checksum or not wanted.digest):
        raise _mismatch(asked, wanted, found.checksum)
    named = wanted.digest or identity(_sight(client, wanted, found))
    dealt = dealer(wanted.partition, wanted.key, source.partitions)
    return Entry(Piece(path_of(wanted.key, wanted.key), named, found.size), dealt and dealt(wanted.key))


async def _all(
    client: "Client", wanted: S3Input, prefix: str, source: SourceSpec, limits: StageLimits
) -> AsyncGenerator[Entry, None]:
    """List what begins with a prefix."""
    dealt = dealer(wanted.partition, prefix, source.partitions)
    pattern = compiled(wanted.filter) if wanted.filter else None
    listed = matched = pages_read = 0
    async with aclosing(_pages(client, wanted, prefix)) as pages:
        async for objects in pages:
            listed += len(objects)
            pages_read += 1
            if listed > limits.max_listed or pages_read > MOST_PAGES:
                raise _many(wanted, f"there are more than {limits.max_listed:,} objects below {wanted}")
            for each in objects:
                if pattern is not None and not pattern.search(each.key.removeprefix(prefix)):
                    continue
                matched += 1
                if not each.key.endswith("/"):
                    piece = Piece(path_of(each.key, prefix), identity(_sight(client, wanted, each)), each.size)
                    yield Entry(piece, dealt and dealt(each.key))
    if not matched:
        whole = wanted.at(prefix) + "*"
        told = f"the Filter matches none of the objects {whole}" if listed else f"there are no objects {whole}"
        raise StageFailed(
            StageProblem.MISSING, f"{told} at {client.server or AMAZON}", hint="look at Key, Filter and Endpoint"
        )


async def _pages(client: "Client", wanted: S3Input, prefix: str) -> AsyncGenerator[Sequence["Listed"], None]:
    after: str | None = None
    while True:
        page = await again(partial(client.page, wanted, prefix, after), str(wanted))
        yield page.objects
        if page.following is None:
            return
        after = page.following


def _sight(client: "Client", wanted: S3Input, found: "Listed") -> Sight:
    version = wanted.version or found.version
    modified = 0 if found.etag or version else found.modified
    return Sight(client.server, wanted.bucket, found.key, found.etag, version, modified)


def _mismatch(asked: Asked, wanted: S3Input, found: str) -> StageFailed:
    told = f"has {found}" if found else "has none of its parts at all"
    return StageFailed(
        StageProblem.INVALID,
        f"{asked.what} {told} where ChecksumSHA256 says {wanted.checksum}",
        hint="look at ChecksumSHA256, or whether the object is the right one",
    )


def _many(wanted: S3Input, message: str) -> StageFailed:
    return StageFailed(
        StageProblem.TOO_LARGE, message, hint="part it (`Count`, `Partition`), or name fewer by Key and Filter"
    )
