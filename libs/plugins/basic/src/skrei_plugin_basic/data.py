"""The `data` storage: data that has a name on this node, handed out in place to every job that asks for it."""

import asyncio
import os
from pathlib import Path

from skrei_domain.data_sets import DATA, Declared, near_name
from skrei_domain.data_sets import data_input_params as check
from skrei_domain.job_reading import FieldProblem, Reading
from skrei_plugin_api.allow import usable
from skrei_plugin_api.engine import InPlace, Mount
from skrei_plugin_api.measure import measure
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo, param
from skrei_plugin_api.storage import BlobReader, SourceSpec, StageFailed, StageLimits, StageProblem, Storage
from skrei_plugin_basic.data_sets import DataSets


class DataAway(StageFailed):
    """A data set is not here, or not any more: other nodes may have it, and this one may have it again."""

    retryable = True


class DataStorage(Storage):
    """Hands out what the node's owner has declared; nothing of it is copied, and no link leads out of it."""

    plugin_api = PLUGIN_API
    name = DATA
    version = "0.5.0"

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._sets = DataSets(context.data, context.data_file)

    async def describe(self) -> PluginInfo:
        """Say which data sets are here. A node without any still has the storage: one may come to it."""
        found = self._sets.look()
        return PluginInfo(
            available=True, version=self.version, reason=found.wrong, data=found.here, missing_data=found.away
        )

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every wrong parameter."""
        reading = Reading()
        check(reading, params, "")
        return [problem._replace(path=problem.path.removeprefix(".")) for problem in reading.problems]

    async def size(self, source: SourceSpec) -> int | None:
        """Return 0: staging brings nothing onto the node."""
        del source
        return 0

    async def stage(self, source: SourceSpec, folder: Path, limits: StageLimits, blobs: BlobReader) -> Mount:
        """Return where the data lies. Raises StageFailed; DataAway where the node does not have it now."""
        del folder, limits, blobs
        return await asyncio.to_thread(self._mount, source)  # a network file system may hang

    async def local_bytes(self, source: SourceSpec) -> int:
        """Return how much of the data set is here."""
        each = self._sets.declared()[0].get(str(param(source.params, "Name")))
        size = None if each is None else self._sets.size(each)
        return 0 if size is None else size.size_bytes

    def _mount(self, source: SourceSpec) -> Mount:
        if problems := self.validate(source.params):
            raise StageFailed(StageProblem.INVALID, "; ".join(str(problem) for problem in problems))
        each = self._named(param(source.params, "Name"))
        writes = bool(param(source.params, "ReadWrite"))
        if writes and not each.read_write:
            raise StageFailed(
                StageProblem.DENIED,
                f"this node lets data set {each.name} be read, not written",
                hint=f"its owner can allow it: skrei node data add {each.name} PATH:rw",
            )
        inside = str(param(source.params, "Path") or "")
        path = _inside(each, inside)
        if not usable(path, write=writes):
            doing = "write" if writes else "read"
            raise StageFailed(
                StageProblem.DENIED,
                f"the node's user cannot {doing} {inside or 'the whole'} of data set {each.name}",
                hint="change its permissions",
            )
        return Mount(path, source.target, writes, self._size(each, path, whole=not inside.strip("/.")))

    def _named(self, name: str) -> Declared:
        declared, _ = self._sets.declared()
        if name in declared:
            return declared[name]
        near = near_name(name, declared)
        raise DataAway(
            StageProblem.MISSING,
            f"this node has no data set {name}" + (f"; did you mean {near}?" if near else ""),
            hint=f"its owner can declare it: skrei node data add {name} PATH",
        )

    def _size(self, each: Declared, path: Path, *, whole: bool) -> InPlace:
        """Return how much is read: what was counted of a whole set is not counted again at each start."""
        return (self._sets.size(each) if whole else None) or measure(path)


def _inside(each: Declared, inside: str) -> Path:
    """Return the path of a part of a set, links resolved. Raises StageFailed where there is none, or it leads out."""
    root = Path(os.path.realpath(each.path))
    path = Path(os.path.realpath(root / inside.lstrip("/")))
    if not path.is_relative_to(root):
        raise StageFailed(StageProblem.DENIED, f"{inside!r} leads out of data set {each.name}")
    if not root.exists():
        raise DataAway(StageProblem.MISSING, f"data set {each.name} is not there now: {each.path} is gone")
    if not (path.is_dir() or path.is_file()):
        raise StageFailed(StageProblem.MISSING, f"data set {each.name} of this node holds no {inside!r}")
    return path
