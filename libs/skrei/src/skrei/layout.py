"""Where the results of several partitions lie together, and how they get to where the caller wants them.

One result is laid out as it is. Of several, `stdout`, `stderr` and `exitCode` are joined in the order of partitions,
and everything else lies together, as users of Bacalhau know it. Where two partitions left something under one name
nothing is guessed: the folders of each partition stay apart, in one folder for each.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skrei.archive import fold
from skrei.errors import NoPlace

STREAMS = ("stdout", "stderr", "exitCode")
COPY_BYTES = 1024 * 1024
"""Held of a stream while it is joined to others."""
SHOWN_NAMES = 3
"""Names that a message tells."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one partition left, unpacked in `folder`; `task` is the folder of its task, empty where that is one."""

    name: str
    folder: Path
    task: str = ""


@dataclass(frozen=True, slots=True)
class Laid:
    """How it lies: names that several partitions have, none when everything lies together."""

    clashes: tuple[str, ...] = ()


def lay_out(
    parts: Sequence[Part], into: Path, *, apart: bool = False, alone: bool = False, folds: bool = False
) -> Laid:
    """Move what `parts` (in the order of partitions) left into the new folder `into`; `apart` keeps each by itself.

    Those of several tasks lie in a folder for each task, and there as those of one. One part lies in the folder itself;
    with `alone` it has a folder of its own there too.
    """
    tasks = list(dict.fromkeys(part.task for part in parts))
    if len(tasks) == 1:
        return _lay_one(parts, into, apart=apart, alone=alone, folds=folds)
    into.mkdir()
    clashes: list[str] = []
    for task in tasks:
        some = [part for part in parts if part.task == task]
        laid = _lay_one(some, into / task, apart=apart, alone=alone, folds=folds)
        clashes += [f"{task}/{name}" for name in laid.clashes]
    return Laid(tuple(clashes[:SHOWN_NAMES]))


def _lay_one(parts: Sequence[Part], into: Path, *, apart: bool, alone: bool, folds: bool) -> Laid:
    if len(parts) == 1 and not alone:
        parts[0].folder.rename(into)
        return Laid()
    into.mkdir()
    if apart:
        for part in parts:
            part.folder.rename(into / part.name)
        return Laid()
    clashes = clashing([part.folder for part in parts], folds=folds)
    for stream in STREAMS:
        _join([part.folder / stream for part in parts], into / stream)
    for part in parts:
        if not clashes:
            _merge(part.folder, into)
        elif any(part.folder.iterdir()):
            part.folder.rename(into / part.name)
    return Laid(tuple(clashes))


def clashing(folders: Sequence[Path], *, folds: bool = False) -> list[str]:
    """Return names (at most SHOWN_NAMES) under which two folders hold something that cannot lie together.

    Folders of one name lie together; the streams are joined and do not count.
    """
    key: Callable[[str], str] = fold if folds else str
    first: dict[str, tuple[int, bool]] = {}
    found: list[str] = []
    for number, folder in enumerate(folders):
        for name, is_folder in _names(folder):
            if name in STREAMS:
                continue
            owner, was_folder = first.setdefault(key(name), (number, is_folder))
            if owner != number and not (is_folder and was_folder) and name not in found:
                found.append(name)
                if len(found) == SHOWN_NAMES:
                    return found
    return found


def in_the_way(source: Path, target: Path) -> list[str]:
    """Return names (at most SHOWN_NAMES) below `target` that moving `source` there would replace."""
    found: list[str] = []
    for name, is_folder in _names(source):
        place = target / name
        if os.path.lexists(place) and not (is_folder and _is_folder(place)):
            found.append(name)
            if len(found) == SHOWN_NAMES:
                break
    return found


def move(source: Path, target: Path) -> None:
    """Move the folder `source` to `target`; where that is a folder already, everything moves into it.

    What has the same name is replaced, a link as the link that it is. Raises NoPlace where a folder stands in the
    place of a file.
    """
    if os.path.lexists(target):
        _merge(source, target)
    else:
        source.rename(target)


def _merge(source: Path, into: Path) -> None:
    with os.scandir(source) as items:
        listed = sorted(items, key=lambda item: item.name)
    for item in listed:
        place = into / item.name
        if not item.is_dir(follow_symlinks=False):
            if _is_folder(place):
                raise NoPlace(f"{place} is a folder, and a file of the result has its name.", hint="Move it away.")
            Path(item.path).replace(place)
        elif _is_folder(place):
            _merge(Path(item.path), place)
        else:
            place.unlink(missing_ok=True)
            Path(item.path).rename(place)


def _join(sources: Sequence[Path], into: Path) -> None:
    """Join files end to end, the first by moving it; those that are not there are passed over."""
    there = [source for source in sources if source.is_file()]
    if not there:
        return
    there[0].rename(into)
    with into.open("ab") as out:
        for source in there[1:]:
            with source.open("rb") as piece:
                shutil.copyfileobj(piece, out, COPY_BYTES)
            source.unlink()


def _names(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield every name below a folder and whether it is a folder, in order."""
    for at, folders, files in os.walk(folder):
        folders.sort()
        base = os.path.relpath(at, folder)
        for name in folders:
            yield os.path.normpath(os.path.join(base, name)), True  # noqa: PTH118 - some thousands of names
        for name in sorted(files):
            yield os.path.normpath(os.path.join(base, name)), False  # noqa: PTH118


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()
