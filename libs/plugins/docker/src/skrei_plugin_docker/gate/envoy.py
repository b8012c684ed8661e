"""A listener inside a container's network for an agent that may not enter it: a container of that network makes it.

Who may give orders to a Docker daemon needs no root for this: the daemon starts this machine's own Python in the
network that is meant, from folders of this machine; it makes the listener, and sends it back through a socket file.
"""

import asyncio
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from skrei_plugin_docker.create import Place, mount
from skrei_plugin_docker.daemon import Daemon
from skrei_plugin_docker.failures import Refusal
from skrei_plugin_docker.gate.namespace import BACKLOG, NoEntry

ANSWER_SECONDS = 20.0
"""How long the listener may take to come: a container starts in half a second, when starved many times that."""
MEMORY_BYTES = 64 * 1024 * 1024
"""Of that container: a Python that imports next to nothing has 10 MB."""
_FOLDER = "/gate"
_SOCKET = "socket"
_CODE = f"""
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen({BACKLOG})
way = socket.socket(socket.AF_UNIX)
way.connect("{_FOLDER}/{_SOCKET}")
socket.send_fds(way, [b"x"], [listener.fileno()])
"""
HostPath = Callable[[Path], Awaitable[str | None]]


async def fetch(
    daemon: Daemon, network_of: str, *, image: str, marks: Mapping[str, str], port: int, state: Path, seen: HostPath
) -> socket.socket:
    """Return a listener at `port` on the loopback of the network of the container `network_of`.

    `image` has nothing in it, `marks` are the labels of the container that is made and removed, `state` is a folder of
    ours, `seen` tells by which path the daemon sees one. Raises NoEntry.
    """
    token = secrets.token_hex(8)
    folder = state / f"gate-{token}"
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True)
    ours = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.setblocking(False)
            door.bind(f"/proc/self/fd/{ours}/{_SOCKET}")  # a socket's own path may have 107 bytes only
            door.listen(1)
            places = [await _place(path, path, seen) for path in _python()]
            places.append(await _place(folder, Path(_FOLDER), seen))
            made = await daemon.create(_body(network_of, image, marks, places, port), f"skrei-gate-{token}")
            try:
                await daemon.start(made)
                return await _receive(door)
            finally:
                await daemon.remove(made)
    except Refusal as refusal:
        raise NoEntry(
            f"the daemon does not start what would enter the container's network: {refusal.message}"
        ) from None
    except TimeoutError:
        raise NoEntry("what was to enter the container's network does not answer") from None
    finally:
        os.close(ours)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _receive(door: socket.socket) -> socket.socket:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(ANSWER_SECONDS):
        way, _ = await loop.sock_accept(door)
        with way:
            readable = asyncio.Event()
            loop.add_reader(way, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(way)
            _, descriptors, _, _ = socket.recv_fds(way, 16, 1)
    if not descriptors:
        raise NoEntry("what entered the container's network brought nothing back")
    return socket.socket(fileno=descriptors[0])


def _python() -> list[Path]:
    """Return the folders that this machine's Python is made of."""
    base = Path(sys.base_prefix).resolve()
    return [Path("/usr"), *([] if base.is_relative_to("/usr") else [base])]


async def _place(path: Path, at: Path, seen: HostPath) -> Place:
    there = await seen(path)
    if there is None:
        raise NoEntry("the agent is not root, and its Docker daemon does not see this machine's files")
    return Place(str(at), there, bind=True, writable=str(at) == _FOLDER)


def _body(network_of: str, image: str, marks: Mapping[str, str], places: list[Place], port: int) -> dict[str, Any]:
    return {
        "Image": image,
        "Entrypoint": [os.path.realpath(sys.executable), "-I", "-S", "-c", _CODE, str(port)],
        "User": f"{os.geteuid()}:{os.getegid()}",
        "Labels": dict(marks),
        "HostConfig": {
            "NetworkMode": f"container:{network_of}",
            "Mounts": [mount(place) for place in places],
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": MEMORY_BYTES,
            "MemorySwap": MEMORY_BYTES,
            "LogConfig": {"Type": "none"},
        },
    }
