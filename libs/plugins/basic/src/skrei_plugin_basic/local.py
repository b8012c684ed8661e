"""The `local` storage: a file or directory of the node itself, where the node's owner allows it."""

import asyncio
import os
from pathlib import Path

from skrei_domain.job_reading import FieldProblem, show
from skrei_domain.node import PathSize
from skrei_plugin_api.allow import SETTING, Access, access, parse_entry, root, usable
from skrei_plugin_api.aside import aside
from skrei_plugin_api.engine import Mount
from skrei_plugin_api.measure import measure
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo, param
from skrei_plugin_api.storage import BlobReader, SourceSpec, StageFailed, StageLimits, StageProblem, Storage
from skrei_plugin_basic.sizes import Sizes

MOST_MEASURED = 64
"""Paths that a node tells the size of, those named first: each is told with everything else that it says of itself."""
MEASURED_CHARACTERS = 256
"""Of such a path."""
CREATE_AS = ("dir", "file", "noCreate")


class LocalStorage(Storage):
    """Hands out host paths in place: nothing is copied, and nothing is handed out that no entry allows."""

    plugin_api = PLUGIN_API
    name = "local"
    version = "0.5.0"

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._entries = [parse_entry(text) for text in context.allow_local]
        self._owner_paths = context.owner_paths
        self._sizes = Sizes()

    async def describe(self) -> PluginInfo:
        """Say which allowed paths are not there, of those that no job may create, and how large the others are; it is
        away itself when none is there.

        A node that allows nothing still has it, and tells jobs so by name.
        """
        missing, sizes = await aside(self._look, name="local-paths")  # a network file system may hang
        if not missing:
            return PluginInfo(available=True, version=self.version, path_sizes=sizes)
        away = len(missing) == len(self._entries) and not self._owner_paths
        reason = f"not on this node: {', '.join(missing)}" if away else ""
        return PluginInfo(
            available=not away, version=self.version, reason=reason, missing_paths=missing, path_sizes=sizes
        )

    def _look(self) -> tuple[tuple[str, ...], tuple[PathSize, ...]]:
        """Return the plain beginnings of paths that may be read only and are not there, and the sizes of all others.

        Of a place that is the whole machine (`/**`) nobody wants to know how large that is.
        """
        roots = dict.fromkeys(root(entry.glob) for entry in self._entries)
        there = [path for path in roots if Path(path).exists()]
        read_only = {root(entry.glob) for entry in self._entries if entry.access is Access.READ}
        told = [path for path in there if path != "/" and len(path) <= MEASURED_CHARACTERS][:MOST_MEASURED]
        self._sizes.keep(told)
        sizes = [(path, size) for path in told if (size := self._sizes.of(path)) is not None]
        return (
            tuple(path for path in roots if path in read_only and path not in there),
            tuple(PathSize(path=path, size_bytes=size.size_bytes, at_least=size.at_least) for path, size in sizes),
        )

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every wrong parameter."""
        problems = []
        path = param(params, "SourcePath")
        if not (isinstance(path, str) and path.startswith("/")):
            problems.append(FieldProblem("SourcePath", show(path), "an absolute path on the node"))
        if not isinstance(param(params, "ReadWrite"), bool | None):
            problems.append(FieldProblem("ReadWrite", show(param(params, "ReadWrite")), "true or false"))
        if _create_as(params) is None:
            problems.append(FieldProblem("CreateAs", show(param(params, "CreateAs")), " or ".join(CREATE_AS)))
        return problems

    async def size(self, source: SourceSpec) -> int | None:
        """Return 0: staging brings nothing onto the node."""
        del source
        return 0

    async def stage(self, source: SourceSpec, folder: Path, limits: StageLimits, blobs: BlobReader) -> Mount:
        """Return the resolved path, created if asked for. Raises StageFailed, which names the setting."""
        del folder, limits, blobs
        return await asyncio.to_thread(self._mount, source)  # a network file system may hang

    def _mount(self, source: SourceSpec) -> Mount:
        if problems := self.validate(source.params):
            raise StageFailed(StageProblem.INVALID, "; ".join(str(problem) for problem in problems))
        asked: str = param(source.params, "SourcePath")
        create_as = _create_as(source.params)
        path = Path(os.path.realpath(asked))
        writes = bool(param(source.params, "ReadWrite"))
        creates = create_as != "noCreate" and not path.exists()
        if not (source.owner_reads and self._owner_paths) or writes or creates:
            self._check(asked, path, writes=writes, creates=creates)
        if not path.exists():
            if create_as == "noCreate":
                raise StageFailed(StageProblem.MISSING, f"{asked} is not on this node", path=asked)
            _create(path, create_as)
        if not (path.is_dir() or path.is_file()):
            raise StageFailed(StageProblem.INVALID, f"{asked} is neither a file nor a directory", path=asked)
        if not usable(path, write=writes):
            raise StageFailed(
                StageProblem.DENIED,
                f"{asked} may be had, but the node's user cannot {'write' if writes else 'read'} it",
                hint="change its permissions",
                path=asked,
            )
        return Mount(path, source.target, writes, measure(path))

    async def local_bytes(self, source: SourceSpec) -> int:
        """Return the size of a file that may be read; directories are not walked for it."""
        return await asyncio.to_thread(self._bytes, source)

    def _bytes(self, source: SourceSpec) -> int:
        path = Path(os.path.realpath(str(param(source.params, "SourcePath"))))
        allowed = access(str(path), self._entries) is not Access.NONE
        return path.stat().st_size if allowed and path.is_file() else 0

    def _check(self, asked: str, path: Path, *, writes: bool, creates: bool) -> None:
        granted = access(str(path), self._entries)
        led = "" if str(path) == asked.rstrip("/") else f" (which is {path})"
        if granted is Access.NONE:
            raise StageFailed(
                StageProblem.DENIED,
                f"this node does not hand out {asked}{led}",
                hint=_hint(str(path)),
                path=asked,
            )
        if (writes or creates) and granted is not Access.WRITE:
            doing = "written" if writes else "created"
            raise StageFailed(
                StageProblem.DENIED,
                f"this node hands out {asked}{led} to be read, not {doing}",
                hint=_hint(f"{path}:rw"),
                path=asked,
            )


def _hint(entry: str) -> str:
    return (
        f"its owner can allow it: {SETTING}={entry} or `skrei serve --allow-local '{entry}'`; "
        "what lies in a folder needs /** after its path"
    )


def _create_as(params: Params) -> str | None:
    value = param(params, "CreateAs")
    if value is None or value == "":
        return "noCreate"
    return next((name for name in CREATE_AS if isinstance(value, str) and name.lower() == value.lower()), None)


def _create(path: Path, create_as: str | None) -> None:
    try:
        if create_as == "dir":
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise StageFailed(StageProblem.DENIED, f"{path} cannot be created: {error.strerror}", path=str(path)) from error
