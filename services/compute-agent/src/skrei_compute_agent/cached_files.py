"""Files kept on this node's disk by name: used, given back, dropped when room is wanted, doubted after a crash.

A name says which bytes a file has (`name_of`). After a power cut the disk may hold less than it said, so that files are
read again then before they are believed: against the digest that is their name, or the one that was noted of them.
"""

import asyncio
import hashlib
import json
import re
import shutil
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

MOST_FILES = 100_000
"""Kept at once, however small: each takes an inode and some 200 bytes of memory. One input may have as many."""
HALF_BROUGHT = 16
"""Of what broke off, the newest that are kept to go on from."""
PART: Final = ".part"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"(sha256|at)-[0-9a-f]{64}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def is_digest(identity: str) -> bool:
    """Whether an identity is the digest of the bytes."""
    return _DIGEST.fullmatch(identity) is not None


def name_of(identity: str) -> str:
    """Return the name of the file with the bytes of an identity: one and the same on every node."""
    if is_digest(identity):
        return identity.replace(":", "-")
    return f"at-{hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()}"


class CachedFiles:
    """The files of one folder. Nothing is dropped that is in use; beyond the limits the least used go first.

    `spare` is asked to give up something that is in use for later only, and says whether it did; `spared` how many
    bytes it could at most. `half_brought`: of which files `open` found what had come before it broke off, the oldest
    first.
    """

    def __init__(self, folder: Path, limit_bytes: int, spare: Callable[[], bool] = lambda: False) -> None:
        self.spare = spare
        self.spared: Callable[[], int] = lambda: 0
        self.half_brought: tuple[str, ...] = ()
        self.dropped = 0
        """How many files have gone since `open`: who remembers some looks again when it has grown."""
        self._folder = folder
        self._state = folder / ".state"
        self._limit_bytes = limit_bytes
        self._sizes: dict[str, int] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._total = 0
        self._idle_total = 0
        self._uses: Counter[str] = Counter()
        self._doubted: set[str] = set()
        self._noted: dict[str, str] = {}

    @property
    def size_bytes(self) -> int:
        """How much is kept."""
        return self._total

    @property
    def limit_bytes(self) -> int:
        """How much may be kept."""
        return self._limit_bytes

    @property
    def count(self) -> int:
        """How many files are kept."""
        return len(self._sizes)

    @property
    def idle_bytes(self) -> int:
        """How much of it could be dropped at once."""
        return self._idle_total

    def is_idle(self, name: str) -> bool:
        """Whether a file is here that could be dropped at once."""
        return name in self._idle

    def has(self, name: str) -> bool:
        """Whether a file of that name is here, believed or not."""
        return name in self._sizes

    def size(self, name: str) -> int:
        """Return how many bytes a file that is here has."""
        return self._sizes[name]

    def open(self) -> None:
        """Make the folder, learn what is there, oldest first, and drop what is nothing, or half there.

        Folders of pieces that broke off stay, the newest few. Nothing else is dropped before `trim`, so that what is
        in use can be said before. Blocks.
        """
        self._state.mkdir(parents=True, exist_ok=True)
        found: list[tuple[float, str, int]] = []
        parts: list[tuple[float, Path]] = []
        for path in self._folder.iterdir():
            status = path.lstat()
            if _NAME.fullmatch(path.name) is not None:
                found.append((status.st_mtime, path.name, status.st_size))
            elif not path.is_dir():
                path.unlink()
            elif _NAME.fullmatch(path.stem) is not None and path.suffix == PART:
                parts.append((status.st_mtime, path))
            elif path.suffix == PART:  # it was being removed
                shutil.rmtree(path)
        for _, path in sorted(parts)[:-HALF_BROUGHT]:
            shutil.rmtree(path)
        self.half_brought = tuple(path.stem for _, path in sorted(parts)[-HALF_BROUGHT:])
        for _, name, size in sorted(found):
            self._sizes[name] = size
            self._total += size
            self._rest(name)
        self._noted = self._read_notes()
        boot = _boot()
        marker = self._state / "opened"
        if marker.exists() and marker.read_text() != boot:
            self._doubted = set(self._sizes)
        marker.write_text(boot)

    def close(self) -> None:
        """Say that nothing is being written any more."""
        (self._state / "opened").unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Return where the file of that name lies, or would."""
        return self._folder / name

    def use(self, name: str) -> Path | None:
        """Return the file of that name, in use until `release`; None where it is not here, or not believed yet."""
        if name not in self._sizes or name in self._doubted:
            return None
        path = self.path(name)
        if not path.exists():  # someone tidied up by hand
            self._forget(name)
            return None
        self._wake(name)
        return path

    def release(self, name: str) -> None:
        """Give back one use."""
        if self._uses[name] > 1:
            self._uses[name] -= 1
        else:
            del self._uses[name]
            if name in self._sizes:
                self._rest(name)
            self.trim()

    def add(self, name: str, size: int) -> Path:
        """Keep a file that lies at `path(name)` now, in use until `release`."""
        self._forget(name)
        self._total += size
        self._sizes[name] = size
        self._wake(name)
        self.trim()
        return self.path(name)

    def note(self, digests: Mapping[str, str]) -> None:
        """Write down the digests of files whose names do not tell them, for the day after a crash. Blocks."""
        with (self._state / "digests").open("a") as file:
            file.writelines(json.dumps(each) + "\n" for each in digests.items())

    async def settle(self, name: str) -> None:
        """Read a file again that is doubted, and believe or drop it."""
        if name not in self._doubted:
            return
        wanted = name.replace("-", ":", 1) if name.startswith("sha256-") else self._noted.get(name)
        found = await asyncio.to_thread(digest_of, self.path(name)) if wanted else None
        if name in self._doubted:
            self._doubted.discard(name)
            if wanted is None or found != wanted:
                self.path(name).unlink(missing_ok=True)
                self._forget(name)

    def trim(self) -> None:
        """Drop what is in nobody's use until the limits hold, least recently used first."""
        while not self._fits():
            if self._idle:
                name = next(iter(self._idle))
                self.path(name).unlink(missing_ok=True)
                self._forget(name)
            elif not self.spare():
                return

    def shrink(self, wanted: int) -> int:
        """Drop what is in nobody's use, the least recently used first, until so many bytes have gone; return how many
        have. Where all of it would not be enough nothing goes: nobody would have anything of that.
        """
        if self._idle_total < wanted and self._idle_total + self.spared() < wanted:
            return 0
        while self._idle_total < wanted and self.spare():
            pass
        if self._idle_total < wanted:
            return 0
        before = self._total
        while before - self._total < wanted:
            name = next(iter(self._idle))
            self.path(name).unlink(missing_ok=True)
            self._forget(name)
        return before - self._total

    def _rest(self, name: str) -> None:
        self._idle[name] = None
        self._idle_total += self._sizes[name]

    def _wake(self, name: str) -> None:
        if name in self._idle:
            del self._idle[name]
            self._idle_total -= self._sizes[name]
        self._uses[name] += 1

    def _forget(self, name: str) -> None:
        if name in self._idle:
            del self._idle[name]
            self._idle_total -= self._sizes[name]
        if name in self._sizes:
            self._total -= self._sizes.pop(name)
            self.dropped += 1
        self._doubted.discard(name)

    def _fits(self) -> bool:
        return self._total <= self._limit_bytes and len(self._sizes) <= MOST_FILES

    def _read_notes(self) -> dict[str, str]:
        """Return what was noted of files that are here, and write it anew without the rest."""
        path = self._state / "digests"
        try:
            lines = path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        noted = dict(_notes(lines))
        kept = {name: digest for name, digest in noted.items() if name in self._sizes}
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(json.dumps(each) + "\n" for each in kept.items()))
        fresh.replace(path)
        return kept


def digest_of(path: Path) -> str | None:
    """Return the digest of a file, None where there is none. Blocks."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except FileNotFoundError:
        return None


def _notes(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield what can be read: the last line may have been cut off."""
    for line in lines:
        try:
            name, digest = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(name, str) and isinstance(digest, str):
            yield name, digest


def _boot() -> str:
    """Return what names this run of the machine; empty where nobody says, which is then never another one."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
