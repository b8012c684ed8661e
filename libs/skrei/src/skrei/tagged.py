"""A read that may be asked again: its value with a tag, or the word that it has not changed since."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tagged(Generic[T]):
    """What was read; `etag` asks whether it has changed since, and is empty where the API gives none."""

    value: T
    etag: str


@dataclass(frozen=True, slots=True)
class NotModified:
    """What was read under this tag is still true."""

    etag: str
