"""What a program says on its way from two pipes into the files of its run, by a thread that lives as long as its child.

WASI writes to a pipe as fast as to a file (2 µs a line); its way to call back for each write costs twenty times that. A
child that is killed loses what its pipes hold, so whoever ends a program interrupts it first; see `engine`.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from skrei_plugin_api.streams import NAMES, StreamFile

PIECE_BYTES = 64 * 1024
"""Read at once: what a pipe holds."""
PAUSE_SECONDS = 0.01
"""Between two tries while there is no memory for one."""


class OutputLost(Exception):
    """The node's disk did not take what a program said."""


class Drain:
    """Two pipes that programs write into, one program at a time."""

    def __init__(self) -> None:
        pipes = [os.pipe() for _ in NAMES]
        self._writing = [writing for _, writing in pipes]
        self._files: dict[int, StreamFile | None] = {reading: None for reading, _ in pipes}
        for reading in self._files:
            os.set_blocking(reading, False)
        self._piece = memoryview(bytearray(PIECE_BYTES))  # made once: a program may have taken all memory
        self._lock = threading.Lock()
        self._trouble: OSError | None = None
        threading.Thread(target=self._forever, name="drain", daemon=True).start()

    @property
    def paths(self) -> tuple[str, str]:
        """Where a program's stdout and stderr are opened."""
        stdout, stderr = self._writing
        return f"/dev/fd/{stdout}", f"/dev/fd/{stderr}"

    @contextlib.contextmanager
    def into(self, workdir: Path, limit: int) -> Iterator[None]:
        """Bring what is said meanwhile into the files of a run, all of it by the end.

        Raises OutputLost at the end where the disk did not take it; the program never notices.
        """
        with contextlib.ExitStack() as stack:
            files = [StreamFile(workdir, name, limit) for name in NAMES.values()]
            for file in files:
                stack.callback(file.close)
            with self._lock:
                self._trouble = None
                self._files = dict(zip(self._files, files, strict=True))
            try:
                yield
            finally:
                with self._lock:
                    for reading in self._files:
                        while self._take(reading):
                            pass
                    self._files = dict.fromkeys(self._files)
            if self._trouble is not None:
                raise OutputLost(f"this node could not keep what it said: {self._trouble}") from self._trouble

    def _forever(self) -> None:
        poll = select.poll()
        for reading in self._files:
            poll.register(reading, select.POLLIN)
        while True:
            try:
                ready = poll.poll()
                with self._lock:
                    for reading, _ in ready:
                        self._take(reading)
            except MemoryError:  # the program has taken all that it may: what it says waits for it
                time.sleep(PAUSE_SECONDS)

    def _take(self, reading: int) -> bool:
        """Take a piece; False where there is none."""
        try:
            size = os.readv(reading, (self._piece,))
        except BlockingIOError:
            return False
        file = self._files[reading]
        if file is not None and self._trouble is None:
            try:
                file.write(self._piece[:size])
            except OSError as error:
                self._trouble = error
        return True
