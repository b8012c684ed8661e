"""What a command may be called with, as values, and the reading of one call. Pure.

Options stand before or after the arguments, `--name value`, `--name=value`, `-n value`, `-nvalue`, and flags also
`--no-name`, `--name=false`. A command whose last argument is `rest` reads no option after its first argument: what
follows belongs to the program that it runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from math import isfinite
from types import MappingProxyType

from skrei_domain.errors import SkreiError

TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})


class Misuse(SkreiError):
    """The call is not one that the command understands."""

    code = "misuse"

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 2) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class HelpWanted(Exception):
    """The caller asked for the command's help instead of running it."""


class Kind(Enum):
    """What an option's value is."""

    FLAG = auto()
    COUNT = auto()  # a flag, or a whole number: `--tail`, `--tail 20`
    TEXT = auto()
    TEXTS = auto()  # may be given several times
    INTEGER = auto()
    NUMBER = auto()
    SECONDS = auto()  # a number, or a time like `90s`, `5m`, `1h30m`


@dataclass(frozen=True, slots=True)
class Option:
    """One option. Its first name, without dashes, is the name of its value."""

    names: tuple[str, ...]
    help: str
    kind: Kind = Kind.TEXT
    default: str | bool | float | None = None
    metavar: str = "TEXT"
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    hidden: bool = False
    completes: str = ""
    """What its value is, for completion: `file`, or a word of `skrei.cli.completion`."""
    variable: str = ""
    """The environment variable that says it where the call does not."""

    @property
    def key(self) -> str:
        """The name of its value."""
        return self.names[0].lstrip("-")

    @property
    def takes_value(self) -> bool:
        """Whether a value follows."""
        return self.kind not in (Kind.FLAG, Kind.COUNT)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument by position; `several` takes all arguments that are left, `rest` all that follows, as it is."""

    name: str
    help: str
    default: str | None = None
    rest: bool = False
    several: bool = False
    completes: str = ""
    """See `Option.completes`."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what it may be called with, and the function (`module:name`) that gets the values."""

    name: str
    summary: str
    does: str
    options: tuple[Option, ...] = ()
    arguments: tuple[Argument, ...] = ()
    misuse_code: int = 2
    """The exit code of a wrong call: commands that pass on a program's exit code have one of their own."""
    more: str = ""
    """What the help says below the options."""

    @property
    def ends_at_argument(self) -> bool:
        """Whether what follows the first argument is not ours to read."""
        return any(argument.rest for argument in self.arguments)

    @property
    def usage(self) -> str:
        """How it is called, in one line."""
        words = [
            f"[{one.name}...]" if one.rest or one.several else f"[{one.name}]" if one.default is not None else one.name
            for one in self.arguments
        ]
        return " ".join(["skrei", self.name, *(["[OPTIONS]"] if self.options else []), *words])


@dataclass(frozen=True, slots=True)
class Values:
    """What a call said, and the defaults of what it did not."""

    found: Mapping[str, object]
    given: frozenset[str] = field(default_factory=frozenset)

    def text(self, name: str) -> str:
        """Return a text; empty when there is none."""
        value = self.found.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return every text that was given for an option or the last argument."""
        value = self.found.get(name)
        return value if isinstance(value, tuple) else ()

    def flag(self, name: str) -> bool:
        """Return whether a flag is set."""
        return self.found.get(name) is True

    def integer(self, name: str) -> int:
        """Return a whole number; 0 when there is none."""
        value = self.found.get(name)
        return value if isinstance(value, int) else 0

    def with_(self, **more: object) -> "Values":
        """Return the values with others instead; names are those of options, with `_` for `-`."""
        return Values({**self.found, **{name.replace("_", "-"): value for name, value in more.items()}}, self.given)

    def count(self, name: str) -> int | None:
        """Return the number that a flag was given with; None where it was given alone, or not at all."""
        value = self.found.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def seconds(self, name: str) -> float:
        """Return seconds; 0 when there are none."""
        value = self.found.get(name)
        return float(value) if isinstance(value, int | float) else 0.0


def read(command: Command, words: Sequence[str], environ: Mapping[str, str] = MappingProxyType({})) -> Values:
    """Return what `words` (all that stood after the command's name) say, and the variables that options name.

    Raises Misuse or HelpWanted.
    """
    reading = _Reading(command, environ)
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            reading.arguments += left
            break
        if len(word) > 1 and word.startswith("-") and not _is_number(word):
            reading.option(word, left)
        else:
            reading.arguments.append(word)
            if command.ends_at_argument:
                reading.arguments += left
                break
    return reading.values()


class _Reading:
    """One reading on its way."""

    def __init__(self, command: Command, environ: Mapping[str, str]) -> None:
        self.arguments: list[str] = []
        self._environ = environ
        self._command = command
        self._named = {name: option for option in command.options for name in option.names}
        self._found: dict[str, object] = {}
        self._given: set[str] = set()

    def option(self, word: str, left: list[str]) -> None:
        """Read one option, taking its value from `left` where that is the next word."""
        if not word.startswith("--"):
            self._short(word, left)
            return
        name, separator, value = word.partition("=")
        negated = f"--{name.removeprefix('--no-')}" if name.startswith("--no-") else ""
        if name in self._named:
            self._take(self._named[name], name, value if separator else None, left)
        elif negated in self._named and self._named[negated].kind is Kind.FLAG and not separator:
            self._set(self._named[negated], False)
        elif name == "--help":
            raise HelpWanted
        else:
            raise self._unknown(name)

    def _short(self, word: str, left: list[str]) -> None:
        """Read `-x`, `-x VALUE`, `-xVALUE`, `-x=VALUE`, or several flags in one word."""
        for number, letter in enumerate(word[1:], start=1):
            name = f"-{letter}"
            option = self._named.get(name)
            if option is None:
                if name == "-h":
                    raise HelpWanted
                raise self._unknown(name if len(word) == 2 else word)
            rest = word[number + 1 :]
            numbered = option.kind is Kind.COUNT and (not rest or rest.isdigit())
            if option.takes_value or numbered or rest.startswith("="):
                self._take(option, name, rest.removeprefix("=") if rest else None, left)
                return
            self._set(option, True)

    def _take(self, option: Option, name: str, value: str | None, left: list[str]) -> None:
        if option.kind is Kind.COUNT:
            self._count(option, name, value, left)
            return
        if option.kind is Kind.FLAG:
            self._set(option, True if value is None else self._truth(name, value))
            return
        if value is None:
            if not left or left[0] == "--":
                raise self._misuse(f"{name} needs a value: {name} {option.metavar}")
            value = left.pop(0)
        self._set(option, self._parsed(option, name, value))

    def _count(self, option: Option, name: str, value: str | None, left: list[str]) -> None:
        if value is None and left and left[0].isascii() and left[0].isdigit():
            value = left.pop(0)
        elif value is None and left and left[0].startswith("-") and _is_number(left[0]):
            raise self._misuse(f"{name} {left[0]}: at least 0")
        if value is None or not (value.isascii() and value.isdigit()):
            self._set(option, True if value is None else self._truth(name, value))
        elif option.most is not None and int(value) > option.most:
            raise self._misuse(f"{name} {value}: at most {option.most}")
        else:
            self._set(option, int(value))

    def _truth(self, name: str, value: str) -> bool:
        if value.lower() not in TRUE | FALSE:
            raise self._misuse(f"{name}={value}: a flag is true or false")
        return value.lower() in TRUE

    def _parsed(self, option: Option, name: str, value: str) -> object:
        if option.choices and value.lower() not in option.choices:
            raise self._misuse(f"{name} {value}: allowed are {', '.join(option.choices)}")
        if option.choices:
            return value.lower()
        if option.kind not in _NUMBERS:
            return value
        wanted, number_of = _NUMBERS[option.kind]
        try:
            number = number_of(value)
        except ValueError:
            raise self._misuse(f"{name} {value}: not {wanted}") from None
        if option.least is not None and not number >= option.least:
            raise self._misuse(f"{name} {value}: at least {option.least}")
        if option.most is not None and not number <= option.most:
            raise self._misuse(f"{name} {value}: at most {option.most}")
        return number

    def _set(self, option: Option, value: object) -> None:
        self._given.add(option.key)
        if option.kind is Kind.TEXTS:
            before = self._found.get(option.key)
            self._found[option.key] = (*(before if isinstance(before, tuple) else ()), value)
        else:
            self._found[option.key] = value

    def values(self) -> Values:
        """Return everything, with defaults. Raises Misuse for arguments that are missing or too many."""
        for option in self._command.options:
            if option.key not in self._found and (said := self._environ.get(option.variable, "")):
                self._take(option, option.variable, said, [])
            self._found.setdefault(option.key, () if option.kind is Kind.TEXTS else option.default)
        left = list(self.arguments)
        for argument in self._command.arguments:
            if not argument.rest and "" in (left if argument.several else left[:1]):  # $ID is not set: `stop "$ID"`
                raise self._misuse(f"{argument.name} is empty: {argument.help}", f"Usage: {self._command.usage}")
            if argument.rest or argument.several:
                self._found[argument.name] = tuple(left)
                left = []
            elif left:
                self._found[argument.name] = left.pop(0)
                self._given.add(argument.name)
            elif argument.default is not None:
                self._found[argument.name] = argument.default
            else:
                raise self._misuse(f"{argument.name} is missing: {argument.help}", f"Usage: {self._command.usage}")
        if left:
            raise self._misuse(f"{left[0]!r} is one argument too many", f"Usage: {self._command.usage}")
        return Values(self._found, frozenset(self._given))

    def _unknown(self, name: str) -> Misuse:
        near = nearest(name, [each for each in self._named if each.startswith("--")])
        said = f"Did you mean {near}? " if near else ""
        return self._misuse(f"there is no {name}", f"{said}All options: skrei {self._command.name} --help")

    def _misuse(self, what: str, todo: str = "") -> Misuse:
        return Misuse(
            f"skrei {self._command.name}: {what}.", hint=todo or f"All options: skrei {self._command.name} --help"
        )


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the known word that was probably meant; empty when none is near. Dashes before it make none nearer."""
    import difflib

    bare = {each.lstrip("-"): each for each in known}
    return next((bare[each] for each in difflib.get_close_matches(word.lstrip("-"), bare, n=1)), "")


def _seconds(text: str) -> float:
    """Return the seconds of `90`, `0.5`, `90s` or `1h30m`. Raises ValueError."""
    if text.lower().endswith(("d", "h", "m", "s")):
        from skrei_domain.job_reading import parse_seconds

        said: float | None = parse_seconds(text)
    else:
        said = float(text)
    if said is None or not isfinite(said):
        raise ValueError(text)
    return said


_NUMBERS: Mapping[Kind, tuple[str, Callable[[str], float]]] = {
    Kind.INTEGER: ("a whole number", int),
    Kind.NUMBER: ("a number", float),
    Kind.SECONDS: ("a time like 90, 90s, 5m or 1h30m", _seconds),
}
"""What an option's number is, in words, and how it is read; a text that is none raises ValueError."""


def _is_number(word: str) -> bool:
    return word[1:].replace(".", "", 1).isdigit()
