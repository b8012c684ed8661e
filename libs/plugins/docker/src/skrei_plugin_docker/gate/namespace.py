"""A listener inside a container's network, served from outside of it.

A container with a filtered network has a loopback alone: nothing that it sends leaves it. A socket belongs to the
network in which it was made, whoever reads it: so a thread enters the container's network, makes a listener there, and
ends. What is accepted on it is served from the node's network.
"""

import ctypes
import os
import socket
import threading
from pathlib import Path

_CLONE_NEWNET = 0x4000_0000
BACKLOG = 128
"""Connections that may wait to be accepted."""


class NoEntry(Exception):
    """This process cannot enter the container's network; the text says why."""


def listen(pid: int, mark: str, port: int) -> socket.socket:
    """Return a listener at `port` on the loopback of the network of process `pid`.

    `mark` (`NAME=value`) is in that process's environment, which shows that it is the one that is meant. Blocks for
    some milliseconds. Raises NoEntry.
    """
    made: list[socket.socket | Exception] = []
    thread = threading.Thread(target=_make, args=(pid, mark, port, made), name="gate listener")
    thread.start()
    thread.join()
    found = made[0]
    if isinstance(found, Exception):
        raise NoEntry(_why(found)) from found
    return found


def _make(pid: int, mark: str, port: int, made: list[socket.socket | Exception]) -> None:
    """Runs in a thread of its own, which never comes back to the node's network."""
    try:
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if mark.encode() not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                raise LookupError(f"process {pid} of this machine is another")
            if ctypes.CDLL(None, use_errno=True).setns(network, _CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(network)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
        made.append(listener)
    except Exception as error:  # noqa: BLE001 - raised by whoever waits
        made.append(error)


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "the agent is not root, and only root enters a container's network"
    if isinstance(error, FileNotFoundError | ProcessLookupError | LookupError):
        return "the Docker daemon's processes are not this machine's (it runs elsewhere, or the agent in a container)"
    return f"a container's network cannot be entered: {error}"
