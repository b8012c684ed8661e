"""Where a program finds its inputs and outputs: a root folder of its own, and which folders are opened at which path.

WASI opens folders only, so an input that is one file is laid into the root folder, as a hard link where the disk
allows it, else as a copy; never as a symbolic link, which the sandbox would refuse to follow. The root is read-only
for the program. Where an input file may be written, the root has to be writable, and the files that may not are
copies, so that what is done to them stays here.
"""

import os
import posixpath
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

ROOT = "root"
"""A run's root folder in its workdir, where it has one of its own."""
BEGUN = 0o700
"""What a workdir may be used for from the moment that its run begins: by this account alone."""
STOP_FOLDER = "stopping"
"""The folder in a run's workdir where a file appears when its program is to end."""
STOP_AT = "/skrei"
"""Where the program sees that folder."""


class LayoutError(Exception):
    """Inputs and outputs that cannot lie side by side."""


class Preopen(NamedTuple):
    """A folder of this machine that the program sees as `guest`."""

    host: str
    guest: str
    writable: bool


class File(NamedTuple):
    """What a mount is, as it comes over the wire."""

    source: str
    target: str
    writable: bool


def guest_path(target: str) -> str:
    """Return the absolute, normal path of a target; relative ones start at the root, and none leaves it."""
    return posixpath.normpath(f"/{target.lstrip('/')}")


def begin(workdir: str) -> None:
    """Mark a workdir as one whose run has begun: the first thing that is done for it."""
    os.chmod(workdir, BEGUN)  # noqa: PTH101


def has_begun(workdir: Path) -> bool:
    """Whether a run has begun in a workdir; one that nobody else could ever look into counts as begun."""
    return stat.S_IMODE(workdir.stat().st_mode) == BEGUN


def lay_out(workdir: str, mounts: list[File], outputs: list[tuple[str, str]], *, stops: bool = False) -> list[Preopen]:
    """Make the folders of a run and return what to open, the root first; `stops`: also that of its stop file.

    Raises LayoutError.
    """
    root = f"{workdir}/{ROOT}"
    os.mkdir(root, 0o700)  # noqa: PTH102 - the hot path stays with strings
    folders: dict[str, Preopen] = {}
    files: list[File] = []
    for mount in mounts:
        at = guest_path(mount.target)
        if os.path.isdir(mount.source):  # noqa: PTH112
            _claim(folders, Preopen(mount.source, at, mount.writable))
        else:
            files.append(File(mount.source, at, mount.writable))
    names = [(guest_path(name), name) for name, _ in outputs]
    if outputs:
        os.makedirs(f"{workdir}/outputs", 0o700, exist_ok=True)  # noqa: PTH103
    for name, path in outputs:
        host = f"{workdir}/outputs/{name}"
        os.mkdir(host, 0o700)  # noqa: PTH102
        _claim(folders, Preopen(host, guest_path(path), writable=True))
    for at, name in names:  # programs written for other runtimes look for an output under its name
        folders.setdefault(at, Preopen(f"{workdir}/outputs/{name}", at, writable=True))
    if stops and STOP_AT not in folders:
        os.mkdir(f"{workdir}/{STOP_FOLDER}", 0o700)  # noqa: PTH102
        folders[STOP_AT] = Preopen(f"{workdir}/{STOP_FOLDER}", STOP_AT, writable=False)
    writable = any(file.writable for file in files)
    for file in files:
        lay(root, file, folders, copy=writable and not file.writable)
    for at in folders:
        if at != "/":  # so that listing a folder shows what is opened below it
            os.makedirs(root + at, exist_ok=True)  # noqa: PTH103
    folders.setdefault("/", Preopen(root, "/", writable))
    return sorted(folders.values(), key=lambda one: one.guest)


def _claim(folders: dict[str, Preopen], one: Preopen) -> None:
    if one.guest in folders:
        raise LayoutError(f"two inputs or outputs want to be {one.guest}")
    folders[one.guest] = one


def lay(root: str, file: File, folders: dict[str, Preopen], *, copy: bool) -> None:
    """Put one input file into the root; where a folder is opened above it, open its own folder too."""
    parent = posixpath.dirname(file.target)
    if file.target == "/" or file.target in folders:
        raise LayoutError(f"an input file cannot be the folder {file.target}")
    to = root + file.target
    try:
        if parent != "/":
            os.makedirs(root + parent, exist_ok=True)  # noqa: PTH103
            above = parent
            while above != "/":
                if above in folders:
                    folders.setdefault(parent, Preopen(root + parent, parent, writable=False))
                    break
                above = posixpath.dirname(above)
        if os.path.lexists(to):
            raise LayoutError(f"two inputs or outputs want to be {file.target}")
        _link(file, to, copy=copy)
    except (FileExistsError, NotADirectoryError) as error:
        raise LayoutError(f"the input {file.target} lies below another input file") from error


def _link(file: File, to: str, *, copy: bool) -> None:
    if not copy:
        try:
            os.link(file.source, to, follow_symlinks=True)
        except OSError as error:
            if file.writable:
                raise LayoutError(
                    f"the input {file.target} cannot be opened for writing in place ({error.strerror}); "
                    "name its directory as the input instead"
                ) from error
        else:
            return
    shutil.copyfile(file.source, to)
