"""How many bytes lie below a path, within limits: what is larger than can be counted is told as "at least"."""

import os
import time
from pathlib import Path

from skrei_plugin_api.engine import InPlace

COUNTED_ENTRIES = 20_000
"""Files and folders that are looked at for one number: about 50 ms where a disk has them in memory."""
COUNTED_SECONDS = 0.1
"""How long a start waits for the size of what lies in place: less than a person notices, enough for most folders."""


def measure(path: Path, *, entries: int = COUNTED_ENTRIES, seconds: float = COUNTED_SECONDS) -> InPlace:
    """Return the sizes of a file, or of all regular files below a folder, added up; links are not followed.

    What cannot be looked at counts as nothing, and makes the number a lower bound, as reaching a limit does. Blocks.
    """
    until = time.monotonic() + seconds
    try:
        if not path.is_dir():
            return InPlace(path.stat().st_size)
    except OSError:
        return InPlace(0, at_least=True)
    total, left, at_least = 0, entries, False
    folders = [os.fspath(path)]
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                for entry in found:
                    left -= 1
                    if left < 0 or time.monotonic() > until:
                        return InPlace(total, at_least=True)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            at_least = True
    return InPlace(total, at_least)
