"""Ask a service whether it is ready, as an image without curl does: `python -m skrei_kit.health_check [--live]`.

It asks at SKREI_HEALTH_LISTEN, says what is wrong and ends with 1 where something is. Nothing but a socket is imported:
it runs every few seconds for as long as a container lives.
"""

import os
import socket
import sys

ANSWER_SECONDS = 5.0
"""How long the answer may take: what is looked at has two seconds to say how it is."""
MOST_BYTES = 64 * 1024
"""Of an answer: it has some hundred bytes."""
_NEAR = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
"""Where a service is asked that listens at every address."""


def main() -> None:
    """Ask, and exit 0 or 1; 2 without an address."""
    listen = os.environ.get("SKREI_HEALTH_LISTEN", "")
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        sys.exit("skrei: set SKREI_HEALTH_LISTEN (host:port) for the service and for this check")
    path = "/healthz" if "--live" in sys.argv[1:] else "/readyz"
    try:
        answer = ask(_NEAR.get(host.strip("[]"), host.strip("[]")), int(port), path)
    except OSError as error:
        sys.exit(f"skrei: nothing answers at {listen}: {error}")
    head, _, body = answer.partition("\r\n\r\n")
    if " 200 " not in head.partition("\r\n")[0]:
        sys.exit(f"skrei: {path}: {body.strip() or head.partition(chr(13))[0] or 'no answer'}")


def ask(host: str, port: int, path: str) -> str:
    """Return what is answered, head and body. Raises OSError where nothing is."""
    found = b""
    with socket.create_connection((host, port), ANSWER_SECONDS) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
        while len(found) < MOST_BYTES and (piece := sock.recv(MOST_BYTES)):
            found += piece
    return found.decode("utf-8", "replace")


if __name__ == "__main__":
    main()
