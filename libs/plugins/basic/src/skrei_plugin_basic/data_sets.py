"""The data sets of this node: what its settings and its owner's file declare, whether it is there, how large it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from skrei_domain.data_sets import MAX_DATA_SETS, Declared, parse_declared
from skrei_domain.node import DataSet
from skrei_plugin_api.allow import usable
from skrei_plugin_api.declared import all_declared
from skrei_plugin_api.engine import InPlace
from skrei_plugin_basic.sizes import Sizes


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
        self._sizes = Sizes()

    def declared(self) -> tuple[dict[str, Declared], str]:
        """Return what is declared now, by name, and what is wrong with some of it; empty when nothing is."""
        return all_declared(
            self._told,
            self._file,
            parse_declared,
            most=MAX_DATA_SETS,
            what="data sets",
            example='names with paths, {"books": "/srv/books:ro"}',
        )

    def look(self) -> Look:
        """Return what can be had now. Blocks for as long as the disks do."""
        declared, wrong = self.declared()
        reasons = {name: _away(each) for name, each in declared.items()}
        here = [each for name, each in sorted(declared.items()) if not reasons[name]]
        self._sizes.keep(each.path for each in here)
        away = tuple((name, reason) for name, reason in sorted(reasons.items()) if reason)
        return Look(tuple(map(self._told_of, here)), away, wrong)

    def size(self, each: Declared) -> InPlace | None:
        """Return how much of a set was counted last; None before that."""
        return self._sizes.of(each.path)

    def _told_of(self, each: Declared) -> DataSet:
        size = self.size(each)
        if size is None:
            return DataSet(name=each.name, read_write=each.read_write)
        return DataSet(name=each.name, read_write=each.read_write, size_bytes=size.size_bytes, at_least=size.at_least)


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
