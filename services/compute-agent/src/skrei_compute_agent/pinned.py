"""Inputs that a job is pinned to: the part of a list that an execution reads, from this node's disk or the store."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from skrei_compute_agent.listings import READ_ASIDE, Listings
from skrei_domain.messages import ManifestRef
from skrei_plugin_api.manifest import Manifest, Slice, pieces_of
from skrei_plugin_api.pieces import Listed, Piece, check_count, check_pieces
from skrei_plugin_api.storage import SourceSpec, StageLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from skrei_compute_agent.manifest_client import ManifestClient

MOST_AT_HAND = 64
"""Indexes of lists in the store that stay in memory: 80 bytes for each partition."""


class Pinned:
    """The lists that jobs of this node are pinned to; `store` is asked for those that were made elsewhere."""

    def __init__(self, listings: Listings, store: "Callable[[], ManifestClient]") -> None:
        self._listings = listings
        self._store = store
        self._indexes: OrderedDict[str, Manifest] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def part(self, key: str, ref: ManifestRef, source: SourceSpec, limits: StageLimits, token: str) -> Listed:
        """Return what the partition of a source gets of the list `ref`; `key` is what this node's own would be called.

        Raises SkreiError where that cannot be had.
        """
        own = self._listings.find(key)
        if own is not None and own.manifest.digest == ref.digest:
            return own.part(source, limits)
        index = await self._index(ref, token)
        wanted = index.slice(source.partition)
        return Listed(
            wanted.digest, wanted.files, wanted.size_bytes, partial(self._load, ref, wanted, source, limits, token)
        )

    async def _index(self, ref: ManifestRef, token: str) -> Manifest:
        async with self._turns.setdefault(ref.digest, asyncio.Lock()):
            found = self._indexes.get(ref.digest)
            if found is None:
                found = self._indexes[ref.digest] = await self._store().index(ref.digest, ref.parts, token)
                if len(self._indexes) > MOST_AT_HAND:
                    self._indexes.popitem(last=False)
            self._indexes.move_to_end(ref.digest)
            return found

    async def _load(
        self, ref: ManifestRef, wanted: Slice, source: SourceSpec, limits: StageLimits, token: str
    ) -> Sequence[Piece]:
        check_count(wanted.files, limits, source.target)  # before any of it is unpacked: another node says how many
        packed = await self._store().part(ref.digest, wanted, token)

        def read() -> list[Piece]:
            pieces = list(pieces_of([packed], wanted))
            check_pieces(pieces, limits, source.target)
            return pieces

        return await asyncio.to_thread(read) if wanted.files > READ_ASIDE else read()
