"""Reading values that somebody sent: every wrong one is noted with its path, its value and what is allowed.

Nothing here stops at the first problem; a reader returns a harmless value and goes on.
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from skrei_domain.errors import Invalid

MAX_DEPTH = 64
"""Levels of nesting: deeper than any real spec, far from the interpreter's own limit."""
MAX_PROBLEMS = 100
"""Problems told at once: more would only be read by a machine."""
_SHOWN = 80


class FieldProblem(NamedTuple):
    """One wrong field: where, what stands there, and what is allowed."""

    path: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.path}: {self.value}; allowed: {self.allowed}"


class InvalidJob(Invalid):
    """A spec with wrong fields; the message has one line for each."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        lines = [str(problem) for problem in problems[:MAX_PROBLEMS]]
        if len(problems) > MAX_PROBLEMS:
            lines.append(f"… and {len(problems) - MAX_PROBLEMS} more")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


def show(value: object) -> str:
    """Return `value` as a short piece of printable JSON."""
    if isinstance(value, str) and len(value) > _SHOWN:
        value = value[:_SHOWN] + "…"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return printable(text if len(text) <= _SHOWN + 3 else text[:_SHOWN] + "…")


def printable(text: str) -> str:
    """Return `text` with escapes for what no terminal and no encoding could show."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


class Keys:
    """The keys of one kind of object, matched in any case; underscores do not count.

    `names` are what people may write; `silent` ones are known too, and nobody is told to write them.
    """

    def __init__(self, *names: str, silent: tuple[str, ...] = ()) -> None:
        self.names = names
        self._exact = {name: name for name in (*names, *silent)}
        self._folded = {name.lower(): name for name in (*names, *silent)}

    def find(self, key: str) -> str | None:
        """Return the name that `key` means, or None."""
        return self._exact.get(key) or self._folded.get(key.lower().replace("_", ""))

    def nearest(self, key: str) -> str | None:
        """Return the known name that looks most like `key`, or None."""
        close = difflib.get_close_matches(key.lower(), self._folded, n=1, cutoff=0.6)
        return self._folded[close[0]] if close else None


@dataclass(slots=True)
class Reading:
    """What has been noted so far: problems (400), what later versions bring (501), warnings."""

    problems: list[FieldProblem] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _whole: list[str] = field(default_factory=list)  # where something else than an object stands, with its dot

    def wrong(self, path: str, value: object, allowed: str) -> None:
        """Note a wrong value; what was said of the same place just before says enough."""
        self._note(FieldProblem(printable(path), show(value), allowed))

    def missing(self, path: str, allowed: str, what: str = "missing") -> None:
        """Note a value that is not there; of what cannot be there, since no object holds it, nothing is said."""
        if not any(path.startswith(whole) for whole in self._whole):
            self._note(FieldProblem(printable(path), what, allowed))

    def _note(self, problem: FieldProblem) -> None:
        if not self.problems or self.problems[-1].path != problem.path:
            self.problems.append(problem)

    def texts_ok(self, value: object, path: str = "", depth: int = 0) -> None:
        """Note every text that no database and no process could hold: with a NUL, or with half a character."""
        if isinstance(value, str):
            if not value.isascii() and _SURROGATE.search(value):
                self.wrong(path, value, "text without lone surrogates (U+D800 to U+DFFF)")
            if "\0" in value:
                self.wrong(path, value, "text without NUL characters")
        elif depth > MAX_DEPTH:
            self.missing(path[:_SHOWN] + "…", f"at most {MAX_DEPTH} levels of nesting", "nested too deeply")
        elif isinstance(value, Mapping):
            for key, item in value.items():
                where = f"{path}.{key}" if path else str(key)
                if isinstance(key, str) and ("\0" in key or not (key.isascii() or not _SURROGATE.search(key))):
                    self.wrong(where, key, "keys without NUL characters and lone surrogates")
                self.texts_ok(item, where, depth + 1)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                self.texts_ok(item, f"{path}[{index}]", depth + 1)

    def record(self, value: object, path: str, keys: Keys) -> dict[str, Any]:
        """Return an object with its keys spelt as the API does; null is an empty one, unknown keys are kept."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.wrong(path or "Job", value, "an object with " + ", ".join(keys.names))
            self._whole.append(f"{path}." if path else "")
            return {}
        found: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                self.wrong(path or "Job", key, "texts as keys")
                continue
            name = keys.find(key)
            if name is None:
                name = key
                self._unknown(key, path, keys)
            found[name] = item
        return found

    def _unknown(self, key: str, path: str, keys: Keys) -> None:
        where = f"{path}.{key}" if path else key
        nearest = keys.nearest(key)
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        self.warnings.append(f"unknown key {show(where)} is kept but has no effect{hint}")

    def items(self, value: object, path: str) -> list[Any]:
        """Return a list; null is an empty one."""
        if value is None:
            return []
        if isinstance(value, list | tuple):
            return list(value)
        self.wrong(path, value, "a list")
        return []

    def text(self, value: object, path: str, *, limit: int = 0) -> str:
        """Return a text; null is an empty one. `limit` in bytes, 0 for none."""
        if value is None:
            return ""
        if not isinstance(value, str):
            self.wrong(path, value, "a text")
            return ""
        if limit and bytes_of(value) > limit:
            self.wrong(path, value, f"at most {limit} bytes")
        return value

    def needed(self, value: object, path: str, *, limit: int = 0) -> str:
        """Return a text that is not blank."""
        before = len(self.problems)
        text = self.text(value, path, limit=limit)
        if not text.strip() and len(self.problems) == before:
            self.missing(path, "a text that is not blank", show(text) if text else "missing")
        return text

    def choice(self, value: object, path: str, allowed: Mapping[str, str], default: str) -> str:
        """Return one of a few words, matched in any case (`allowed` maps lower case to the word)."""
        before = len(self.problems)
        text = self.text(value, path)
        if not text.strip():
            return default
        word = allowed.get(text.strip().lower())
        if word is None and len(self.problems) == before:
            self.wrong(path, text, ", ".join(dict.fromkeys(allowed.values())))
        return word or default

    def flag(self, value: object, path: str, *, default: bool) -> bool:
        """Return a truth value."""
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(path, value, "true or false")
            return default
        return value

    def integer(self, value: object, path: str, low: int, high: int, default: int = 0) -> int:
        """Return a whole number between `low` and `high`; null is the default."""
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(path, value, f"a whole number from {low:,} to {high:,}")
            return default
        return value

    def seconds(self, value: object, path: str, high: int, default: int = 0) -> int:
        """Return whole seconds from a number of seconds or a text such as `90s`, `5m`, `1h30m`."""
        if isinstance(value, str):
            total = parse_seconds(value)
            if total is not None and total <= high:
                return total
        elif value is None:
            return default
        elif not isinstance(value, bool) and isinstance(value, int) and 0 <= value <= high:
            return value
        self.wrong(path, value, f'whole seconds from 0 to {high:,}, or a duration such as "5m"')
        return default

    def mapping(self, value: object, path: str, *, entries: int = 0, limit: int = 0) -> dict[str, str]:
        """Return texts by text; `entries` and `limit` (bytes of a key or value) bound it, 0 for none."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.wrong(path, value, "an object of texts")
            return {}
        if entries and len(value) > entries:
            self.missing(path, f"at most {entries:,} entries", f"{len(value):,} entries")
        found: dict[str, str] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                self.wrong(path, key, "texts as keys")
            elif not isinstance(item, str):
                self.wrong(f"{path}.{key}", item, _quoted(item))
            else:
                if limit and (bytes_of(key) > limit or bytes_of(item) > limit):
                    self.wrong(f"{path}.{key[:_SHOWN]}", item, f"at most {limit} bytes in key and in value")
                found[key] = item
        return found

    def amount(
        self, value: object, path: str, parse: Callable[[str], int], *, high: int, most: str, allowed: str
    ) -> str:
        """Return an amount in text, in lower case without spaces; a number counts as its text.

        `most` is `high` as people write it.
        """
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        before = len(self.problems)
        text = self.text(value, path)
        cleaned = "".join(text.split()).lower()
        if not cleaned or len(self.problems) > before:
            return ""
        try:
            if len(cleaned) > _SHOWN or parse(cleaned) > high:
                self.wrong(path, text, f"{allowed}; at most {most}")
        except ValueError:
            self.wrong(path, text, allowed)
        return cleaned

    def unique(self, values: list[tuple[str, str]], what: str) -> None:
        """Note every (path, value) whose value came before; empty values do not count."""
        seen: dict[str, str] = {}
        for path, value in values:
            if value and value in seen:
                article = "an" if what[0] in "aeiou" else "a"
                self.wrong(path, value, f"{article} {what} that is not also at {seen[value]}")
            elif value:
                seen[value] = path


def given(params: Mapping[str, object], name: str) -> object:
    """Return the parameter called `name` as a node finds it: spelt like that, else the first in any case."""
    if name in params:
        return params[name]
    return next((value for key, value in params.items() if key.lower() == name.lower()), None)


def _quoted(value: object) -> str:
    """Return what is allowed in place of a value that YAML reads as a number or a truth where a text is meant."""
    if isinstance(value, bool | int | float):
        return f'a text: in YAML, `"{json.dumps(value)}"` with its quotes'
    return "a text"


def bytes_of(text: str) -> int:
    """Return the length in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def parse_seconds(text: str) -> int | None:
    """Return the seconds of `90`, `90s`, `5m`, `1h30m` or `2d`, rounded up; None for any other text."""
    cleaned = text.strip().lower()
    if re.fullmatch(r"[0-9]{1,12}", cleaned):
        return int(cleaned)
    if not re.fullmatch(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:d|h|m|s))+", cleaned):
        return None
    parts = re.findall(r"([0-9.]+)([dhms])", cleaned)
    total = sum(float(number) * {"d": 86_400, "h": 3_600, "m": 60, "s": 1}[unit] for number, unit in parts)
    return -int(-total // 1)


_SURROGATE = re.compile("[\ud800-\udfff]")
