"""Children that cannot outlive us: how a process is started, recognised later, and ended for certain."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from skrei_kit.supervisor import GATE, PARENT_PIPE

_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_ON_LINUX: bool = sys.platform.startswith("linux")
_LOOK_SECONDS = 0.01  # between two looks at a process that should end


class Process(Protocol):
    """A child, however it was started: what is used of `subprocess.Popen`."""

    pid: int

    @property
    def returncode(self) -> int | Any:
        """Its exit code, negative for a signal, as far as somebody looked."""

    def poll(self) -> int | None:
        """Look whether it has ended, and how."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended. Raises subprocess.TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of this machine that a child runs under."""

    name: str
    uid: int
    gid: int


class Gate:
    """Holds children back, all ready to begin, until what they need is there. It is opened once, for all."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = os.pipe()

    @property
    def held(self) -> int | None:
        """The descriptor whose end of file a child waits for; None once the gate is open."""
        return self._ends[0] if self._ends is not None else None

    def open(self) -> None:
        """Let everybody through, now and from now on."""
        for descriptor in self._ends or ():
            os.close(descriptor)
        self._ends = None


class Spawner:
    """Starts children that end with us, whatever ends us.

    Linux sends them a signal when we die. Elsewhere, and for a death between fork and that request, they hold the
    reading end of a pipe that only we could write to. Use it from the main thread: the kernel's signal is tied to it.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.gate = Gate()

    def close(self) -> None:
        """Forget the pipe; children that watch it end."""
        os.close(self._read)
        os.close(self._write)
        self.gate.open()

    def held(self, gate: Gate) -> dict[str, int]:
        """The descriptors that a child which watches us and waits at a gate inherits, by what names them to it."""
        return {PARENT_PIPE: self._read} | ({GATE: gate.held} if gate.held is not None else {})

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: IO[bytes] | None = None,
        account: Account | None = None,
        death_signal: int = signal.SIGTERM,
        watches_pipe: bool = False,
        waits: bool = False,
        timer_slack_seconds: float = 0,
    ) -> Process:
        """Start a child in a session of its own: Ctrl+C is ours to pass on, in order.

        `watches_pipe`: the program reads PARENT_PIPE itself; for others a guard does, where the kernel cannot.
        `waits`: it imports what it needs at once, and begins when the gate is opened.
        `timer_slack_seconds`: how much later than it asked for a timer may wake it, where the kernel can; 0: at once.
        """
        guard = [] if watches_pipe or _ON_LINUX else [sys.executable, "-m", "skrei_embedded.guard"]
        told, inherited = dict(environment), []
        if watches_pipe or guard:
            told[PARENT_PIPE] = str(self._read)
            inherited.append(self._read)
        if waits and (held := self.gate.held) is not None:
            told[GATE] = str(held)
            inherited.append(held)
        return subprocess.Popen(
            [*guard, *command],
            env=told,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=inherited,
            cwd="/" if account else None,
            start_new_session=True,
            preexec_fn=_told(death_signal, timer_slack_seconds),  # noqa: PLW1509  # we have no threads that hold locks here
            **_as(account),
        )


def run_as(account: Account | None, command: Sequence[str], *, text: str | None = None) -> tuple[int, str]:
    """Run a short command to its end; return its exit code and all that it said."""
    done = subprocess.run(
        command,
        input=text.encode() if text is not None else b"",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        cwd="/" if account else None,
        check=False,
        timeout=120,  # initialising a database on a slow disk takes ten seconds
        **_as(account),
    )
    return done.returncode, done.stdout.decode(errors="replace").strip()


def end(process: Process, *, wait_seconds: float, gently: int = signal.SIGTERM) -> bool:
    """Ask a child to stop, kill it with its whole session when it does not, and reap it. True: it stopped itself."""
    if process.poll() is None:
        process.send_signal(gently)
    try:
        process.wait(wait_seconds)
    except subprocess.TimeoutExpired:
        kill_session(process)
        process.wait()
        return False
    kill_session(process)
    return True


def kill_session(process: Process) -> None:
    """Kill what is left of a child's process group: nothing of it remains beside its successor.

    While something is left the group's number is nobody else's. Once nothing is, it may be: a process of that number is
    a stranger then, since ours has been waited for, and so is its group.
    """
    if process.poll() is not None and _there_is(process.pid):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _there_is(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def started_at(pid: int) -> str:
    """Return what tells this process from a later one with the same pid; empty when it is gone."""
    if _ON_LINUX:
        try:
            text = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
        except OSError:
            return ""
        state, *fields = text.rpartition(")")[2].split()
        return "" if state in {"Z", "X"} else fields[18]
    code, told = run_as(None, ["/bin/ps", "-o", "lstart=", "-p", str(pid)])
    return told if code == 0 else ""


def command_of(pid: int) -> str:
    """Return a process's command line; empty when it is gone."""
    if _ON_LINUX:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    code, told = run_as(None, ["/bin/ps", "-o", "args=", "-p", str(pid)])
    return told if code == 0 else ""


def end_strangers(pids: Mapping[int, str], *, wait_seconds: float) -> None:
    """End processes that an earlier supervisor left, named by pid and `started_at`: politely, then for certain."""
    left = {pid: born for pid, born in pids.items() if born and started_at(pid) == born}
    for number, until in ((signal.SIGTERM, time.monotonic() + wait_seconds), (signal.SIGKILL, None)):
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        while left and (until is None or time.monotonic() < until):
            left = {pid: born for pid, born in left.items() if started_at(pid) == born}
            time.sleep(_LOOK_SECONDS if left else 0)


def unprivileged() -> Account | None:
    """Return the account that Postgres runs under when we are root (it refuses root); None when we are not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    return Account("65534", 65534, 65534)


def _as(account: Account | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": ()}


def _told(death_signal: int, timer_slack_seconds: float) -> Callable[[], None] | None:
    """Return what a child asks of the kernel: its end with ours, and how late its timers may be."""
    if not _ON_LINUX:
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()
    slack = ctypes.c_ulong(int(timer_slack_seconds * 1e9))

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal)
        if slack.value:
            prctl(_PR_SET_TIMERSLACK, slack)
        if os.getppid() != parent:
            os._exit(1)  # it died before we asked

    return ask
