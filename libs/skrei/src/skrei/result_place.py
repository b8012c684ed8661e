"""The place on the disk that results go to: a private folder beside it meanwhile, and what a disk refuses, told."""

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skrei.errors import NoPlace

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def aside_of(target: Path, total_bytes: int | None) -> Iterator[tuple[Path, Path]]:
    """Yield the target's real place and a private folder on its file system; what is in it goes, whatever happens."""
    place = target.resolve()
    made = _make_parents(place.parent)
    base = place if place.is_dir() else place.parent
    if place.exists() and not place.is_dir():
        raise NoPlace(f"{target} is a file.", hint="Name a folder with --output-dir.")
    try:
        free = shutil.disk_usage(base).free
        if total_bytes is not None and total_bytes > free:
            raise NoPlace(
                f"There is no room in {base}: the results have {total_bytes:,} bytes, {free:,} are free.",
                hint="Free some, or name another place with --output-dir.",
            )
        aside = Path(tempfile.mkdtemp(prefix=".skrei-get-", dir=base))
        try:
            yield place, aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder; returns those that were made, the deepest first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


@contextmanager
def told_plainly(target: Path) -> Iterator[None]:
    """Tell what a disk refuses in a sentence."""
    try:
        yield
    except OSError as error:
        where = error.filename or target
        if error.errno in _FULL:
            raise NoPlace(
                f"The disk under {target} is full.", hint="Free some space, or name another place with --output-dir."
            ) from error
        if error.errno in _DENIED:
            raise NoPlace(
                f"{where} cannot be written: {error.strerror}.",
                hint="Name a folder that you may write with --output-dir.",
            ) from error
        raise NoPlace(
            f"{where} cannot be written: {error.strerror or error}.", hint="Name another place with --output-dir."
        ) from error
