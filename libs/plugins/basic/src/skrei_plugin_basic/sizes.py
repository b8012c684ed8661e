"""How large the places are that a node hands out: counted within limits, aside, and now and then anew."""

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from skrei_plugin_api.engine import InPlace
from skrei_plugin_api.measure import measure

AT_ONCE_SECONDS = 0.05
"""How long a place is counted when it is first seen, so that small ones are known with their size at once."""
ALL_AT_ONCE_SECONDS = 0.5
"""And how long all of them are that are seen first in one look: the rest is known a little later."""
SET_ENTRIES = 2_000_000
"""Files and folders of a place that are counted: beyond that its size is told as "at least"."""
SET_SECONDS = 120.0
"""How long one count may take: it reads the disk that jobs want."""
RECOUNT_SECONDS = 600.0
"""How old a size may be: each new one is a fact of the node, and nobody places by the last megabyte."""


class Sizes:
    """The sizes of places, as they were counted last."""

    def __init__(self) -> None:
        self._sizes: dict[str, tuple[InPlace, float]] = {}
        self._counting: threading.Thread | None = None

    def keep(self, places: Iterable[str]) -> None:
        """Know these places from now on, and no others: new ones are counted for a moment, the rest of it aside.

        Blocks for as long as the disks do.
        """
        wanted = list(places)
        until = time.monotonic() + ALL_AT_ONCE_SECONDS
        self._sizes = {each: self._sizes[each] for each in wanted if each in self._sizes}
        for each in wanted:
            if each not in self._sizes:
                self._count(each, seconds=min(AT_ONCE_SECONDS, max(until - time.monotonic(), 0.0)))
        self._count_aside([each for each in wanted if time.monotonic() > self._sizes[each][1]])

    def of(self, place: str) -> InPlace | None:
        """Return how much was counted last; None of a place that is not known."""
        found = self._sizes.get(place)
        return None if found is None else found[0]

    def _count(self, place: str, *, seconds: float) -> None:
        size = measure(Path(os.path.realpath(place)), entries=SET_ENTRIES, seconds=seconds)
        first = size.at_least and seconds <= AT_ONCE_SECONDS  # what was cut short is counted again, beside all else
        self._sizes[place] = (size, 0.0 if first else time.monotonic() + RECOUNT_SECONDS)

    def _count_aside(self, places: list[str]) -> None:
        if not places or (self._counting is not None and self._counting.is_alive()):
            return

        def count() -> None:
            for each in places:
                self._count(each, seconds=SET_SECONDS)

        self._counting = threading.Thread(target=count, name="count-data", daemon=True)
        self._counting.start()
