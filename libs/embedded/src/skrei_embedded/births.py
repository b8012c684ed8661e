"""The supervisor's side of the nursery: it is asked for services, and those that it forks become our children."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

ANSWER_SECONDS = 60.0  # its imports take a third of a second; on a machine that swaps, many times that
END_SECONDS = 5.0  # it has nothing left to do
ALLOCATOR = {"MALLOC_ARENA_MAX": "1"}
"""One heap for all threads of a service, whose interpreter lets one of them run at a time. The C library gives each
thread one of its own and fills none: 4 MB of an agent after 10,000 jobs. It is read as a program begins; what a user
says of it goes first."""
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 0.005
_UNKNOWN = 255


class Forked:
    """A child that somebody else forked and that became ours; what is used of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # reaped by others
                self.returncode = _UNKNOWN
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended. Raises subprocess.TimeoutExpired."""
        until = time.monotonic() + timeout if timeout is not None else None
        while (code := self.poll()) is None:
            if timeout is not None and until is not None and time.monotonic() >= until:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(_LOOK_SECONDS)
        return code

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)


@dataclass(frozen=True, slots=True)
class Birth:
    """A program to fork: a module with a `main`, its environment, descriptors by the variables that name them to it."""

    module: str
    environment: Mapping[str, str]
    descriptors: Mapping[str, int]
    held: bool = False
    """It knows nothing of supervisors: waiting at the gate, and dying with us, is done for it."""


class Nursery:
    """A nursery, importing from the moment that this is made. Linux alone: nowhere else do its children become ours."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SKREI_")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "skrei_embedded.nursery"],
                env=ALLOCATOR | environment,
                stdin=theirs.fileno(),
                start_new_session=True,  # Ctrl+C is the supervisor's to pass on
            )

    @staticmethod
    def begin() -> "Nursery | None":
        """Return a nursery where there can be one."""
        return Nursery() if sys.platform == "linux" else None

    def bear(self, wanted: list[Birth]) -> list[Forked]:
        """Return one child for each that is wanted, in order, and end. It takes as long as the imports.

        Raises OSError when that fails, or when `close` is called meanwhile: nobody was born then.
        """
        born: list[Forked] = []
        _adopt_orphans(True)
        try:
            self._control.settimeout(ANSWER_SECONDS)
            born.extend(Forked(self._ask(birth)) for birth in wanted)
        except OSError:
            self.close()  # from here on they are ours to end
            for child in born:
                child.send_signal(signal.SIGKILL)
                child.wait(END_SECONDS)
            raise
        finally:
            self.close()
            _adopt_orphans(False)
            self._control.close()
        return born

    def close(self) -> None:
        """End it, if it still runs; who waits for it in `bear`, in another thread, is told."""
        with contextlib.suppress(OSError):  # not connected any more
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, birth: Birth) -> int:
        request = {
            "module": birth.module,
            "environment": birth.environment,
            "told": list(birth.descriptors),
            "held": birth.held,
        }
        socket.send_fds(self._control, [json.dumps(request).encode()], list(birth.descriptors.values()))
        answer = self._control.recv(64)
        if not answer:
            raise ConnectionError("the process that forks the services has ended")
        return int(answer)


def _adopt_orphans(wanted: bool) -> None:
    """Let children of our children become ours when those end, or init's again."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
