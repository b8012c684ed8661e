"""How agent, zygote and children talk: frames of a JSON head and raw bytes over a unix socket, one at a time.

Frame: two lengths (4 bytes each, big-endian), the head, the body. Both sides trust each other: they are one program.
"""

import json
import socket
import struct
from typing import Any

LENGTHS = struct.Struct(">II")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def frame(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    text = _encode(head).encode("utf-8", "surrogatepass")
    return b"".join((LENGTHS.pack(len(text), len(body)), text, body))


def parse_head(data: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Return the head that `frame` wrote."""
    head: dict[str, Any] = json.loads(bytes(data).decode("utf-8", "surrogatepass"))
    return head


def receive(sock: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """Wait for a whole frame on a blocking socket; None when the other side is gone."""
    start = sock.recv(65536)
    while len(start) < LENGTHS.size:
        if not start:
            return None
        more = sock.recv(65536)
        if not more:
            return None
        start += more
    head_size, body_size = LENGTHS.unpack_from(start)
    whole = LENGTHS.size + head_size + body_size
    if len(start) < whole:
        pieces, have = [start], len(start)
        while have < whole:
            piece = sock.recv(min(whole - have, 1 << 20))
            if not piece:
                return None
            pieces.append(piece)
            have += len(piece)
        start = b"".join(pieces)
    cut = LENGTHS.size + head_size
    return parse_head(start[LENGTHS.size : cut]), start[cut:whole]
