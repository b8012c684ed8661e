"""The agent's end of the filtering process: it keeps every listener, so that a process that died is followed by one."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from skrei_domain.errors import SkreiError
from skrei_plugin_docker.gate.process import MESSAGE_BYTES

START_SECONDS = 30.0
"""How long the process may take to serve its first listener: it starts in a fifth of a second, when starved seconds."""
AGAIN_SECONDS = 0.2
"""Before one that died is followed: what cannot live must not be started all the time."""
END_SECONDS = 2.0
"""How long it may take to end before it is killed."""


class GateBroken(SkreiError):
    """The process that filters does not serve: nothing with a filtered network can be run here now."""

    code = "gate-broken"
    retryable = True


@dataclass(frozen=True, slots=True)
class Opening:
    """A listener in a container, and what is allowed through it: domains, or one address (`to`), unread."""

    listener: socket.socket
    domains: Sequence[str] = ()
    extra: Sequence[tuple[str, str]] = ()
    to: tuple[str, int] | None = None


class Keeper:
    """One filtering process for all containers of an engine; started with the first."""

    def __init__(self, private: Sequence[str]) -> None:
        self._private = tuple(private)
        self._openings: dict[str, Opening] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ended: list[subprocess.Popen[bytes]] = []
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._unsent: dict[str, None] = {}

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    async def open(self, key: str, opening: Opening) -> None:
        """Serve a listener from now on; returns when it is served. Raises GateBroken."""
        self.shut(key)
        self._openings[key] = opening
        served = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            if self._control is None:
                self._start_again()
            else:
                self._hand_over(key)
            async with asyncio.timeout(START_SECONDS):
                await served
        except (OSError, TimeoutError) as error:
            self.shut(key)
            raise GateBroken("the process that filters the network of containers does not serve") from error
        finally:
            self._waiting.pop(key, None)

    def shut(self, key: str) -> None:
        """Let no more through a listener; nothing happens where there is none."""
        opening = self._openings.pop(key, None)
        if opening is not None:
            opening.listener.close()
            if self._control is not None:
                with contextlib.suppress(OSError):  # it is gone: so is what it served
                    self._control.send(json.dumps({"shut": key}).encode())

    async def close(self) -> None:
        """End the process; returns when it is gone."""
        for opening in self._openings.values():
            opening.listener.close()
        self._openings.clear()
        process = self._process
        self._let_go()
        for one in (*self._ended, *((process,) if process is not None else ())):
            await asyncio.to_thread(_end, one)
        self._ended.clear()

    # ------------------------------------------------------------ the process

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs, ExitStack() as unless_it_starts:
            unless_it_starts.callback(ours.close)
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-m", "skrei_plugin_docker.gate.process", str(theirs.fileno())),
                    json.dumps({"private": self._private}),
                ],
                pass_fds=(theirs.fileno(),),
                env={name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            unless_it_starts.pop_all()
        self._control = ours
        asyncio.get_running_loop().add_reader(ours, self._hear)

    def _hand_over(self, *keys: str) -> None:
        """Send what the process is to serve: as much as its socket takes now, the rest as it reads."""
        assert self._control is not None
        loop = asyncio.get_running_loop()
        self._unsent |= dict.fromkeys(keys)
        for key in list(self._unsent):
            if (opening := self._openings.get(key)) is not None:
                try:
                    self._send(key, opening)
                except BlockingIOError:
                    loop.add_writer(self._control, self._hand_over)
                    return
                except OSError as error:  # where it is gone, it is followed
                    if (served := self._waiting.get(key)) is not None and not served.done():
                        served.set_exception(error)
            del self._unsent[key]
        loop.remove_writer(self._control)

    def _send(self, key: str, opening: Opening) -> None:
        assert self._control is not None
        order: dict[str, object] = {"open": key, "domains": list(opening.domains), "extra": list(opening.extra)}
        if opening.to is not None:
            order["to"] = opening.to
        socket.send_fds(self._control, [json.dumps(order).encode()], [opening.listener.fileno()])

    def _hear(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if data:
            served = self._waiting.get(json.loads(data)["opened"])
            if served is not None and not served.done():
                served.set_result(None)
            return
        self._follow()

    def _follow(self) -> None:
        """The process is gone: start another for the listeners that are there."""
        process = self._process
        self._let_go()
        if process is not None:
            self._ended = [one for one in (*self._ended, process) if one.poll() is None]
        for served in self._waiting.values():
            if not served.done():
                served.set_exception(ConnectionError("it ended"))
        if self._openings:
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._start_again)

    def _start_again(self) -> None:
        if self._control is not None or not self._openings:
            return
        try:
            self._start()
        except OSError:  # there is no room for another process, for now
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._start_again)
        else:
            self._hand_over(*self._openings)

    def _let_go(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            asyncio.get_running_loop().remove_writer(self._control)
            self._control.close()
        self._unsent.clear()
        self._control, self._process = None, None


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
