"""Which inputs this node holds whole in its cache, and what of that its leader has not heard yet.

An input is known by its key (`skrei_domain.source_keys`) once it was staged, for as long as each of its files is here.
The leader has the keys in a filter; what comes is told as it comes, what goes with the next filter. What the machine's
IPFS daemon has pinned is told with it, as far as there is room. Nothing here is promised: a leader that knows too
little, or too much, places a job less well.
"""

import base64
import itertools
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from skrei_compute_agent.cached_files import CachedFiles
from skrei_domain.bloom import LEAST_BYTES, MOST_KEYS, build, size_for
from skrei_domain.messages import CachedInputs, DataRead
from skrei_domain.node import InputCache
from skrei_kit.observability import get_logger

log = get_logger()

ADDED_AT_ONCE = 64
"""Inputs that one heartbeat tells of by name: 2 KB. More than came since the last one are told as a filter."""
GONE_SECONDS = 30.0
"""How long what was dropped may still be told: a filter has up to 16 KiB, and a full cache drops all the time."""
AGAIN_SECONDS = 600.0
"""How old a filter may be: heartbeats are lost now and then, and with them what came."""
NOTED_FILES = 64
"""Of an input that is still known after a restart: of larger ones the names alone would be megabytes."""


class _Held(NamedTuple):
    names: tuple[str, ...]
    size: int


class HeldInputs:
    """The inputs of one cache. `news` is called when one has come that the leader does not know of."""

    def __init__(self, files: CachedFiles, path: Path) -> None:
        self.news: Callable[[], None] = lambda: None
        self._files = files
        self._path = path
        self._inputs: OrderedDict[str, _Held] = OrderedDict()
        self._unsteady: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # other files each time they were asked for
        self._looked = 0
        self._lines = 0
        self._added: dict[str, None] = {}
        self._told: set[str] = set()
        self._pinned: frozenset[str] = frozenset()
        self._filter_bytes = 0
        self._filter_at = 0.0
        self._filter_due = True
        self._read = DataRead()

    def __contains__(self, key: str) -> bool:
        self._look()
        return key in self._inputs

    def open(self) -> None:
        """Learn what was noted of files that are here. Blocks."""
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        for key, held in _noted(lines):
            if all(self._files.has(name) for name in held.names):
                self._inputs[key] = held
                self._inputs.move_to_end(key)
        while len(self._inputs) > MOST_KEYS:
            self._inputs.popitem(last=False)
        self._looked = self._files.dropped
        self._write_all()

    def note(self, key: str, names: tuple[str, ...]) -> None:
        """An input was staged, of these files of the cache; one that somebody tidied up by hand makes it none."""
        known = self._inputs.get(key)
        if known is not None and known.names == names:
            self._inputs.move_to_end(key)
            return
        if not all(map(self._files.has, names)):
            return
        if known is not None or self._unsteady.get(key, names) != names:
            # What lies there has changed. A place whose bytes are others each time is worth nothing to the next one.
            self._inputs.pop(key, None)
            self._added.pop(key, None)
            self._unsteady[key] = names
            if len(self._unsteady) > MOST_KEYS:
                self._unsteady.popitem(last=False)
            return
        self._unsteady.pop(key, None)
        self._inputs[key] = held = _Held(names, sum(map(self._files.size, names)))
        if len(self._inputs) > MOST_KEYS:
            self._added.pop(self._inputs.popitem(last=False)[0], None)
        self._append(key, held)
        self._added[key] = None
        self.news()

    def pin(self, keys: Iterable[str]) -> None:
        """Another program of this machine has these inputs now, and no others."""
        before, self._pinned = self._pinned, frozenset(itertools.islice(keys, MOST_KEYS))
        if self._pinned != before:
            self._filter_due = True
            self.news()

    def count(self, read: DataRead) -> None:
        """Add what the inputs of an execution came to."""
        before = self._read
        self._read = DataRead(
            moved=before.moved + read.moved, cached=before.cached + read.cached, hits=before.hits + read.hits
        )

    def state(self) -> InputCache:
        """Return what is kept, and what it was good for since this process began."""
        self._look()
        return InputCache(
            files=self._files.count,
            size_bytes=self._files.size_bytes,
            limit_bytes=self._files.limit_bytes,
            inputs=len(self._inputs),
            pinned=len(self._pinned),
            hits=self._read.hits,
            saved_bytes=self._read.cached,
            fetched_bytes=self._read.moved,
        )

    def greeted(self) -> None:
        """Tell all with the next word: the leader may be another one."""
        self._filter_due = True

    def told(self, now: float) -> CachedInputs | None:
        """Return what the leader is to hear now (`now`: monotonic seconds), None where that is nothing.

        What was returned counts as heard.
        """
        self._look()
        if self._wants_filter(now):
            self._filter_due, self._filter_at = False, now
            known = self._known()
            filter_ = build(known)
            self._filter_bytes, self._told = len(filter_), known
            latest = list(self._inputs)[-ADDED_AT_ONCE:]
            self._added.clear()
            return CachedInputs(filter=base64.b64encode(filter_).decode(), added=self._sizes(latest))
        if not self._added:
            return None
        added, self._added = self._added, {}
        self._told.update(added)
        return CachedInputs(added=self._sizes(added))

    def _wants_filter(self, now: float) -> bool:
        if self._filter_due or len(self._added) > ADDED_AT_ONCE:
            return True
        if size_for(min(len(self._inputs) + len(self._pinned), MOST_KEYS)) > self._filter_bytes:
            return True
        age = now - self._filter_at
        if age >= GONE_SECONDS and not self._told <= (self._inputs.keys() | self._pinned):
            return True
        return age >= AGAIN_SECONDS and (bool(self._told) or self._filter_bytes > LEAST_BYTES)

    def _known(self) -> set[str]:
        """Return all keys that a filter has room for: the inputs of the cache first."""
        room = MOST_KEYS - len(self._inputs)
        return {*self._inputs, *itertools.islice(self._pinned, max(room, 0))}

    def _sizes(self, keys: Iterable[str]) -> tuple[tuple[str, int], ...]:
        return tuple((key, self._inputs[key].size) for key in keys)

    def _look(self) -> None:
        """Forget inputs of which a file has gone."""
        if self._looked == self._files.dropped:
            return
        self._looked = self._files.dropped
        has = self._files.has
        gone = [key for key, held in self._inputs.items() if not all(map(has, held.names))]
        for key in gone:
            del self._inputs[key]
            self._added.pop(key, None)

    def _append(self, key: str, held: _Held) -> None:
        """Note an input for the next start."""
        if len(held.names) > NOTED_FILES:
            return
        if self._lines > 2 * MOST_KEYS:
            self._write_all()
            return
        try:
            with self._path.open("a") as file:
                file.write(_line(key, held))
            self._lines += 1
        except OSError as error:  # it helps the next start, and nothing rests on it
            log.warning("held_input_not_noted", key=key, problem=str(error))

    def _write_all(self) -> None:
        lines = [_line(key, held) for key, held in self._inputs.items() if len(held.names) <= NOTED_FILES]
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text("".join(lines))
            fresh.replace(self._path)
        except OSError as error:
            log.warning("held_inputs_not_noted", problem=str(error))
        self._lines = len(lines)


def _line(key: str, held: _Held) -> str:
    return json.dumps([key, held.size, held.names]) + "\n"


def _noted(lines: Iterable[str]) -> Iterable[tuple[str, _Held]]:
    """Yield what can be read: the last line may have been cut off."""
    for line in lines:
        try:
            key, size, names = json.loads(line)
            yield str(key), _Held(tuple(map(str, names)), int(size))
        except (ValueError, TypeError):
            continue
