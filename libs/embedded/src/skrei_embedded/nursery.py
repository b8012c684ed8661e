"""The process that imports once what all services share, forks each of them, and ends.

`skrei serve` starts it first thing. It is asked through its standard input, a socket that keeps messages apart: one
request for each service, answered by its process id. When the socket ends it ends too, and what it forked becomes the
supervisor's child. It has no thread, no loop and no secret: what a service is told comes with its request.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SHARED = (
    "skrei_kit.bus",
    "skrei_kit.health_door",
    "skrei_kit.observability",
    "skrei_kit.settings",
    "skrei_kit.supervisor",
    "skrei_domain.bloom",
    "skrei_domain.bounds",
    "skrei_domain.envelope",
    "skrei_domain.job_reading",
    "skrei_domain.messages",
    "skrei_domain.node_results",
    "skrei_domain.retention",
    "skrei_domain.subjects",
)
"""What every service imports anyway, by the names that bring it all; a test compares the two."""
MOST_BYTES = 1_000_000  # of one request, an environment: the kernel takes fewer
_MOST_DESCRIPTORS = 2  # the pipe to the supervisor and the gate
_PR_SET_PDEATHSIG = 1
_ARG_START, _ARG_END = 45, 46  # among the fields of /proc/self/stat that follow the command


def main() -> None:
    """Serve requests until there are no more; in a child, be what was asked for."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # its children do not inherit this
    control = socket.socket(fileno=os.dup(0))
    gc.disable()  # importing makes nothing but what stays
    for name in SHARED:
        importlib.import_module(name)
    gc.freeze()  # a collection in a child would touch, and so copy, every page that it shares with its siblings
    nursery = os.getpid()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MOST_BYTES, _MOST_DESCRIPTORS)
        if not message:
            return
        child = os.fork()
        if child == 0:
            control.close()
            _become(json.loads(message), descriptors, nursery)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        try:
            control.send(str(child).encode())
        except OSError:  # the supervisor stops already: nobody would know of this one
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return


def _become(request: Mapping[str, object], descriptors: Sequence[int], nursery: int) -> None:
    """Run the program asked for, told `environment`, with descriptors by the names in `told`."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    module, environment, told = str(request["module"]), request["environment"], request["told"]
    assert isinstance(environment, dict), "the supervisor wrote it"
    assert isinstance(told, list), "the supervisor wrote it"
    os.environ.clear()
    os.environ.update(environment | {name: str(number) for name, number in zip(told, descriptors, strict=True)})
    show_as([sys.executable, "-P", "-m", module.removesuffix(".__main__")])
    sys.argv[:] = [module]
    program = importlib.import_module(module)
    while os.getppid() == nursery:  # it only has to end; the kernel's word on a parent's death is tied to the next one
        time.sleep(0.001)
    gc.enable()
    if request["held"]:
        supervisor = importlib.import_module("skrei_kit.supervisor")
        supervisor.die_with_parent()
        supervisor.await_start()
    program.main()


def show_as(command: Sequence[str]) -> None:
    """Let `ps` show another command for this process; one that is longer than its own is left out."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        text = b"".join(os.fsencode(word) + b"\0" for word in command)
        if 0 < len(text) <= end - start:
            ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


if __name__ == "__main__":
    main()
