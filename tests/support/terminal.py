"""A program on a real pseudo terminal: what a person sees of it, and the keys that the person presses."""

import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Self

SECONDS = 30.0
CTRL_C = b"\x03"


class Terminal:
    """Runs a program with a terminal as its standard input, output and error."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.seen = b""
        self._pid, self._screen = pty.fork()
        if self._pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # which tests in the background of a script ignore
            os.execvpe(command[0], list(command), dict(environment))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._screen)

    def until(self, text: str, seconds: float = SECONDS) -> str:
        """Read until the program has said that; return all that it has said."""
        end = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert self._read(end), f"ended without {text!r}: {self.text}"
        return self.text

    def press(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def end(self) -> int:
        """Read to the program's end; return its exit code."""
        end = time.monotonic() + SECONDS
        while self._read(end):
            pass
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    @property
    def text(self) -> str:
        return self.seen.decode(errors="replace").replace("\r\n", "\n")

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._screen], [], [], max(end - time.monotonic(), 0))
        assert ready, f"nothing more within {SECONDS:g} s: {self.text}"
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # how a terminal tells that its last program has gone
            return False
        self.seen += data
        return bool(data)
