"""Where the modules of a run lie: what a program sees at a path, as a file of this machine.

Inputs may hold links that lead out of them, made by whoever may write there. What is read is therefore judged after it
was opened, by where the kernel says that it lies.
"""

import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from skrei_plugin_wasm.endings import Failed
from skrei_plugin_wasm.layout import File, guest_path

MOST_MODULE_BYTES = 512 * 1024**2
"""Of one module: the largest real ones, languages with their libraries, have some tens of megabytes."""
_GETPATH = 50
"""macOS' F_GETPATH, which Python has no name for before 3.12."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something would lie: a path below (or that is) the source of an input."""

    source: str
    rest: str

    @property
    def path(self) -> str:
        """The path on this machine, links not looked at."""
        return f"{self.source.rstrip('/')}/{self.rest}" if self.rest else self.source


def locate(files: list[File], target: str) -> Place | None:
    """Return where what a program sees at `target` would lie, in the deepest input above it; None below none."""
    wanted = guest_path(target)
    best: tuple[str, str] | None = None
    for file in files:
        at = guest_path(file.target)
        above = at == wanted or wanted.startswith(f"{at.rstrip('/')}/")
        if above and (best is None or len(at) > len(best[0])):
            best = (at, file.source)
    if best is None:
        return None
    return Place(best[1], wanted[len(best[0].rstrip("/")) :].lstrip("/"))


def exists(place: Place) -> bool:
    """Whether there is something that lies in its input."""
    try:
        with _opened(place):
            return True
    except OSError:
        return False


def read(files: list[File], target: str, what: str) -> bytes:
    """Return the module at `target`: a file, or a folder's only one. Raises Failed; `what` names who asks."""
    place = locate(files, target)
    if place is None:
        told = ", ".join(guest_path(file.target) for file in files) or "none"
        raise Failed("module-invalid", f"{what} '{target}' is at no input's target; inputs: {told}")
    try:
        with _opened(place) as file:
            kind = os.fstat(file).st_mode
            if not stat.S_ISDIR(kind):
                return _whole(file, f"{what} '{target}'")
            found = sorted(name for name in os.listdir(file) if name.endswith(".wasm"))  # noqa: PTH208 - of an open folder
        if len(found) != 1:
            raise Failed(
                "module-invalid", f"{what} '{target}' is a folder with {len(found)} files `*.wasm`; name one of them"
            )
        with _opened(Place(place.source, f"{place.rest}/{found[0]}" if place.rest else found[0])) as file:
            return _whole(file, f"{what} '{target}'")
    except OSError as error:
        raise Failed("module-invalid", f"{what} '{target}' is no file in its input") from error


@contextmanager
def _opened(place: Place) -> Iterator[int]:
    """Open what lies in its input for reading. Raises OSError, also for what only seems to lie there."""
    file = os.open(place.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)  # a pipe must not block
    try:
        at = _where(file)  # the kernel's word: a path that begins as the source does tells that there is no link in it
        if not _below(at, place.source) and not _below(at, os.path.realpath(place.source)):
            raise PermissionError(f"{place.path} leads out of its input")
        yield file
    finally:
        os.close(file)


def _where(file: int) -> str:
    """Return where an open file lies."""
    if sys.platform == "darwin":
        return fcntl.fcntl(file, _GETPATH, b"\0" * 1024).rstrip(b"\0").decode()
    return os.readlink(f"/proc/self/fd/{file}")  # noqa: PTH115 - the hot path stays with strings


def _below(at: str, root: str) -> bool:
    return at == root or at.startswith(f"{root.rstrip('/')}/")


def _whole(file: int, what: str) -> bytes:
    told = os.fstat(file)
    if not stat.S_ISREG(told.st_mode):
        raise Failed("module-invalid", f"{what} is no file")
    if told.st_size > MOST_MODULE_BYTES:
        raise Failed("module-invalid", f"{what} has {told.st_size:,} bytes; a module has {MOST_MODULE_BYTES:,} at most")
    with open(file, "rb", buffering=0, closefd=False) as opened:
        return opened.read()
