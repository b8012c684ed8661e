"""Folders of executions that are gone, emptied to be the folders of others: what a folder costs is making and removing
it, not what lies in it.

On a file system that tells its disk of every block that it frees (`discard`, without a journal to gather them in),
removing a folder took 4.4 ms and emptying it 25 µs. Nothing of the last execution stays: its files are removed, not
emptied, so nobody who still holds one open ever sees another's.

They stay when the process ends: the next one's sweep finds folders of nobody, empties them again and has them.
"""

import itertools
import os
import secrets
import stat
from collections import deque
from pathlib import Path

from skrei_plugin_api.removing import remove

MOST_SPARES = 512
"""Kept at once, 2 MB of a disk: as many end in a burst, confirmed together, before as many others begin."""
MOST_BYTES = 4_096
"""Of a folder's own: one that once held thousands of names stays that large, and is not worth keeping."""
MADE = 0o755
"""What a folder may be used for that was just made."""
_PREFIX = "~spare."
"""Of their names: those of executions have something before the `~`. What follows is this process's alone."""


class Spares:
    """Empty folders below `root`, with names of no execution's. `keep` may run in another thread than `become`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = map(f"{_PREFIX}{secrets.token_hex(4)}.{{}}".format, itertools.count(1))
        self._ready: deque[Path] = deque()

    def become(self, path: Path) -> bool:
        """Make a spare folder be `path`, if there is one."""
        try:
            self._ready.popleft().rename(path)
        except (IndexError, OSError):
            return False
        return True

    def keep(self, path: Path) -> bool:
        """Empty a folder and keep it; false where it is left to be removed, perhaps empty."""
        if len(self._ready) >= MOST_SPARES:
            return False
        spare = self._root / next(self._names)
        try:
            facts = path.lstat()
            if not stat.S_ISDIR(facts.st_mode) or facts.st_size > MOST_BYTES or facts.st_uid != os.geteuid():
                return False
            _empty(path)
            path.chmod(MADE)
            path.rename(spare)
        except OSError:
            return False
        self._ready.append(spare)
        return True


def _empty(path: Path) -> None:
    with os.scandir(path) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                remove(Path(item.path))
            else:
                os.unlink(item.path)  # noqa: PTH108 - the hot path stays with strings
