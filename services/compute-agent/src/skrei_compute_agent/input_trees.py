"""Inputs of many files, as directories of links into the cache: one directory for all who ask for the same files.

An execution that uses one leaves its name beside it, so that a start of the agent knows which directories containers
still look into that outlived it.
"""

import asyncio
import hashlib
import json
import os
import shutil
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from skrei_compute_agent.cached_files import name_of
from skrei_compute_agent.input_cache import InputCache
from skrei_domain.subjects import token
from skrei_plugin_api.aside import to_its_end, together
from skrei_plugin_api.pieces import Bring, Listed, Piece

PARALLEL_PIECES = 16
"""Of one input that are brought at once: small objects cost a round trip each, large ones share the line anyway."""
MOST_IDLE = 64
"""Directories that stay for the next one who asks, without being in use."""
LIST = "~~list"
"""After a directory's name: which files it has. No name of an execution looks like that, encoded."""
NAMED_AT_ONCE = 1_000
"""Pieces whose names, a digest each, are worked out on the event loop: milliseconds. Longer lists have a thread."""

Count = Callable[[int, bool, int], None]
"""Hears of pieces: their bytes, whether they had to be brought, and how many they are."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Pieces with the names of their files in the cache, and a key that is the same for the same files at the same
    places, in whatever order."""

    key: str
    named: tuple[tuple[Piece, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for _, name in self.named)


class InputTrees:
    """The directories of one node; all of them lie on the file system of the cache."""

    def __init__(self, folder: Path, cache: InputCache) -> None:
        self._folder = folder
        self._cache = cache
        self._trees: dict[str, tuple[str, ...]] = {}
        self._users: dict[str, set[str]] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="tree-sweeper")
        cache.files.spare = self._spare
        cache.files.spared = self._spared

    def open(self, known: Collection[str]) -> None:
        """Keep what executions that the journal knows look into; everything else is removed. Blocks."""
        self._folder.mkdir(parents=True, exist_ok=True)
        names = {token(execution_id): execution_id for execution_id in known}
        users: dict[str, set[str]] = {}
        for path in self._folder.iterdir():
            key, _, name = path.name.partition("~")
            if name in names:
                users.setdefault(key, set()).add(names[name])
        for path in list(self._folder.iterdir()):
            key, mark, name = path.name.partition("~")
            if key not in users or (mark and name not in names and mark + name != LIST):
                self._discard(path)
        for key, executions in users.items():
            if (pieces := self._listed(key)) is not None:
                # A link keeps its bytes, whatever became of their place in the cache.
                self._trees[key] = tuple(name for name in pieces if self._cache.files.use(name) is not None)
                self._users[key] = executions
        self._cache.files.trim()

    async def get(self, wanted: Sequence[Piece] | Listed, bring: Bring, execution_id: str, counted: Count) -> Path:
        """Return a directory with all pieces, in use by the execution until `release`.

        A list that has a name is not read where its directory is here. Raises what `bring` raises, and NoRoom where
        the disk has none for it.
        """
        if isinstance(wanted, Listed):
            key, files, size = wanted.key, wanted.files, wanted.size_bytes
        else:
            layout = await _laid_out(wanted)
            key, files, size = layout.key, len(wanted), sum(piece.size or 0 for piece in wanted)
        async with self._turns.setdefault(key, asyncio.Lock()):
            if key in self._trees:
                counted(size, False, files)
            else:
                if isinstance(wanted, Listed):
                    layout = replace(await _laid_out(await wanted.load()), key=key)
                await self._make(layout, bring, counted)
            self._use(key, execution_id)
        return self._folder / key

    def names(self, path: Path) -> tuple[str, ...]:
        """Return the files of the cache that a directory which `get` returned has."""
        return self._trees[path.name]

    def release(self, execution_id: str) -> None:
        """Give back every directory that an execution uses."""
        for key in [key for key, users in self._users.items() if execution_id in users]:
            self._mark(key, execution_id).unlink(missing_ok=True)
            self._users[key].discard(execution_id)
            if not self._users[key]:
                del self._users[key]
                self._idle[key] = None
        while len(self._idle) > MOST_IDLE:
            self._spare()
        self._cache.files.trim()

    def close(self) -> None:
        """Wait for removals that are under way."""
        self._sweeper.shutdown()

    async def _make(self, layout: _Layout, bring: Bring, counted: Count) -> None:
        held: list[str] = []
        try:
            with self._cache.room.promised(self._missing(layout)):
                await self._bring_all(layout, bring, counted, held)
            await to_its_end(partial(self._link, layout))
        except BaseException:
            for name in held:
                self._cache.files.release(name)
            raise
        self._trees[layout.key] = layout.names

    async def _bring_all(self, layout: _Layout, bring: Bring, counted: Count, held: list[str]) -> None:
        waiting = iter(layout.named)

        async def work() -> None:
            for piece, name in waiting:
                path, brought = await self._cache.bring(piece.identity, partial(bring, piece), piece.size)
                held.append(name)
                self._cache.room.came(name)
                counted(piece.size if piece.size is not None else path.stat().st_size, brought, 1)

        await together(work() for _ in range(min(PARALLEL_PIECES, len(layout.named))))

    def _missing(self, layout: _Layout) -> dict[str, int]:
        """Return the sizes of the files that are not in the cache, as far as somebody says them, by name."""
        has = self._cache.files.has
        return {name: piece.size or 0 for piece, name in layout.named if not has(name)}

    def _link(self, layout: _Layout) -> None:
        """Lay a directory out, and list it last: what a crash leaves half made has no list."""
        root = self._folder / layout.key
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        made = {""}
        for piece, name in layout.named:
            parent = piece.path.rpartition("/")[0]
            if parent not in made:
                (root / parent).mkdir(parents=True, exist_ok=True)
                made.add(parent)
            os.link(self._cache.files.path(name), root / piece.path)
        (self._folder / f"{layout.key}{LIST}").write_text(json.dumps(layout.names))

    def _listed(self, key: str) -> tuple[str, ...] | None:
        try:
            return tuple(json.loads((self._folder / f"{key}{LIST}").read_text()))
        except (FileNotFoundError, ValueError):
            return None

    def _use(self, key: str, execution_id: str) -> None:
        self._idle.pop(key, None)
        users = self._users.setdefault(key, set())
        if execution_id not in users:
            users.add(execution_id)
            self._mark(key, execution_id).touch()

    def _spare(self) -> bool:
        """Give up the directory that nobody has used the longest."""
        if not self._idle:
            return False
        key, _ = self._idle.popitem(last=False)
        pieces = self._trees.pop(key)
        (self._folder / f"{key}{LIST}").unlink(missing_ok=True)
        self._discard(self._folder / key)
        for name in pieces:
            self._cache.files.release(name)
        return True

    def _spared(self) -> int:
        """Return how many bytes the files have of directories that are in nobody's use."""
        files = self._cache.files
        return sum(files.size(name) for name in {name for key in self._idle for name in self._trees[key]})

    def _mark(self, key: str, execution_id: str) -> Path:
        """Return the file that says that an execution uses a directory."""
        return self._folder / f"{key}~{token(execution_id)}"

    def _discard(self, path: Path) -> None:
        """Free a name at once, and have what lay there removed: the next who wants the name may come before that."""
        gone = self._folder / f"{path.name.partition('~')[0]}~gone~{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):  # someone tidied up by hand
            self._sweeper.submit(_remove, path.rename(gone))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


async def _laid_out(pieces: Sequence[Piece]) -> _Layout:
    return await asyncio.to_thread(_layout, pieces) if len(pieces) > NAMED_AT_ONCE else _layout(pieces)


def _layout(pieces: Sequence[Piece]) -> _Layout:
    hasher = hashlib.sha256()
    named = tuple((piece, name_of(piece.identity)) for piece in pieces)
    for path, name in sorted((piece.path, name) for piece, name in named):
        hasher.update(f"{path}\0{name}\n".encode("utf-8", "surrogatepass"))
    return _Layout(hasher.hexdigest(), named)
