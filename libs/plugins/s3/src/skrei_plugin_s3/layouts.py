"""Dates by layout, as specs of this kind write them: `2006-01-02` is how one moment of that day would look. Pure.

What a text means is read by the layout, and said again by it, so that two ways to write one date come to one text.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_PART = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST"
    r"|002|0[1-6]|15|1|2006|2|__2|_2(?!006)|3|4|5|PM|pm"
    r"|-07:00:00|-070000|-07:00|-0700|-07|Z07:00:00|Z070000|Z07:00|Z0700|Z07"
    r"|[.,](?:0+|9+)(?!\d)"
)
_ZONE = re.compile(r"[-Z]07(?::?00){0,2}")
_FRACTION = re.compile(r"[.,][09]+")
_LOOSE = ".9"
"""Read after seconds where the layout says nothing of a fraction: one may be there, of any length."""


class _Differs(Exception):
    """A text is not written by the layout."""


@dataclass(slots=True)
class _Moment:
    """What was read so far; nothing was said of what is None."""

    year: int = 0
    month: int | None = None
    day: int | None = None
    of_year: int | None = None
    hour: int = 0
    minute: int = 0
    second: int = 0
    nanos: int = 0
    afternoon: bool | None = None
    zone: int | None = None
    found: dict[str, str] = field(default_factory=dict)


def is_layout(layout: str) -> bool:
    """Whether dates can be read by this layout: what it makes of a moment, it reads again."""
    if any(part == "MST" for part, literal in _parts(layout) if not literal):
        return False  # the names of zones mean different ones to different machines
    whole = _Moment(2006, 1, 2, hour=15, minute=4, second=5)
    return bool(layout) and same(layout, _said(layout, whole)) is not None


def same(layout: str, text: str) -> str | None:
    """Return `text` as the layout would say what it means, None where it is not written by it."""
    moment = _Moment()
    try:
        rest, expects_fraction = text, _FRACTION.search(layout) is not None
        for part, literal in _parts(layout):
            rest = _skip(part, rest) if literal else _read(part, rest, moment)
            if not literal and part in ("5", "05") and not expects_fraction:
                rest = _fraction(_LOOSE, rest, moment)
        if rest:
            return None
        _settle(moment)
    except (_Differs, IndexError):
        return None
    return _said(layout, moment)


def _parts(layout: str) -> Iterator[tuple[str, bool]]:
    """Yield what a layout consists of: parts that stand for something, and (True) text that stands for itself."""
    at = 0
    for found in _PART.finditer(layout):
        if found.start() > at:
            yield layout[at : found.start()], True
        yield found[0], False
        at = found.end()
    if at < len(layout):
        yield layout[at:], True


def _skip(wanted: str, rest: str) -> str:
    """Return what follows `wanted`; any run of blanks is as good as any other."""
    while wanted:
        if wanted[0] == " ":
            if rest and rest[0] != " ":
                raise _Differs
            wanted, rest = wanted.lstrip(" "), rest.lstrip(" ")
        elif rest[:1] != wanted[0]:
            raise _Differs
        else:
            wanted, rest = wanted[1:], rest[1:]
    return rest


def _read(part: str, rest: str, moment: _Moment) -> str:
    """Take what a part stands for off the beginning of a text; returns what follows."""
    if _ZONE.fullmatch(part):
        return _zone(part, rest, moment)
    if _FRACTION.fullmatch(part):
        return _fraction(part, rest, moment)
    if part in _NAMES:
        return _name(part, rest, moment)
    if part in ("PM", "pm"):
        afternoon, morning = (part, "AM" if part == "PM" else "am")
        if rest[:2] not in (afternoon, morning):
            raise _Differs
        moment.afternoon = rest[:2] == afternoon
        return rest[2:]
    blanks = {"_2": 1, "__2": 2}.get(part, 0)
    while blanks and rest[:1] == " ":
        rest, blanks = rest[1:], blanks - 1
    name, least, most = _NUMBERS[part]
    digits = re.match(rf"[0-9]{{{least},{most}}}", rest)
    if digits is None:
        raise _Differs
    number = int(digits[0])
    if part == "06":
        number += 1900 if number >= 69 else 2000
    low, high = _RANGES[name]
    if not low <= number <= high or (part in ("3", "03") and number > 12):
        raise _Differs
    setattr(moment, name, number)
    return rest[digits.end() :]


_NAMES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "January": ("month", MONTHS),
    "Jan": ("month", tuple(name[:3] for name in MONTHS)),
    "Monday": ("", DAYS),
    "Mon": ("", tuple(name[:3] for name in DAYS)),
}
_NUMBERS: Mapping[str, tuple[str, int, int]] = {
    "2006": ("year", 4, 4), "06": ("year", 2, 2), "1": ("month", 1, 2), "01": ("month", 2, 2),
    "2": ("day", 1, 2), "_2": ("day", 1, 2), "02": ("day", 2, 2), "__2": ("of_year", 1, 3), "002": ("of_year", 3, 3),
    "15": ("hour", 1, 2), "3": ("hour", 1, 2), "03": ("hour", 2, 2), "4": ("minute", 1, 2), "04": ("minute", 2, 2),
    "5": ("second", 1, 2), "05": ("second", 2, 2),
}  # fmt: skip
"""What each part stands for, and how many digits it has."""
_RANGES: Mapping[str, tuple[int, int]] = {
    "year": (0, 9999), "month": (1, 12), "day": (0, 99), "of_year": (0, 999),
    "hour": (0, 23), "minute": (0, 59), "second": (0, 59),
}  # fmt: skip


def _name(part: str, rest: str, moment: _Moment) -> str:
    attribute, names = _NAMES[part]
    for number, name in enumerate(names, 1):
        if rest[: len(name)].lower() == name.lower():
            if attribute:  # the day of a week is taken and not believed: the date says it
                setattr(moment, attribute, number)
            return rest[len(name) :]
    raise _Differs


def _zone(part: str, rest: str, moment: _Moment) -> str:
    if part[0] == "Z" and rest[:1] == "Z":
        moment.zone = 0
        return rest[1:]
    colon = ":" if ":" in part else ""
    fields = 1 + part.count("00")
    found = re.match("([+-])" + colon.join(["([0-9]{2})"] * fields), rest)
    if found is None:
        raise _Differs
    hours, minutes, seconds = (*map(int, found.groups()[1:]), 0, 0)[:3]
    if hours > 24 or minutes > 60 or seconds > 60:
        raise _Differs
    moment.zone = (-1 if found[1] == "-" else 1) * (hours * 3600 + minutes * 60 + seconds)
    return rest[found.end() :]


def _fraction(part: str, rest: str, moment: _Moment) -> str:
    digits = re.match(r"[.,]([0-9]+)" if part[1] == "9" else rf"[.,]([0-9]{{{len(part) - 1}}})", rest)
    if digits is None:
        if part[1] == "9":
            return rest
        raise _Differs
    moment.nanos = int(digits[1][:9].ljust(9, "0"))
    return rest[digits.end() :]


def _settle(moment: _Moment) -> None:
    """Make a day of what was read. Raises _Differs for one that no calendar has."""
    if moment.afternoon is True and moment.hour < 12:
        moment.hour += 12
    elif moment.afternoon is False and moment.hour == 12:
        moment.hour = 0
    if moment.of_year is not None:
        first = date(_alike(moment.year), 1, 1).toordinal()
        day = date.fromordinal(first + moment.of_year - 1) if moment.of_year else None
        if day is None or day.year != _alike(moment.year):
            raise _Differs
        if moment.month not in (None, day.month) or moment.day not in (None, day.day):
            raise _Differs
        moment.month, moment.day = day.month, day.day
    moment.month, moment.day = moment.month or 1, 1 if moment.day is None else moment.day
    try:
        date(_alike(moment.year), moment.month, moment.day)
    except ValueError as error:
        raise _Differs from error


def _alike(year: int) -> int:
    """Return a year with the same days: the calendar repeats itself, and Python's begins at 1."""
    return 2000 + year % 400


def _said(layout: str, moment: _Moment) -> str:
    return "".join(part if literal else _say(part, moment) for part, literal in _parts(layout))


def _say(part: str, moment: _Moment) -> str:
    if _ZONE.fullmatch(part):
        return _say_zone(part, moment.zone or 0)
    if _FRACTION.fullmatch(part):
        digits = f"{moment.nanos:09}"[: min(len(part) - 1, 9)].ljust(len(part) - 1, "0")
        digits = digits.rstrip("0") if part[1] == "9" else digits
        return part[0] + digits if digits else ""
    return _SAYING[part](moment, date(_alike(moment.year), moment.month or 1, moment.day or 1))


def _say_zone(part: str, zone: int) -> str:
    if part[0] == "Z" and not zone:
        return "Z"
    colon = ":" if ":" in part else ""
    told = abs(zone)
    fields = [told // 3600, told // 60 % 60, told % 60][: 1 + part.count("00")]
    return ("-" if zone < 0 else "+") + colon.join(f"{each:02}" for each in fields)


_SAYING: Mapping[str, Callable[[_Moment, date], str]] = {
    "2006": lambda moment, _: f"{moment.year:04}",
    "06": lambda moment, _: f"{moment.year % 100:02}",
    "January": lambda _, day: MONTHS[day.month - 1],
    "Jan": lambda _, day: MONTHS[day.month - 1][:3],
    "1": lambda _, day: f"{day.month}",
    "01": lambda _, day: f"{day.month:02}",
    "Monday": lambda _, day: DAYS[day.weekday()],
    "Mon": lambda _, day: DAYS[day.weekday()][:3],
    "2": lambda _, day: f"{day.day}",
    "_2": lambda _, day: f"{day.day:2}",
    "02": lambda _, day: f"{day.day:02}",
    "__2": lambda _, day: f"{day.timetuple().tm_yday:3}",
    "002": lambda _, day: f"{day.timetuple().tm_yday:03}",
    "15": lambda moment, _: f"{moment.hour:02}",
    "3": lambda moment, _: f"{moment.hour % 12 or 12}",
    "03": lambda moment, _: f"{moment.hour % 12 or 12:02}",
    "4": lambda moment, _: f"{moment.minute}",
    "04": lambda moment, _: f"{moment.minute:02}",
    "5": lambda moment, _: f"{moment.second}",
    "05": lambda moment, _: f"{moment.second:02}",
    "PM": lambda moment, _: "PM" if moment.hour >= 12 else "AM",
    "pm": lambda moment, _: "pm" if moment.hour >= 12 else "am",
    "MST": lambda _, __: "MST",
}
