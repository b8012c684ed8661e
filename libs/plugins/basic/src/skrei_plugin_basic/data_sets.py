"""The data sets of this node: what its settings and its owner's file declare, whether it is there, how large it is.

The file is looked at again each time: what is added to it is known with the node's next look at itself. Sizes are
counted beside that, one set at a time and within limits.
"""

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from skrei_domain.data_sets import MAX_DATA_SETS, Declared, parse_declared
from skrei_domain.node import DataSet
from skrei_plugin_api.declared import read_declared
from skrei_plugin_api.engine import InPlace
from skrei_plugin_api.measure import measure
from skrei_plugin_basic.allow import usable

AT_ONCE_SECONDS = 0.05
"""How long a set is counted when it is first seen, so that small ones are known with their size at once."""
SET_ENTRIES = 2_000_000
"""Files and folders of a set that are counted: beyond that its size is told as "at least"."""
SET_SECONDS = 120.0
"""How long one count may take: it reads the disk that jobs want."""
RECOUNT_SECONDS = 600.0
"""How old a size may be: each new one is a fact of the node, and nobody places by the last megabyte."""


class Look(NamedTuple):
    """What a look finds: sets that can be had, why others cannot, and what is wrong with the file."""

    here: tuple[DataSet, ...]
    away: tuple[tuple[str, str], ...] = ()
    wrong: str = ""


class DataSets:
    """What a node declares: `told` by its settings (`NAME: PATH[:rw]`), and in `file`; the settings count more."""

    def __init__(self, told: Mapping[str, str], file: Path | None) -> None:
        self._told = told
        self._file = file
        self._sizes: dict[Declared, tuple[InPlace, float]] = {}
        self._counting: threading.Thread | None = None

    def declared(self) -> tuple[dict[str, Declared], str]:
        """Return what is declared now, by name, and what is wrong with some of it; empty when nothing is."""
        said, wrong = read_declared(self._file, 'data sets: names with paths, {"books": "/srv/books:ro"}')
        found: dict[str, Declared] = {}
        for name, text in {**said, **self._told}.items():
            try:
                found[name] = parse_declared(name, text)
            except ValueError as error:
                wrong = str(error)
        if len(found) > MAX_DATA_SETS:
            wrong = f"{len(found)} data sets are declared, of {MAX_DATA_SETS} at most"
            found = dict(list(found.items())[:MAX_DATA_SETS])
        return found, wrong

    def look(self) -> Look:
        """Return what can be had now. Blocks for as long as the disks do."""
        declared, wrong = self.declared()
        reasons = {name: _away(each) for name, each in declared.items()}
        here = [each for name, each in sorted(declared.items()) if not reasons[name]]
        self._sizes = {each: self._sizes[each] for each in here if each in self._sizes}
        for each in here:
            if each not in self._sizes:
                self._count(each, entries=SET_ENTRIES, seconds=AT_ONCE_SECONDS)
        self._count_aside([each for each in here if self._is_stale(each)])
        away = tuple((name, reason) for name, reason in sorted(reasons.items()) if reason)
        return Look(tuple(map(self._told_of, here)), away, wrong)

    def size(self, each: Declared) -> InPlace | None:
        """Return how much of a set was counted last; None before that."""
        found = self._sizes.get(each)
        return None if found is None else found[0]

    def _told_of(self, each: Declared) -> DataSet:
        size = self.size(each)
        if size is None:
            return DataSet(name=each.name, read_write=each.read_write)
        return DataSet(name=each.name, read_write=each.read_write, size_bytes=size.size_bytes, at_least=size.at_least)

    def _is_stale(self, each: Declared) -> bool:
        return time.monotonic() > self._sizes[each][1]

    def _count(self, each: Declared, *, entries: int, seconds: float) -> None:
        size = measure(Path(os.path.realpath(each.path)), entries=entries, seconds=seconds)
        first = size.at_least and seconds == AT_ONCE_SECONDS  # what was cut short is counted again, beside all else
        self._sizes[each] = (size, 0.0 if first else time.monotonic() + RECOUNT_SECONDS)

    def _count_aside(self, sets: list[Declared]) -> None:
        if not sets or (self._counting is not None and self._counting.is_alive()):
            return

        def count() -> None:
            for each in sets:
                self._count(each, entries=SET_ENTRIES, seconds=SET_SECONDS)

        self._counting = threading.Thread(target=count, name="count-data", daemon=True)
        self._counting.start()


def _away(each: Declared) -> str:
    """Return why a set cannot be had; empty when it can."""
    path = Path(each.path)
    if not path.exists():
        return f"{each.path} is not there"
    if not (path.is_dir() or path.is_file()):
        return f"{each.path} is neither a file nor a folder"
    if not usable(path):
        return f"the node's user cannot read {each.path}"
    if each.read_write and not usable(path, write=True):
        return f"the node's user cannot write {each.path}"
    return ""
