"""Which partition of a task gets an object: each belongs to exactly one, which its key alone decides. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from skrei_plugin_s3.layouts import same

UNMATCHED = 0
"""The partition of what a rule says nothing of."""
SEPARATOR = "\x1f"
"""Between the groups of a pattern: no key has it."""
PATTERN_BYTES = 8 << 20
"""The memory of one compiled pattern: what the library's authors take for more than any pattern needs."""

_OFFSET, _PRIME, _MASK = 0x811C9DC5, 0x01000193, 0xFFFF_FFFF


class By(StrEnum):
    """What objects are dealt out by."""

    NONE = "none"
    """They are not: every partition gets all of them."""
    OBJECT = "object"
    REGEX = "regex"
    SUBSTRING = "substring"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Partition:
    """How objects are dealt out: by the whole key, or by a part of what follows the prefix: what a pattern matches,
    the characters from `start` up to `end`, a date at its beginning."""

    by: By = By.NONE
    pattern: str = ""
    start: int = 0
    end: int = 0
    layout: str = ""


Dealer = Callable[[str], int]
"""Which partition gets the object of a key."""


def dealer(how: Partition, prefix: str, count: int) -> Dealer | None:
    """Return which of `count` partitions gets an object below `prefix`; None: all of them get all."""
    if count <= 1 or how.by is By.NONE:
        return None
    text_of = _texts(how, prefix)

    def dealt(key: str) -> int:
        text = text_of(key)
        return UNMATCHED if text is None else fnv1a(text) % count

    return dealt


def fnv1a(text: str) -> int:
    """Return the 32-bit FNV-1a hash of a text's UTF-8 bytes."""
    value = _OFFSET
    for byte in text.encode("utf-8", "surrogatepass"):
        value = (value ^ byte) * _PRIME & _MASK
    return value


def compiled(pattern: str) -> Any:
    """Return a pattern whose matching takes time linear in the text, whoever wrote it. Raises ValueError with why."""
    import re2  # some megabytes, for jobs that have patterns

    options = re2.Options()
    options.max_mem = PATTERN_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from error


def _texts(how: Partition, prefix: str) -> Callable[[str], str | None]:
    """Return what an object of a key is dealt out by; None where the rule says nothing of it."""

    def rest(key: str) -> str:
        return key.removeprefix(prefix).removeprefix("/")

    if how.by is By.OBJECT:
        return lambda key: key
    if how.by is By.REGEX:
        pattern = compiled(how.pattern)
        return lambda key: _matched(pattern, rest(key))
    if how.by is By.SUBSTRING:
        return lambda key: text[how.start : how.end] if len(text := rest(key)) >= how.end else None
    length = len(how.layout.encode())
    return lambda key: same(how.layout, rest(key).encode()[:length].decode("utf-8", "replace"))


def _matched(pattern: Any, text: str) -> str | None:
    """Return the groups of the first match that are not empty, all of it where there are none; None for nothing."""
    found = pattern.search(text)
    if found is None or not found.group(0):
        return None
    groups = [group for group in found.groups() if group]
    return SEPARATOR.join(groups) if groups else str(found.group(0))
