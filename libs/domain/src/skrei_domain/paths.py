"""Which host paths a node hands out, as text: entries `<glob>[:rw|:ro]`, matched against a whole path. Pure.

`*` and `?` stay within one name, `**` takes any number of names (also none), `[...]` and `{a,b}` as in a shell. An
entry without a suffix allows reading. What links on a node lead to, only that node knows: `skrei_plugin_api.allow`.
"""

import posixpath
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

MAX_ENTRIES = 256
"""Entries of another machine's allow-list that are looked at: people write a handful."""
MAX_ENTRY = 1_024
"""Characters of one of them."""
MAX_STARS = 6
"""Stars in one of them: matching takes time that rises with their number."""


class Access(Enum):
    """What may be done with a path."""

    NONE = 0
    READ = 1
    WRITE = 2


class Entry(NamedTuple):
    """One entry of the allow-list."""

    glob: str
    access: Access


class LocalPath(NamedTuple):
    """A path of a node that a task wants, whether to write there, and whether to make it where it is not there."""

    path: str
    writes: bool = False
    creates: bool = False


def parse_entry(text: str) -> Entry:
    """Return the entry that `text` is. Raises ValueError for a glob that is not absolute."""
    glob, access = text.strip(), Access.READ
    for suffix, granted in ((":rw", Access.WRITE), (":ro", Access.READ)):
        if glob.endswith(suffix):
            glob, access = glob[: -len(suffix)], granted
    if not glob.startswith("/"):
        raise ValueError(f"{text!r} is not an absolute path or glob such as `/data/**` or `/data/out:rw`")
    return Entry(glob, access)


def read_entries(texts: Iterable[str]) -> tuple[Entry, ...]:
    """Return the entries that another machine named; what cannot be read, or is dear to match, hands nothing out."""
    found: list[Entry] = []
    for text in islice(texts, MAX_ENTRIES):
        if len(text) > MAX_ENTRY or text.count("*") > MAX_STARS:
            continue
        with suppress(ValueError, re.error):
            entry = parse_entry(text)
            pattern(entry.glob)
            found.append(entry)
    return tuple(found)


def granted(path: str, entries: Sequence[Entry]) -> Access:
    """Return the most that any entry allows with a path as it is written; no link is followed."""
    plain = posixpath.normpath(path)
    found = (entry.access for entry in entries if pattern(entry.glob).fullmatch(plain))
    return max(found, key=lambda one: one.value, default=Access.NONE)


def hands_out(wanted: LocalPath, entries: Sequence[Entry], *, owner_paths: bool) -> bool:
    """Whether a node hands a path to what its owner submitted: by an entry, or to be read where it trusts the owner."""
    if owner_paths and not wanted.writes:
        return True
    given = granted(wanted.path, entries)
    return given is Access.WRITE or (given is Access.READ and not wanted.writes)


def missing_root(wanted: LocalPath, missing: Iterable[str]) -> str:
    """Return which of the `missing` paths of a node a task wants, or wants something of; empty for none of them."""
    if wanted.creates:
        return ""
    plain = posixpath.normpath(wanted.path)
    return next((root for root in missing if plain == root or plain.startswith(f"{root.rstrip('/')}/")), "")


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
