"""Limits of this process that hold for a while."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def soft_limit(kind: int, value: int) -> Iterator[None]:
    """Set a soft limit (`resource.RLIMIT_…`), at most to the hard one, and the one of before after it."""
    before, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (before, hard))
