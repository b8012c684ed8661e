"""A child process: one order after the other over its own socket, until the agent closes it."""

import resource
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from skrei_plugin_wasm.sandbox import pack
from skrei_plugin_wasm.wire import frame, receive

if TYPE_CHECKING:
    from skrei_plugin_wasm.sandbox import Sandbox


def serve(sock: socket.socket, make: Callable[[], "Sandbox"]) -> None:
    """Answer every order with one frame. The sandbox starts with the first run: packing alone needs none."""
    sandbox: Sandbox | None = None
    while (received := receive(sock)) is not None:
        order, _ = received
        try:
            if "packs" in order:  # another child was killed: what its run left is packed here
                head, body = pack(order, None, order["packs"], order["started"], order["ended"])
            else:
                if sandbox is None:
                    sandbox = make()
                    sandbox.start()
                head, body = sandbox.run(order)
        except OSError as error:  # the node's disk is full, or broken: the agent knows whom to tell
            trouble = [error.errno, error.strerror or str(error)]
            head, body = {"trouble": trouble, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}, b""
        sock.sendall(frame(head, body))
        if sandbox is not None:
            sandbox.tidy()
    if sandbox is not None:
        sandbox.close()
