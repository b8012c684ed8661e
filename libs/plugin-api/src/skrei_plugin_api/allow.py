"""Which host paths a node hands to jobs: the entries of `skrei_domain.paths`, matched where links really lead."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from skrei_domain.paths import Access, Entry, parse_entry, pattern

SETTING = "SKREI_ALLOW_LOCAL"
_SPECIAL = re.compile(r"[*?\[{]")


def root(glob: str) -> str:
    """Return the path that a glob begins with: the folder before its first special character."""
    found = _SPECIAL.search(glob)
    return glob if found is None else glob[: found.start()].rpartition("/")[0] or "/"


def access(path: str, entries: Sequence[Entry]) -> Access:
    """Return the most that any entry allows with a resolved path."""
    granted = (entry.access for entry in entries if pattern(resolved(entry.glob)).fullmatch(path))
    return max(granted, key=lambda one: one.value, default=Access.NONE)


def resolved(glob: str) -> str:
    """Return the glob with its plain beginning resolved: an owner may name a path by way of a link."""
    found = _SPECIAL.search(glob)
    if found is None:
        return _escaped(os.path.realpath(glob))
    plain, slash, rest = glob[: found.start()].rpartition("/")
    return _escaped(os.path.realpath(plain or "/")).rstrip("/") + slash + rest + glob[found.start() :]


def usable(path: Path, *, write: bool = False) -> bool:
    """Whether the node's user may read a path, a folder with what lies in it; with `write`, also change it. Blocks."""
    return os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0) | (os.W_OK if write else 0))


def _escaped(path: str) -> str:
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", path)


__all__ = ["SETTING", "Access", "Entry", "access", "parse_entry", "pattern", "resolved", "root", "usable"]
