"""Where everything is and who is let in: options, environment, config file and defaults, in that order."""

import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from skrei_domain.errors import Unavailable
from skrei_embedded.environment import Addresses, config_settings
from skrei_embedded.keys import Keys
from skrei_embedded.nats import free_port
from skrei_kit import nats_auth

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class StackOptions:
    """What `skrei serve` was asked for. A port of 0 takes a free one."""

    orchestrator: bool = True
    compute: bool = True
    data_dir: Path | None = None
    host: str | None = None
    port: int = 1234
    publisher_port: int = 1235
    nats_port: int = 4222
    database_url: str | None = None
    nats_url: str | None = None
    nats_creds: Path | None = None
    schedulers: int = 1
    allow_local: tuple[str, ...] = ()
    config: Path | None = None
    log_level: str = "info"

    def to_json(self) -> str:
        """Return the options as text, for another process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "StackOptions":
        """Return what `to_json` wrote."""
        told = json.loads(text)
        paths = {name: Path(told[name]) for name in ("data_dir", "nats_creds", "config") if told[name] is not None}
        return cls(**{**told, **paths, "allow_local": tuple(told["allow_local"])})


class Whereabouts:
    """Answers for one start. `keys` is set once they are made."""

    def __init__(self, options: StackOptions) -> None:
        named = os.environ.get("SKREI_CONFIG", "")
        self._options = options
        self.settings = config_settings(options.config or (Path(named) if named else None))
        self.keys: Keys | None = None

    def given(self, flag: str | None, name: str) -> str:
        """Return what was said of a setting: by flag, environment, or config file; empty when nothing was."""
        return flag or os.environ.get(f"SKREI_{name.upper()}", "") or self.settings.get(name, "")

    def creds(self, user: str) -> Path | None:
        """Return a user's credentials file: the one that was named, else our own."""
        given = self.given(str(self._options.nats_creds) if self._options.nats_creds else None, "nats_creds")
        if given or self.keys is None:
            return Path(given).absolute() if given else None
        return self.keys.creds(user)

    @property
    def node_id(self) -> str:
        """The id of this machine's node: the one that its credentials name, else our own."""
        creds = self.creds("node")
        with contextlib.suppress(OSError, ValueError):
            name = nats_auth.name_in_creds(creds.read_text("utf-8")) if creds else ""
            if name.startswith("n-"):
                return name
        return self.keys.node_id if self.keys is not None else ""

    def addresses(self, database_url: str, nats_url: str) -> Addresses:
        """Return all addresses, with free ports where 0 was asked for."""
        options = self._options
        host = self.given(options.host, "api_host") or LOOPBACK
        port = options.port or free_port()
        publisher_port = options.publisher_port or free_port()
        return Addresses(
            database_url=database_url,
            nats_url=nats_url,
            api_host=host,
            api_port=port,
            api_url=self.given(None, "api_url") or f"http://{near_host(host)}:{port}",
            publisher_host=host,
            publisher_port=publisher_port,
            publisher_url=self.given(None, "publisher_url") or f"http://{near_host(host)}:{publisher_port}",
        )


def near_host(host: str) -> str:
    """Return how this machine reaches a server that listens on `host`."""
    return LOOPBACK if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host


def check_ports(addresses: Addresses) -> None:
    """Raise Unavailable, naming the flag, when somebody else has one of our ports."""
    check_free(addresses.api_host, addresses.api_port, "--port")
    check_free(addresses.publisher_host, addresses.publisher_port, "--publisher-port")


def check_free(host: str, port: int, flag: str) -> None:
    """Raise Unavailable, naming the flag, when somebody else listens there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(
                f"{host}:{port} cannot be listened on: {error.strerror}",
                hint=f"stop what listens there, or choose another port with {flag}",
            ) from error
