"""What one program may take of the machine's memory where it has more than one memory: the kernel counts the sum.

A store's limit is for each memory. One module has one (`offer.new_engine` says so), but a component, or a module that
imports others, has as many as it is made of.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skrei_plugin_wasm.limits import soft_limit

SLACK_BYTES = 48 * 1024**2
"""What wasmtime and Python may need beside the program's memories: compiling what it is made of takes most of it."""
MOST_INSTANCES = 1_000
"""Of modules in one program: each has its tables and globals, which no limit of bytes counts."""

_STATM = Path("/proc/self/statm")
_DATA = 5
"""The field of `statm` with writable private pages, which RLIMIT_DATA counts."""


@contextmanager
def bounded(memory_bytes: int, beside_bytes: int = 0) -> Iterator[None]:
    """Let what is allocated from here on grow by so many bytes at most, and SLACK_BYTES: what wants more fails to get
    it. 0 is no limit. Linux alone; elsewhere each memory is limited for itself."""
    if not memory_bytes or sys.platform != "linux":
        yield
        return
    used = int(_STATM.read_text().split()[_DATA]) * resource.getpagesize()
    with soft_limit(resource.RLIMIT_DATA, used + memory_bytes + beside_bytes + SLACK_BYTES):
        yield
