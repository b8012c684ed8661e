"""Templates in job files, as far as job files have them: Go's `text/template` over names with texts. Pure.

Read are `{{.name}}` and whatever the functions below make of it, `if`, `else if`, `else`, `with`, `end`, comments, and
the trimming of `{{-` and `-}}`. A name that nobody gave is an error, never an empty text.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import quote_plus

from skrei.errors import Rejected

Value: TypeAlias = str | int | float | bool
_ACTION = re.compile(r"\{\{(?P<left>-(?=\s))?(?P<code>.*?)(?P<right>(?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>\.[A-Za-z_]\w*)|(?P<dot>\.)'
    r"|(?P<word>[A-Za-z_]\w*)|(?P<mark>[()|]))"
)
_VERB = re.compile(r"%%|%[-+0-9.]{0,6}[sdvqfxt]")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
DEEPEST = 32
"""Blocks and parentheses inside each other."""


class TemplateError(Exception):
    """What is wrong, and in which line."""

    def __init__(self, message: str, line: int, hint: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.hint = hint


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of plain text, or the code of an action, with its line."""

    text: str
    is_code: bool
    line: int


@dataclass(slots=True)
class _Block:
    """An open `if` or `with`: whether what follows is shown, and whether a branch was taken already."""

    shown: bool
    taken: bool
    outer: bool
    dot: Value | None
    line: int
    has_else: bool = False


def filled(text: str, names: Mapping[str, str], *, file: str) -> str:
    """Return a job file with its template filled in. Raises Rejected, naming the line."""
    if "{{" not in text:
        return text
    try:
        return "".join(_Filling(names).run(_parts(text)))
    except TemplateError as error:
        raise Rejected(
            f"{file}, line {error.line}: {error}.",
            hint=error.hint or "A file that is no template, and has {{ in it, is read with --no-template.",
        ) from error


def _parts(text: str) -> Iterator[_Part]:
    position, trim = 0, False
    for action in _ACTION.finditer(text):
        before = text[position : action.start()]
        line = text.count("\n", 0, action.start()) + 1
        if trim:
            before = before.lstrip()
        if action["left"]:
            before = before.rstrip()
        yield _Part(before, False, line)
        yield _Part(action["code"].strip(), True, line)
        position, trim = action.end(), bool(action["right"])
    rest = text[position:]
    if "{{" in rest:
        raise TemplateError("a {{ has no }}", text.count("\n", 0, position + rest.index("{{")) + 1)
    yield _Part(rest.lstrip() if trim else rest, False, 0)


@dataclass(slots=True)
class _Filling:
    """One filling on its way."""

    names: Mapping[str, str]
    blocks: list[_Block] = field(default_factory=list)

    def run(self, parts: Iterator[_Part]) -> Iterator[str]:
        for part in parts:
            if not part.is_code:
                if self._shown:
                    yield part.text
            elif not part.text.startswith("/*"):
                yield self._action(part)
        if self.blocks:
            raise TemplateError("an {{if}} or {{with}} has no {{end}}", self.blocks[-1].line)

    @property
    def _shown(self) -> bool:
        return self.blocks[-1].shown if self.blocks else True

    def _action(self, part: _Part) -> str:
        word, _, rest = part.text.partition(" ")
        match word:
            case "if" | "with":
                self._open(word, rest, part.line)
            case "else":
                self._else(rest.strip(), part.line)
            case "end":
                if not self.blocks:
                    raise TemplateError("an {{end}} ends nothing", part.line)
                self.blocks.pop()
            case "range" | "define" | "template" | "block" | "break" | "continue":
                raise TemplateError(f"{{{{{word}}}}} is not read in job files", part.line)
            case _ if self._shown:
                return _text(self._value(part.text, part.line))
        return ""

    def _open(self, word: str, code: str, line: int) -> None:
        if len(self.blocks) >= DEEPEST:
            raise TemplateError(f"more than {DEEPEST} blocks are inside each other", line)
        outer = self._shown
        value = self._value(code, line) if outer else False
        shown = outer and bool(value)
        dot = value if word == "with" else (self.blocks[-1].dot if self.blocks else None)
        self.blocks.append(_Block(shown, shown, outer, dot, line))

    def _else(self, rest: str, line: int) -> None:
        if not self.blocks or self.blocks[-1].has_else:
            raise TemplateError("an {{else}} belongs to nothing", line)
        block = self.blocks[-1]
        block.shown = block.outer and not block.taken
        if not rest:
            block.has_else = True
        elif not rest.startswith("if "):
            raise TemplateError(f"{{{{else {rest}}}}} is not read in job files", line)
        elif block.shown:
            block.shown = bool(self._value(rest[3:], line))
        block.taken = block.taken or block.shown

    def _value(self, code: str, line: int) -> Value:
        return _Expression(_tokens(code, line), self.names, self.blocks[-1].dot if self.blocks else None, line).whole()


def _tokens(code: str, line: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(code.rstrip()):
        token = _TOKEN.match(code, position)
        if token is None:
            raise TemplateError(f"{{{{{code}}}}} is not read in job files", line)
        kind = token.lastgroup or ""
        found.append((kind, token[kind]))
        position = token.end()
    return found


class _Expression:
    """One pipeline: commands joined by `|`, each a value, or a function and its values."""

    def __init__(
        self, tokens: list[tuple[str, str]], names: Mapping[str, str], dot: Value | None, line: int, depth: int = 0
    ) -> None:
        self._tokens = tokens
        self._names = names
        self._dot = dot
        self._line = line
        if depth > DEEPEST:
            raise TemplateError(f"more than {DEEPEST} parentheses are inside each other", line)
        self._depth = depth

    def whole(self) -> Value:
        """Return the value of all tokens."""
        value = self._pipeline()
        if self._tokens:
            raise TemplateError(f"{self._tokens[0][1]!r} is one word too many", self._line)
        return value

    def _pipeline(self) -> Value:
        value = self._command([])
        while self._tokens and self._tokens[0][1] == "|" and self._tokens[0][0] == "mark":
            self._tokens.pop(0)
            value = self._command([value])
        return value

    def _command(self, piped: list[Value]) -> Value:
        if not self._tokens:
            raise TemplateError("a value is missing", self._line)
        kind, said = self._tokens[0]
        if kind == "word" and said not in ("true", "false"):
            self._tokens.pop(0)
            values: list[Value] = []
            while self._tokens and self._tokens[0][1] not in ("|", ")"):
                values.append(self._single())
            return self._call(said, [*values, *piped])
        value = self._single()
        if piped:
            raise TemplateError("a value cannot be piped into a value", self._line)
        return value

    def _single(self) -> Value:
        kind, said = self._tokens.pop(0)
        match kind:
            case "text":
                if said[0] == "`":
                    return said[1:-1]
                return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), said[1:-1])
            case "number":
                return float(said) if "." in said else int(said)
            case "name":
                return self._named(said[1:])
            case "dot" if self._dot is not None:
                return self._dot
            case "word" if said in ("true", "false"):
                return said == "true"
            case "mark" if said == "(":
                self._depth += 1
                if self._depth > DEEPEST:
                    raise TemplateError(f"more than {DEEPEST} parentheses are inside each other", self._line)
                value = self._pipeline()
                if not self._tokens or self._tokens.pop(0)[1] != ")":
                    raise TemplateError("a ( has no )", self._line)
                return value
        raise TemplateError(f"{said!r} is no value here", self._line)

    def _named(self, name: str) -> Value:
        if name not in self._names:
            import difflib

            near = next(iter(difflib.get_close_matches(name, self._names, n=1)), "")
            meant = f"Did you mean {near}? " if near else ""
            raise TemplateError(
                f"the template wants {name!r}, and nobody gave it",
                self._line,
                f"{meant}Give it: -V {name}=VALUE, or -E {name} for the variable of that name.",
            )
        return self._names[name]

    def _call(self, name: str, values: Sequence[Value]) -> Value:
        function = FUNCTIONS.get(name)
        if function is None:
            raise TemplateError(f"there is no function {name!r} in job files", self._line)
        try:
            return function(*values)
        except (TypeError, ValueError, IndexError) as error:
            raise TemplateError(f"{name} cannot be called so: {error}", self._line) from error


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _and(*values: Value) -> Value:
    return next((value for value in values if not value), values[-1])


def _or(*values: Value) -> Value:
    return next((value for value in values if value), values[-1])


def _eq(first: Value, *others: Value) -> bool:
    if not others:
        raise ValueError("it compares two values or more")
    return any(type(first) is type(one) and first == one for one in others)


def _order(test: Callable[[Value, Value], bool]) -> Callable[..., Value]:
    def compare(first: Value, second: Value) -> Value:
        if type(first) is not type(second):
            raise ValueError("the values are of two kinds")
        return test(first, second)

    return compare


def _printf(form: Value, *values: Value) -> str:
    wanted = [found for found in _VERB.findall(str(form)) if found != "%%"]
    if len(wanted) != len(values):
        raise ValueError(f"{len(wanted)} values are wanted, {len(values)} are given")
    left = iter(values)

    def one(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        value, kind = next(left), found[0][-1]
        said = _text(value) if kind in "svtq" else value
        shown = str((found[0][:-1] + ("s" if kind in "svtq" else kind)) % said)
        return f'"{shown}"' if kind == "q" else shown

    return _VERB.sub(one, str(form))


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "and": _and,
    "or": _or,
    "not": lambda value: not value,
    "eq": _eq,
    "ne": lambda first, second: not _eq(first, second),
    "lt": _order(lambda first, second: first < second),  # type: ignore[operator]
    "le": _order(lambda first, second: first <= second),  # type: ignore[operator]
    "gt": _order(lambda first, second: first > second),  # type: ignore[operator]
    "ge": _order(lambda first, second: first >= second),  # type: ignore[operator]
    "len": lambda value: len(str(value).encode()),
    "print": lambda *values: "".join(map(_text, values)),
    "println": lambda *values: " ".join(map(_text, values)) + "\n",
    "printf": _printf,
    "urlquery": lambda *values: quote_plus("".join(map(_text, values))),
}
"""Go's own functions that make a text of texts."""
