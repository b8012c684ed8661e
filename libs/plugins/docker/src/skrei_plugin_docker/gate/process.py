"""The process that filters: it speaks with strangers, so it has no rights, no secrets, and nothing of the agent.

Started by the agent as `python -I -m skrei_plugin_docker.gate.process FD CONFIG`. Over the socket FD come listeners
with the rules of each (`{"open": key, …}`), and the end of one (`{"shut": key}`). When the agent is gone the socket
ends, and so does this.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - look-ups need it when the files cannot be read any more
import contextlib
import encodings.idna  # noqa: F401 - likewise
import errno
import json
import os
import resource
import signal
import socket
import sys
import traceback
from functools import partial
from typing import Any, Protocol

from skrei_plugin_api.outbound import Outbound, networks
from skrei_plugin_docker.gate.proxy import HEAD_BYTES, Proxy, Rules
from skrei_plugin_docker.gate.relay import Relay

MESSAGE_BYTES = 64 * 1024
"""One message of the agent: the domains of one task, which are part of a spec of 64 KiB."""
PAUSE_SECONDS = 0.05
"""After a connection could not be accepted: there may be too many open files for a moment."""
NOBODY = 65_534
"""The user that owns nothing."""


class Gate:
    """Serves every listener that the agent hands over."""

    def __init__(self, control: socket.socket, private: tuple[str, ...]) -> None:
        self._control = control
        self._private = networks(private)
        self._doors: dict[str, Door] = {}
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._orders: asyncio.Queue[tuple[dict[str, Any], list[int]]] = asyncio.Queue()

    async def run(self) -> None:
        """Serve until the agent is gone."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control, self._hear)
        obeying = asyncio.ensure_future(self._obey())
        await asyncio.wait({self._gone, obeying}, return_when=asyncio.FIRST_COMPLETED)
        obeying.cancel()

    def _hear(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 1)
        except BlockingIOError:
            return
        except ConnectionError:
            data, descriptors = b"", []
        if data:
            self._orders.put_nowait((json.loads(data), descriptors))
        elif not self._gone.done():
            self._gone.set_result(None)

    async def _obey(self) -> None:
        while True:
            order, descriptors = await self._orders.get()
            if "shut" in order:
                await self._shut(order["shut"])
            else:
                await self._shut(order["open"])
                self._open(order, socket.socket(fileno=descriptors[0]))
                self._control.send(json.dumps({"opened": order["open"]}).encode())

    def _open(self, order: dict[str, Any], listener: socket.socket) -> None:
        listener.setblocking(False)
        self._doors[order["open"]] = Door(listener, self._who_serves(order))

    def _who_serves(self, order: dict[str, Any]) -> "Server":
        if (to := order.get("to")) is not None:
            return Relay(str(to[0]), int(to[1]))
        extra = tuple((name, value) for name, value in order["extra"])
        return Proxy(Rules(Outbound(tuple(order["domains"]), self._private), extra))

    async def _shut(self, key: str) -> None:
        if (found := self._doors.pop(key, None)) is not None:
            await found.close()


class Server(Protocol):
    """What serves one connection to its end."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Never raises for what a client does."""


class Door:
    """One listener, and the connections through it: all of them end with it."""

    def __init__(self, listener: socket.socket, server: Server) -> None:
        self._listener = listener
        self._server = server
        self._serving: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(listener, self._accept)

    async def close(self) -> None:
        """Accept no more, and end what goes on."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # the one that ends next makes room
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listener)
                loop.call_later(PAUSE_SECONDS, self._resume)
            return  # else it went before it was taken
        connection.setblocking(False)
        task = asyncio.ensure_future(self._serve(connection))
        self._serving.add(task)
        task.add_done_callback(partial(self._done, connection))

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_BYTES)
        await self._server.serve(reader, writer)

    def _done(self, connection: socket.socket, task: "asyncio.Task[None]") -> None:
        self._serving.discard(task)
        connection.close()  # also of one that ended before its first step
        if not task.cancelled() and (error := task.exception()) is not None:
            traceback.print_exception(error)  # to the agent's standard error; others are served on


def give_up_rights() -> None:
    """Become nobody, where we are root; open files may be as many as the system lets us."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    with contextlib.suppress(OSError):
        os.chdir("/")


def main() -> None:
    """Serve the agent at the other end of the socket."""
    config = json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the agent, which ends us in its time
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(False)

    async def serve() -> None:
        await Gate(control, tuple(config["private"])).run()

    give_up_rights()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
