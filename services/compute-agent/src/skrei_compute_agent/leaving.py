"""Results that stay on their node: an archive becomes a folder of a path that the owner allows jobs to write to.

It is made beside its place under a hidden name, and synced; once it has won it is renamed, so that whoever looks sees
all of it or none, and never what another attempt has beaten. What can never count is put beside the place at once.
Other jobs may write to the same path meanwhile: every step goes by an open folder, and follows no link.
"""

import base64
import contextlib
import errno
import io
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from skrei_compute_agent.upload_errors import PlaceTaken, PublishFailed, ResultDamaged
from skrei_domain.messages import ResultRef
from skrei_plugin_api.allow import SETTING, Access, Entry, access
from skrei_plugin_api.archives import NoArchive
from skrei_plugin_api.engine import INLINE_RESULT_BYTES
from skrei_plugin_api.packing import PackedResult, pack_result
from skrei_plugin_api.removing import remove
from skrei_plugin_api.streams import NAMES

MARK = ".skrei"
"""In each result: whose it is, so that a node which was killed knows what it had left."""
HIDDEN = ".skrei-"
"""What the name begins with of one that is not whole yet; the execution's id follows."""
TOLD_BYTES = 16 * 1024
"""Of each stream, with what is told of a result: both fit into a fact, however badly they pack."""
CHUNK_BYTES = 1024 * 1024
"""Written at once."""
TRIES = 3
"""To leave a result in the folder of its job, which goes with what was the last in it: each takes one more that goes in
that very moment."""
DEEPEST = 256
"""Folders below each other: each is open while what lies in it is made, or read to be sent."""
_OF_JOB = re.compile(r"j-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The name of a folder that is one job's: nobody else makes it, or anything in it."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def leave(archive: Path, place: str, execution_id: str, entries: Sequence[Entry], *, unseen: bool = False) -> ResultRef:
    """Unpack a result into the folder `place`; return what is told of it. Blocks. Twice is once.

    That is where it lies, and an archive of its exit code and the beginnings of what was said. `unseen`: it stays under
    its hidden name until `settle` says what becomes of it.

    Raises PublishFailed for what this node does not allow or has no room for, and ResultDamaged.
    """
    at, size = put(archive, place, execution_id, entries, unseen=unseen)
    with sound(place):
        told = _told(archive, at)
    inline = base64.b64encode(told.data or b"").decode()
    return ResultRef(digest=told.digest, size=told.size, inline=inline, left_at=at, left_bytes=size, left_unseen=unseen)


def put(archive: Path, place: str, mark: str, entries: Sequence[Entry], *, unseen: bool) -> tuple[str, int]:
    """Unpack an archive into the folder `place`, which gets a `mark`; return where it is, and its bytes. Blocks.

    See `leave`, of which it is one half: an execution may leave parts at several places, each under a mark of its own.
    """
    parent, name = _allowed(place, entries)

    def once() -> tuple[str, int]:
        with _made(parent) as inside:
            # Put beside its place it is there too: another copy would stay unseen, whatever becomes of the first.
            its = next((each for each in (name, f"{name}.{mark}") if _mark(each, inside) == mark), None)
            if its is not None:
                size = _size(its, inside)
            elif (found := _mark(name, inside)) is None:
                size = _leave(archive, inside, "" if unseen else name, mark)
            else:
                raise _taken(place, found)
        return f"{parent}/{name}", size

    with sound(place):
        try:
            for _ in range(TRIES - 1):
                with contextlib.suppress(FileNotFoundError):
                    return once()
            return once()
        except BaseException:
            _remove_empty(parent)
            raise


@contextmanager
def sound(place: str) -> Iterator[None]:
    """Say of what a disk does not do what that means for a result that is to lie at a place."""
    try:
        yield
    except (tarfile.TarError, zlib.error, EOFError, NoArchive) as error:
        raise ResultDamaged("the packed result was damaged on this node's disk") from error
    except OSError as error:
        raise PublishFailed(f"the result cannot be left at {place}: {error.strerror or error}") from error


def check_free(place: str, mark: str, entries: Sequence[Entry]) -> None:
    """Raise PublishFailed where no result could be left at a place now, PlaceTaken where something lies there: asked
    before its program runs. Blocks."""
    parent, name = _allowed(place, entries)
    with sound(place), contextlib.suppress(FileNotFoundError), opened_folder(parent) as inside:
        if (found := _mark(name, inside)) is not None and found != mark:
            raise _taken(place, found)


def _taken(place: str, mark: str) -> PlaceTaken:
    return PlaceTaken(
        f"{place} is there already, and is not replaced",
        hint="name another place, or let each have its own: {executionID} in Publisher.Params.Key",
        place=place,
        mark=mark,
    )


def settle(place: str, execution_id: str, entries: Sequence[Entry], *, counts: bool | None) -> str:
    """Show what was left unseen, since it counts, or remove it; return where it lies now. Blocks. Twice is once.

    None: nobody knows any more, and it is put beside the place, from where it can still be shown. So is what counts
    where something else has come to lie there meanwhile. What does not count is removed where it was shown, too: its
    job was stopped right then, or another part of it was refused; folders of its job go with the last in them. Another
    node that shares the folder may do so as well: what lies there under another mark by then is never touched. Raises
    PublishFailed, OSError.
    """
    parent, name = _allowed(place, entries)
    hidden, beside = f"{HIDDEN}{execution_id}", f"{name}.{execution_id}"
    if counts is False:
        with contextlib.suppress(FileNotFoundError), opened_folder(parent) as inside:
            for each in (name, beside):
                if (found := _mark(each, inside)) == execution_id:
                    with contextlib.suppress(FileNotFoundError):  # another node was quicker
                        _take_back(each, inside, execution_id)
                elif found is None:
                    with contextlib.suppress(OSError):  # nothing is there, or by now something that is another's
                        os.rmdir(each, dir_fd=inside)
            remove(hidden, dir_fd=inside)
        _remove_empty(parent)
        return ""
    with opened_folder(parent) as inside:
        found = _mark(name, inside)
        if found == execution_id:
            return f"{parent}/{name}"
        if counts is None or found is not None:
            name = beside
        if _mark(name, inside) is None:
            now = beside if _mark(beside, inside) == execution_id else hidden
            os.rename(now, name, src_dir_fd=inside, dst_dir_fd=inside)
            os.fsync(inside)
        return f"{parent}/{name}"


def _take_back(name: str, inside: int, mark: str) -> None:
    """Remove what was shown under a name, if it has this mark.

    Whoever does so may have been stopped for long after it read the mark, and a shared disk may tell of what was there
    before: a name may be another's by then. So it is emptied by its open folder, and the name goes only where that is
    empty. The mark goes last: who is killed halfway finds it next time, or an empty folder, which is in nobody's way.
    """
    with _opened(name, inside) as folder:
        if _read_mark(folder) != mark:
            return
        for each in _held(folder):
            with contextlib.suppress(FileNotFoundError):  # another node takes it back right now, too
                remove(each, dir_fd=folder)
        if _held(folder):  # what is being written to it, or read on a shared disk: the rest goes next time
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), name)
        os.unlink(MARK, dir_fd=folder)
    os.rmdir(name, dir_fd=inside)
    os.fsync(inside)


def _held(folder: int) -> list[str]:
    """Return what lies in a result beside its mark."""
    return [each for each in os.listdir(folder) if each != MARK]


def _remove_empty(folder: str) -> None:
    """Remove a folder of a job, and those of that job above it, as far as nothing else lies in them."""
    parts = folder.split("/")
    of_job = next((number for number, part in enumerate(parts) if _OF_JOB.fullmatch(part)), len(parts))
    with contextlib.suppress(OSError):  # another of the job lies there, or came right now
        for number in range(len(parts) - 1, of_job - 1, -1):
            with (
                contextlib.suppress(FileNotFoundError),  # it went before, as by one that was killed then
                opened_folder("/".join(parts[:number]) or "/") as above,
            ):
                os.rmdir(parts[number], dir_fd=above)


def _allowed(place: str, entries: Sequence[Entry]) -> tuple[str, str]:
    """Return the folder of a place, and its name there. Raises PublishFailed where no job may write."""
    parent, name = os.path.split(os.path.realpath(place))
    if not place.startswith("/") or access(f"{parent}/{name}", entries) is not Access.WRITE:
        raise PublishFailed(
            f"this node lets no job leave a result at {place}",
            hint=f"its owner can allow it: {SETTING}={place}/**:rw or `skrei serve --allow-local '{place}/**:rw'`",
        )
    return parent, name


def _told(archive: Path, place: str) -> PackedResult:
    """Pack the exit code, and of each stream the beginning and where the rest is."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder, tarfile.open(archive, "r|gz") as tar:
        code: int | None = None
        for entry in tar:
            if (content := tar.extractfile(entry) if entry.isreg() else None) is None:
                continue
            if entry.name == "exitCode":
                code = int(content.read(TOLD_BYTES))
            elif entry.name in NAMES.values():
                said = content.read(TOLD_BYTES)
                rest = f"\n[the rest stays on the node: {place}/{entry.name}]\n" if entry.size > TOLD_BYTES else ""
                Path(folder, entry.name).write_bytes(said + rest.encode())
        return pack_result(Path(folder), (), code, inline_limit=INLINE_RESULT_BYTES)


def _leave(archive: Path, inside: int, name: str, execution_id: str) -> int:
    hidden = f"{HIDDEN}{execution_id}"
    remove(hidden, dir_fd=inside)
    os.mkdir(hidden, 0o755, dir_fd=inside)
    size = 0
    try:
        with _opened(hidden, inside) as folder:
            with tarfile.open(archive, "r|gz") as tar:
                for entry in tar:
                    size += _unpack(tar, entry, folder)
            _write(MARK, folder, io.BytesIO(f"{execution_id}\n".encode()))
            os.fsync(folder)
        if name:
            os.rename(hidden, name, src_dir_fd=inside, dst_dir_fd=inside)
    except BaseException:
        remove(hidden, dir_fd=inside)
        raise
    os.fsync(inside)
    return size


def _unpack(tar: tarfile.TarFile, entry: tarfile.TarInfo, folder: int) -> int:
    """Put one entry of an archive into a folder; returns its size. Raises ResultDamaged for what nodes never pack."""
    parts = [part for part in entry.name.split("/") if part not in ("", ".")]
    if not parts:
        return 0
    content = tar.extractfile(entry) if entry.isreg() else None
    if parts[0] == MARK:
        raise PublishFailed(
            f"a result path of the name {MARK} cannot be left on a node, where each result has a file of that name",
            hint="give it another Name in ResultPaths",
        )
    if ".." in parts or (content is None and not entry.isdir()):
        raise ResultDamaged(f"the packed result holds {entry.name[:200]!r}, which is no file of it")
    if len(parts) > DEEPEST:
        raise PublishFailed(
            f"the result nests folders deeper than the {DEEPEST} in which one can be left on a node",
            hint="pack what is nested so deep, and leave that",
        )
    with _below(folder, parts if content is None else parts[:-1]) as place:
        if content is not None:
            _write(parts[-1], place, content)
    return entry.size


def _write(name: str, folder: int, content: IO[bytes]) -> None:
    with open(os.open(name, _FILE, 0o644, dir_fd=folder), "wb") as file:  # noqa: PTH123 - by its number
        shutil.copyfileobj(content, file, CHUNK_BYTES)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _made(path: str) -> Iterator[int]:
    """Open a folder by its absolute path, made where it is not there; no part may be a link."""
    with _opened("/") as root, _below(root, [part for part in path.split("/") if part]) as folder:
        yield folder


@contextmanager
def _below(folder: int, parts: Sequence[str]) -> Iterator[int]:
    """Open a folder below another, made where it is not there; no part may be a link."""
    with contextlib.ExitStack() as stack:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=folder)
            folder = stack.enter_context(_opened(part, folder))
        yield folder


@contextmanager
def opened_folder(path: str, inside: int | None = None) -> Iterator[int]:
    """Open a folder, an absolute path or one below `inside`, of which no part may be a link. Raises OSError."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_opened("/" if inside is None else ".", inside))
        for part in (part for part in path.split("/") if part not in ("", ".")):
            folder = stack.enter_context(_opened(part, folder))
        yield folder


@contextmanager
def _opened(name: str, inside: int | None = None) -> Iterator[int]:
    folder = os.open(name, _FOLDER, dir_fd=inside)
    try:
        yield folder
    finally:
        os.close(folder)


def _mark(name: str, inside: int) -> str | None:
    """Return whose result lies under a name; empty for what is none, None where nothing is.

    Nothing is in an empty folder either: it is what is left of one that was taken back, for a moment, or for good where
    its node was killed in that. A result is renamed over it, which the system does only while it is empty.
    """
    try:
        os.stat(name, dir_fd=inside, follow_symlinks=False)
    except FileNotFoundError:
        return None
    try:
        with _opened(name, inside) as folder:
            try:
                return _read_mark(folder)
            except FileNotFoundError:
                return "" if _held(folder) else None
    except OSError:
        return ""


def _read_mark(folder: int) -> str:
    """Return what a mark says; one that another job made may be a pipe, to which nobody ever writes."""
    file = os.open(MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(file, 256).decode("utf-8", "replace").strip()
    finally:
        os.close(file)


def _size(name: str, inside: int) -> int:
    """Return how many bytes the files of a result have."""
    found = 0
    for _, _, files, folder in os.fwalk(name, dir_fd=inside):
        found += sum(os.stat(each, dir_fd=folder, follow_symlinks=False).st_size for each in files if each != MARK)
    return found
