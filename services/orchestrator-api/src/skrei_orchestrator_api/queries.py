"""What stands in a query string, read and bounded: flags, limits, paging tokens, selectors."""

import base64
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from starlette.requests import HTTPConnection

from skrei_domain import constraints
from skrei_domain.constraints import Constraint
from skrei_domain.errors import Invalid

MAX_PAGE = 10_000
"""Rows in one answer: what the web UI of other clients asks for; a page of specs stays near 10 MB."""
DEFAULT_HISTORY_PAGE = 100
LAST_SECOND = 253_402_300_799
"""Of the year 9999, since 1970: the last that a time of the record can name."""
MAX_VERSION = 2**31 - 1
"""The highest number of a version that can be asked for."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What no text of the record has: NULs and half characters."""
_OFFSET = re.compile(r"(\w*):([YN]):(\d{1,7}):(\d{1,7})")
_TRUE = frozenset({"true", "1", "t", "yes"})
_FALSE = frozenset({"false", "0", "f", "no", ""})


class Offset(NamedTuple):
    """A place in a list by counting, as the original's tokens have it."""

    order: str
    reverse: bool
    limit: int
    offset: int


def given(request: HTTPConnection, name: str) -> str:
    """Return a parameter as it was given, empty when absent: most requests have none, and nothing is read for them."""
    return request.query_params.get(name, "") if request.scope["query_string"] else ""


def flag(request: HTTPConnection, name: str) -> bool:
    """Return a truth value in any of the spellings that clients use. Raises Invalid for other texts."""
    text = given(request, name).lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise Invalid(f"{name}: {text!r}; allowed: true, false")


def number(request: HTTPConnection, name: str, *, high: int, default: int = 0) -> int:
    """Return a whole number from 0 to `high`; absent and empty are the default. Raises Invalid."""
    text = given(request, name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > high:
        raise Invalid(f"{name}: {text!r}; allowed: a whole number from 0 to {high:,}")
    return int(text)


def version(request: HTTPConnection) -> int:
    """Return which version of a job is asked for; 0 is the current one. Raises Invalid."""
    return number(request, "job_version", high=MAX_VERSION)


def limit(request: HTTPConnection) -> int:
    """Return how many rows are asked for; 0 means as many as one answer holds, and more is cut to that."""
    asked = number(request, "limit", high=10**12)
    return min(asked, MAX_PAGE) if asked else 0


def choice(request: HTTPConnection, name: str, allowed: Sequence[str], default: str) -> str:
    """Return one of a few words. Raises Invalid with the words."""
    text = given(request, name).strip().lower()
    if not text:
        return default
    if text not in allowed:
        raise Invalid(f"invalid {name}: {text!r}; allowed: {', '.join(allowed)}")
    return text


def selector(request: HTTPConnection, name: str = "labels") -> tuple[Constraint, ...]:
    """Return the conditions of a repeatable selector parameter; all of them must hold. Raises Invalid."""
    text = ",".join(part for part in request.query_params.getlist(name) if part)
    try:
        return constraints.parse(text)
    except ValueError as error:
        raise Invalid(f"{name}: {error}") from error


def text(request: HTTPConnection, name: str) -> str:
    """Return a parameter, empty when absent. Raises Invalid for one that no row could hold."""
    value = given(request, name)
    if "\0" in value:
        raise Invalid(f"{name}: allowed: text without NUL characters")
    return value


def token_out(kind: str, *parts: int | str) -> str:
    """Return an opaque paging token."""
    return base64.urlsafe_b64encode(json.dumps([kind, *parts], separators=(",", ":")).encode()).decode().rstrip("=")


def offset_in(token: str) -> Offset | None:
    """Return what a token of the original means (`SortBy:Y|N:Limit:Offset` in base64); None for any other text.

    Such tokens are read, not written: clients and scripts keep them.
    """
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        return None
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    order, reverse, limit, offset = found.groups()
    return Offset(order, reverse == "Y", int(limit), int(offset))


def token_in(token: str, kind: str, *shape: type) -> tuple[int | str, ...] | None:
    """Return the parts of a token that `token_out` made, or None for no token. Raises Invalid for any other text."""
    if not token:
        return None
    try:
        found = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as error:
        raise Invalid("next_token: not one that this server gave out") from error
    if (
        not isinstance(found, list)
        or found[:1] != [kind]
        or len(found) != len(shape) + 1
        or not all(type(part) is kind_ for part, kind_ in zip(found[1:], shape, strict=True))
        or any(type(part) is int and not 0 <= part < 2**63 for part in found)
        or any(isinstance(part, str) and _UNSTORABLE.search(part) for part in found)
    ):
        raise Invalid("next_token: not one that this server gave out")
    return tuple(found[1:])
