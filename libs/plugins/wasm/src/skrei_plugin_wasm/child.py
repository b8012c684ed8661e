"""A child process: one order after the other over its own socket, until the agent closes it."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from skrei_plugin_wasm.sandbox import pack
from skrei_plugin_wasm.wire import frame, receive

if TYPE_CHECKING:
    from skrei_plugin_wasm.sandbox import Sandbox


def serve(sock: socket.socket, make: Callable[[], "Sandbox"]) -> None:
    """Answer every order with one frame. The sandbox is made with the first run: packing alone needs none."""
    sandbox: Sandbox | None = None
    while (received := receive(sock)) is not None:
        order, _ = received
        if "packs" in order:  # another child was killed: what its run left is packed here
            head, body = pack(order, None, order["packs"], order["started"], order["ended"])
        else:
            sandbox = sandbox or make()
            head, body = sandbox.run(order)
        sock.sendall(frame(head, body))
        if sandbox is not None:
            sandbox.tidy()
