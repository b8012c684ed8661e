"""The process that forks children: it has imported wasmtime, made and tried what they begin with, and has one thread.

Started by the agent as `python -I -m skrei_plugin_wasm.zygote FD CONFIG`, so it has none of the agent's state. Over the
socket FD the agent sends `{"fork": id}` with the child's end of a socket pair, `{"interrupt": id}` or `{"kill": id}`;
the zygote answers a fork by `{"forked": id, "pid": n}` or `{"forked": id, "why": text}`. When the agent is gone the
socket ends: the zygote kills its children and ends.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache as once
from pathlib import Path
from typing import NoReturn

from skrei_plugin_wasm import sandbox  # imports wasmtime: what every child shares
from skrei_plugin_wasm.bond import die_with_parent, prefer_for_the_oom_killer
from skrei_plugin_wasm.child import serve
from skrei_plugin_wasm.offer import Offer
from skrei_plugin_wasm.rehearsal import let_go_of_code, rehearse
from skrei_plugin_wasm.shared_root import sweep
from skrei_plugin_wasm.wire import LENGTHS, frame, parse_head

_DESCRIPTORS = 4
"""More than ever come with one message."""


class Zygote:
    """Forks, kills and reaps; waits for nothing but messages and the ends of children."""

    def __init__(self, control: socket.socket, make: Callable[[], sandbox.Sandbox], roots: Path) -> None:
        self._control = control
        self._make = make
        self._roots = roots
        self._children: dict[int, int] = {}  # the agent's number of a child → its process
        self._buffer = bytearray()
        self._received: list[int] = []
        self._awake, wake = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Do what the agent asks until it is gone; then leave no child behind."""
        sweep(self._roots)
        with suppress(ConnectionError):  # it went while we answered
            self._serve()
        sweep(self._roots)

    def _serve(self) -> None:
        try:
            while True:
                ready, _, _ = select.select([self._control.fileno(), self._awake], [], [])
                if self._awake in ready:
                    os.read(self._awake, 4096)
                    self._reap()
                if self._control.fileno() in ready and not self._listen():
                    return
        finally:
            for process in self._children.values():
                os.kill(process, signal.SIGKILL)
            for process in self._children.values():
                os.waitpid(process, 0)  # when we are gone, so are they

    def _listen(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, 65536, _DESCRIPTORS)
        if not data:
            return False
        self._buffer += data
        self._received += descriptors
        while len(self._buffer) >= LENGTHS.size:
            whole = LENGTHS.size + LENGTHS.unpack_from(self._buffer)[0]
            if len(self._buffer) < whole:
                break
            message = parse_head(self._buffer[LENGTHS.size : whole])
            del self._buffer[:whole]
            if "fork" in message:
                self._fork(message["fork"], self._received.pop(0))
            elif (process := self._children.get(message.get("kill", 0))) is not None:
                os.kill(process, signal.SIGKILL)
            elif (process := self._children.get(message.get("interrupt", 0))) is not None:
                os.kill(process, sandbox.INTERRUPT)
        return True

    def _fork(self, number: int, descriptor: int) -> None:
        parent = os.getpid()
        try:
            process = os.fork()
        except OSError as error:
            os.close(descriptor)
            self._control.sendall(frame({"forked": number, "why": str(error)}))
            return
        if process == 0:
            self._become_child(descriptor, parent)
        os.close(descriptor)
        self._children[number] = process
        self._control.sendall(frame({"forked": number, "pid": process}))

    def _become_child(self, descriptor: int, parent: int) -> NoReturn:
        """Never return: a child that fell back into this loop would answer for the zygote."""
        try:
            signal.set_wakeup_fd(-1)  # the sandbox has its own
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            for other in self._received:
                os.close(other)
            die_with_parent(parent)
            with socket.socket(fileno=descriptor) as sock:
                serve(sock, self._make)
        except BaseException:  # noqa: BLE001 - told below, and the process ends
            sys.excepthook(*sys.exc_info())  # to the agent's standard error; the agent sees the socket end
            os._exit(1)
        os._exit(0)

    def _reap(self) -> None:
        for number, process in list(self._children.items()):
            if os.waitpid(process, os.WNOHANG)[0]:
                del self._children[number]


def main() -> None:
    """Serve the agent at the other end of the socket."""
    config = json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the agent, which ends us in its time
    prefer_for_the_oom_killer()
    cache = Path(config["cache"])
    roots = cache.with_name("roots")

    @once
    def make() -> sandbox.Sandbox:
        return sandbox.Sandbox(Offer(config["wasmtime"], cache, config["cache_bytes"]), roots)

    if sys.platform == "linux":  # elsewhere wasmtime hears of traps by a thread, which no child would have
        rehearse(make(), roots)
        let_go_of_code()
    gc.collect()
    gc.freeze()  # children share these pages, untouched by their own collections
    with socket.socket(fileno=int(sys.argv[1])) as control:
        Zygote(control, make, roots).serve()


if __name__ == "__main__":
    main()
