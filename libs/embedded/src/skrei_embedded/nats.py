"""A real nats-server of our own: configured with our authority, started, and known to be ready."""

import contextlib
import os
import secrets
import signal
import socket
import tempfile
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from skrei_domain.errors import Unavailable
from skrei_embedded.doors import bracketed, near_host
from skrei_embedded.installs import find_nats_server
from skrei_embedded.postgres import OLD_LOG_BYTES
from skrei_embedded.processes import Process, Spawner, end
from skrei_kit import nats_auth
from skrei_kit.secret_files import write_secret

HEAP_GROWTH_PERCENT = 10
"""By how much Go's heap may grow before it collects; without, it doubles (measured: 118 MB). No limit on the whole:
what the server has to hold grows with its streams' open blocks and its nodes, and near a limit it does nothing but
collect."""
MAX_PAYLOAD_BYTES = 512 * 1024 + 64 * 1024  # DESIGN: no message over 512 KiB; headers and envelopes come on top
STORE_BYTES = 4 * 1024**3  # the sum of the streams' own limits, with room
START_SECONDS = 20.0  # a store of a GiB is read in a second
STOP_SECONDS = 1.5
ROOM_BYTES = 16 * 1024**2  # two of the blocks that a stream is stored in: less is full again in a moment
PAGE_BYTES = 64 * 1024  # read of its log, or written to its disk, in one go
_NOT_STORED = b"JetStream failed to store a msg"
"""What it logs of each message from the first on that met a full disk: it keeps the stream's error until it ends."""
TIMER_SLACK_SECONDS = 0.002
"""How late its timers may wake it: after a message Go's own watch over its threads wakes every 20 µs for a
millisecond or more, and interrupts each time who works on that core."""
_PORTS_GIVEN: deque[int] = deque(maxlen=1_000)  # a stack takes four


class NatsFailed(Unavailable):
    """The nats-server could not be started."""

    code = "nats-failed"


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """Where it listens, and whom it trusts (`trust`: lines of nats.conf; none lets everybody in, for tests)."""

    port: int
    host: str = "127.0.0.1"
    trust: str = ""
    websocket: "WebSocketDoor | None" = None


@dataclass(frozen=True, slots=True)
class WebSocketDoor:
    """Where it listens for WebSockets too, with TLS where `certificate` and `key` name files."""

    port: int
    certificate: str = ""
    key: str = ""

    @property
    def scheme(self) -> str:
        """How its addresses begin."""
        return "wss" if self.certificate else "ws"


class NatsServer:
    """One nats-server, keeping its store in `data_dir`/nats."""

    def __init__(self, data_dir: Path, options: NatsOptions, spawner: Spawner) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / "nats"
        self._options = options
        self._spawner = spawner
        self._name = f"skrei-{secrets.token_hex(8)}"
        self._log = data_dir / "logs" / "nats.log"
        self._log_read = 0
        self._not_stored = False
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """Where clients of this machine connect."""
        return f"nats://{near_host(self._options.host)}:{self._options.port}"

    def trust(self, lines: str) -> None:
        """Trust whom these lines of nats.conf name from now on; a server that runs reads them again.

        It closes the connections of users that they revoke.
        """
        self._options = replace(self._options, trust=lines)
        self.prepare()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)

    def prepare(self) -> None:
        """Write the configuration."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_secret(self._folder / "nats.conf", self._config())

    def spawn(self) -> Process:
        """Start the server and return at once. Call it from the main thread."""
        self._log.parent.mkdir(mode=0o700, exist_ok=True)
        if self._log.exists() and self._log.stat().st_size > OLD_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.old"))
        with self._log.open("ab") as log:
            self._log_read, self._not_stored = log.tell(), False
            self.process = self._spawner.start(
                [str(find_nats_server()), "-c", str(self._folder / "nats.conf")],
                environment={"PATH": os.defpath, "GOGC": str(HEAP_GROWTH_PERCENT)},
                log=log,
                death_signal=signal.SIGTERM,
                timer_slack_seconds=TIMER_SLACK_SECONDS,
            )
        return self.process

    def is_ready(self) -> bool:
        """Whether it greets clients. Raises NatsFailed when it has ended instead."""
        assert self.process is not None, "spawned before"
        if self.process.poll() is not None:
            raise NatsFailed(
                f"nats-server ended while it started (is port {self._options.port} in use?); "
                f"see {self._data_dir}/logs/nats.log",
                hint="choose another port with --nats-port",
            )
        try:
            near = near_host(self._options.host).strip("[]")
            with socket.create_connection((near, self._options.port), timeout=1) as link:
                return self._name.encode() in link.recv(4_096)  # its greeting; another may hold the port
        except OSError:
            return False

    def stores_no_more(self) -> bool:
        """Whether the server that runs has failed to store a message, as its log tells: from then on it stores none."""
        with contextlib.suppress(OSError):  # somebody rotates it: it is looked at again in a second
            size = self._log.stat().st_size
            if size > self._log_read:
                with self._log.open("rb") as log:
                    log.seek(max(self._log_read, size - PAGE_BYTES))
                    self._not_stored = _NOT_STORED in log.read(PAGE_BYTES) or self._not_stored
            self._log_read = size
        return self._not_stored

    def has_room(self) -> bool:
        """Whether its disk has room, for whoever runs it; quotas count."""
        try:
            with tempfile.TemporaryFile(dir=self._folder) as room:
                for _ in range(ROOM_BYTES // PAGE_BYTES):
                    room.write(bytes(PAGE_BYTES))
                room.flush()
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Prepare, spawn and wait until it greets clients."""
        self.prepare()
        self.spawn()
        until = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if time.monotonic() > until:
                self.stop()
                raise NatsFailed(f"nats-server did not start within {START_SECONDS:g} s")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it; what its streams hold stays on disk."""
        if self.process is not None:
            end(self.process, wait_seconds=STOP_SECONDS)

    def _config(self) -> str:
        return (
            f"# Written at each start; change the options of `skrei serve` instead.\n"
            f"server_name: {self._name}\n"
            f"listen: {_quoted(f'{bracketed(self._options.host)}:{self._options.port}')}\n"
            f"max_payload: {MAX_PAYLOAD_BYTES}\n"
            f"jetstream {{ store_dir: {_quoted(str(self._folder / 'store'))}, max_file_store: {STORE_BYTES}, "
            f"domain: {nats_auth.DOMAIN} }}\n"
            f"{self._websocket()}{self._options.trust}"
        )

    def _websocket(self) -> str:
        door = self._options.websocket
        if door is None:
            return ""
        files = f"cert_file: {_quoted(door.certificate)}, key_file: {_quoted(door.key)}"
        tls = f"tls {{ {files} }}" if door.certificate else "no_tls: true"
        return f"websocket {{ listen: {_quoted(f'{bracketed(self._options.host)}:{door.port}')}, {tls} }}\n"


def free_port() -> int:
    """Return a port of loopback that nobody listens on right now, and that was not returned before.

    Whom it was given to may not have opened it yet: the kernel would give the next one the same.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _PORTS_GIVEN:
            _PORTS_GIVEN.append(port)
            return port


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
