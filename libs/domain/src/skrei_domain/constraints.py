"""Label constraints: Kubernetes selector semantics over a node's labels."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constraint:
    """One condition on a label; `operator` is one of in, notin, exists, !, =, ==, !=, gt, lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


OPERATORS = ("in", "notin", "exists", "!", "=", "==", "!=", "gt", "lt")
_SEVERAL = ("in", "notin")
_NONE = ("exists", "!")
_NUMBERS = ("gt", "lt")

GRAMMAR = (
    "conditions joined by commas: `key`, `!key`, `key=value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, "
    "`key>1`, `key<1`"
)


def problems(constraint: Constraint) -> list[tuple[str, str]]:
    """Return every part (Key, Operator, Values) of `constraint` that is not well formed, with what is allowed."""
    operator, values = constraint.operator, constraint.values
    found = []
    if not constraint.key.strip():
        found.append(("Key", "a label key"))
    if operator not in OPERATORS:
        found.append(("Operator", "one of " + ", ".join(OPERATORS)))
    elif operator in _SEVERAL and not values:
        found.append(("Values", f"at least one value with `{operator}`"))
    elif operator in _NONE and values:
        found.append(("Values", f"no value with `{operator}`"))
    elif operator not in _SEVERAL + _NONE and len(values) != 1:
        found.append(("Values", f"exactly one value with `{operator}`"))
    elif operator in _NUMBERS and _integer(values[0]) is None:
        found.append(("Values", f"an integer with `{operator}`"))
    return found


def satisfied(constraint: Constraint, labels: Mapping[str, str]) -> bool:
    """Whether `labels` meet one condition. A missing label meets only `notin`, `!=` and `!`."""
    value = labels.get(constraint.key)
    match constraint.operator:
        case "in" | "=" | "==":
            return value is not None and value in constraint.values
        case "notin" | "!=":
            return value is None or value not in constraint.values
        case "exists":
            return value is not None
        case "!":
            return value is None
        case "gt" | "lt":
            have = _integer(value) if value is not None else None
            limit = _integer(constraint.values[0])
            if have is None or limit is None:
                return False
            return have > limit if constraint.operator == "gt" else have < limit
    return False


def matches(constraints: Iterable[Constraint], labels: Mapping[str, str]) -> bool:
    """Whether `labels` meet every condition."""
    return all(satisfied(constraint, labels) for constraint in constraints)


_NAME = r"[^\s,()=!<>]+"
_SIMPLE = re.compile(rf"\s*(?P<not>!)?\s*(?P<key>{_NAME})\s*")
_COMPARE = re.compile(r"(?P<operator>==|!=|=|>|<)\s*(?P<value>[^\s,()=!<>]*)\s*")
_SET = re.compile(r"(?P<operator>in|notin)\s*\(\s*(?P<values>[^()]*)\)\s*", re.IGNORECASE)
_WORDS = {">": "gt", "<": "lt"}


def parse(text: str) -> tuple[Constraint, ...]:
    """Return the conditions of a selector such as `region=eu,disk in (ssd,nvme),!gpu`; an empty text has none.

    Raises ValueError with the grammar for anything else.
    """
    found: list[Constraint] = []
    at = 0
    while at < len(text):
        constraint, at = _one(text, at)
        if problems(constraint):
            raise ValueError(f"{text!r} is not a label selector: use {GRAMMAR}")
        found.append(constraint)
        if at < len(text):
            if text[at] != "," or not text[at + 1 :].strip():
                raise ValueError(f"{text!r} is not a label selector (at {text[at:]!r}): use {GRAMMAR}")
            at += 1
    return tuple(found)


def _one(text: str, at: int) -> tuple[Constraint, int]:
    head = _SIMPLE.match(text, at)
    if head is None:
        raise ValueError(f"{text!r} is not a label selector (at {text[at:]!r}): use {GRAMMAR}")
    key, at = head["key"], head.end()
    if head["not"]:
        return Constraint(key, "!"), at
    if (compare := _COMPARE.match(text, at)) is not None:
        operator = compare["operator"]
        return Constraint(key, _WORDS.get(operator, operator), (compare["value"],)), compare.end()
    if (members := _SET.match(text, at)) is not None:
        values = tuple(value.strip() for value in members["values"].split(","))
        return Constraint(key, members["operator"].lower(), values), members.end()
    return Constraint(key, "exists"), at


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,19}", text) else None
