"""Libraries import what they might use; here a service says what it will not."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let what is imported inside believe that these optional packages are not installed.

    A process pays for every module that it holds, and ours are many: rich alone costs each 7 MB and a tenth of a
    second, for tracebacks that no service prints. What was imported before stays as it is.
    """
    hidden = [name for name in names if name not in sys.modules]
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]  # None is how Python itself marks an absence
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
