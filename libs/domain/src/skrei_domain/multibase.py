"""Bytes written as text in the bases that content identifiers come in (github.com/multiformats/multibase). Pure."""

import base64
from collections.abc import Callable

TEXT_CHARACTERS = 512
"""Longer texts name nothing: those of the longest hash have some 120 letters."""

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_FIRST_NAMES = 46  # letters of a name of version 0, which says no base: `Qm…`


class NotEncoded(ValueError):
    """A text is none of these; the message says why."""


def decode(text: str) -> bytes:
    """Return the bytes that a text writes. Raises NotEncoded."""
    if not text or len(text) > TEXT_CHARACTERS:
        raise NotEncoded("those have some sixty letters")
    if len(text) == _FIRST_NAMES and text.startswith("Qm"):
        return _base_n(text, _BASE58)
    letters = text[1:]
    match text[0]:
        case "b" | "B":
            padded = letters.upper() + "=" * (-len(letters) % 8)
            return _strict(lambda: base64.b32decode(padded))
        case "f" | "F":
            return _strict(lambda: bytes.fromhex(letters))
        case "z":
            return _base_n(letters, _BASE58)
        case "k" | "K":
            return _base_n(letters.lower(), _BASE36)
        case "u":
            return _strict(lambda: base64.b64decode(letters + "=" * (-len(letters) % 4), altchars=b"-_", validate=True))
    raise NotEncoded("those begin with `Qm`, `bafy` or `bafk` mostly")


def _strict(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except ValueError as error:
        raise NotEncoded("one of its letters is wrong") from error


def _base_n(text: str, letters: str) -> bytes:
    number = 0
    for each in text:
        digit = letters.find(each)
        if digit < 0:
            raise NotEncoded("one of its letters is wrong")
        number = number * len(letters) + digit
    zeros = len(text) - len(text.lstrip(letters[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
