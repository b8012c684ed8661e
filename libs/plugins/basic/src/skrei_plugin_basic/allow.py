"""Which host paths a node hands to jobs: entries `<glob>[:rw|:ro]`, matched against the whole resolved path.

`*` and `?` stay within one name, `**` takes any number of names (also none), `[...]` and `{a,b}` as in a shell. An
entry without a suffix allows reading.
"""

import os
import re
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

SETTING = "SKREI_ALLOW_LOCAL"
_SPECIAL = re.compile(r"[*?\[{]")


class Access(Enum):
    """What may be done with a path."""

    NONE = 0
    READ = 1
    WRITE = 2


class Entry(NamedTuple):
    """One entry of the allow-list."""

    glob: str
    access: Access


def parse_entry(text: str) -> Entry:
    """Return the entry that `text` is. Raises ValueError for a glob that is not absolute."""
    glob, access = text.strip(), Access.READ
    for suffix, granted in ((":rw", Access.WRITE), (":ro", Access.READ)):
        if glob.endswith(suffix):
            glob, access = glob[: -len(suffix)], granted
    if not glob.startswith("/"):
        raise ValueError(f"{text!r} is not an absolute path or glob such as `/data/**` or `/data/out:rw`")
    return Entry(glob, access)


def root(glob: str) -> str:
    """Return the path that a glob begins with: the folder before its first special character."""
    found = _SPECIAL.search(glob)
    return glob if found is None else glob[: found.start()].rpartition("/")[0] or "/"


def access(path: str, entries: Sequence[Entry]) -> Access:
    """Return the most that any entry allows with a resolved path."""
    granted = (entry.access for entry in entries if pattern(_resolved(entry.glob)).fullmatch(path))
    return max(granted, key=lambda one: one.value, default=Access.NONE)


def _resolved(glob: str) -> str:
    """Return the glob with its plain beginning resolved: an owner may name a path by way of a link."""
    found = _SPECIAL.search(glob)
    if found is None:
        return re.sub(r"([*?\[\]{}\\])", r"\\\1", os.path.realpath(glob))
    plain, slash, rest = glob[: found.start()].rpartition("/")
    return _escaped(os.path.realpath(plain or "/")).rstrip("/") + slash + rest + glob[found.start() :]


def _escaped(path: str) -> str:
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", path)


@lru_cache(maxsize=256)
def pattern(glob: str) -> re.Pattern[str]:
    """Return the expression that a glob stands for. Raises ValueError for braces that do not match."""
    made, at, depth = "", 0, 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("/**", at) and glob[at + 3 : at + 4] in {"", "/"}:
            made += "(?:/[^/]+)*"
            at += 3
            continue
        if char == "*":
            while glob[at + 1 : at + 2] == "*":
                at += 1
            made += "[^/]*"
        elif char == "?":
            made += "[^/]"
        elif char == "[" and (end := glob.find("]", at + 2)) > 0:
            inner = glob[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            made += f"(?!/)[^{inner[1:]}]" if inner[0] in "!^" else f"(?!/)[{inner}]"
            at = end
        elif char == "{":
            made, depth = made + "(?:", depth + 1
        elif char == "}" and depth:
            made, depth = made + ")", depth - 1
        elif char == "," and depth:
            made += "|"
        else:
            if char == "\\" and at + 1 < len(glob):
                at += 1
                char = glob[at]
            made += re.escape(char)
        at += 1
    if depth:
        raise ValueError(f"a brace of {glob!r} is never closed")
    return re.compile(made, re.DOTALL)
