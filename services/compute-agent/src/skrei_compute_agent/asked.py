"""What one try to stage an execution has asked the cache for: all of it has to lie on the disk at once."""

import asyncio
from collections.abc import Sequence

from skrei_compute_agent.cached_files import name_of
from skrei_compute_agent.input_trees import NAMED_AT_ONCE
from skrei_domain.errors import SkreiError
from skrei_plugin_api.pieces import Listed, Piece


class Asked:
    """Gathers lists of pieces; only where there was no room for one it is worked out what all come to."""

    def __init__(self) -> None:
        self._lists: list[Sequence[Piece] | Listed] = []

    def add(self, pieces: Sequence[Piece] | Listed) -> None:
        """One more input consists of these."""
        self._lists.append(pieces)

    async def sizes(self) -> dict[str, int]:
        """Return the files by their names in the cache, each once, with their sizes as far as somebody says them.

        A list that cannot be read right now counts as nothing.
        """
        pieces: list[Piece] = []
        for each in self._lists:
            if isinstance(each, Listed):
                try:
                    pieces += await each.load()
                except (SkreiError, OSError):
                    continue
            else:
                pieces += each
        return await asyncio.to_thread(_sizes, pieces) if len(pieces) > NAMED_AT_ONCE else _sizes(pieces)


def _sizes(pieces: Sequence[Piece]) -> dict[str, int]:
    return {name_of(piece.identity): piece.size or 0 for piece in pieces}
