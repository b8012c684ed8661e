"""What a program says on its way from two pipes into the files of its run, by the one thread that its child has beside
the program's. It hears the child's signals too.

WASI writes to a pipe as fast as to a file (2 µs a line); its way to call back for each write costs twenty times that. A
child that is killed loses what its pipes hold, so whoever ends a program interrupts it first; see `engine`.
"""

import _thread  # a thread of `threading` is a dozen more objects, which each child would have to copy
import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator

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
        self._writing: list[int] = []
        self._files: dict[int, StreamFile | None] = {}
        self._piece = memoryview(bytearray(PIECE_BYTES))  # made once: a program may have taken all memory
        self._lock = _thread.allocate_lock()
        self._trouble: OSError | None = None

    def open(self) -> None:
        """Make the pipes, which are this process's own."""
        for _ in NAMES:
            reading, writing = os.pipe()
            os.set_blocking(reading, False)
            self._files[reading] = None
            self._writing.append(writing)

    def close(self) -> None:
        """Close the pipes, while nobody drains them."""
        for descriptor in (*self._files, *self._writing):
            os.close(descriptor)
        self._files.clear()
        self._writing.clear()

    def start(self, hear: Callable[[], None]) -> None:
        """Drain from now on whenever something is said; `hear` is called for each signal that this process gets, also
        while the main thread is inside a program."""
        awake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        _thread.start_new_thread(self._forever, (awake, hear))

    @property
    def paths(self) -> tuple[str, str]:
        """Where a program's stdout and stderr are opened."""
        stdout, stderr = self._writing
        return f"/dev/fd/{stdout}", f"/dev/fd/{stderr}"

    @contextlib.contextmanager
    def into(self, workdir: str, limit: int) -> Iterator[None]:
        """Bring what is said meanwhile into the files of a run, all of it by the end.

        Raises OutputLost at the end where the disk did not take it; the program never notices.
        """
        files = [StreamFile(workdir, name, limit) for name in NAMES.values()]
        try:
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
        finally:
            for file in files:
                file.close()
        if self._trouble is not None:
            raise OutputLost(f"this node could not keep what it said: {self._trouble}") from self._trouble

    def _forever(self, awake: int, hear: Callable[[], None]) -> None:
        poll = select.poll()
        for reading in (awake, *self._files):
            poll.register(reading, select.POLLIN)
        while True:
            try:
                for reading, _ in poll.poll():
                    if reading == awake:
                        hear()
                        os.read(awake, 1)  # after it: what there was no memory for is heard again
                    else:
                        with self._lock:
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
