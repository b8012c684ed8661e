"""Where everything is and who is let in: options, environment, config file and defaults, in that order."""

import contextlib
import functools
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from skrei_domain.errors import Invalid, Unavailable
from skrei_embedded.doors import Listen, bracketed, check_free, near_host, read_listen
from skrei_embedded.environment import Addresses, config_settings
from skrei_embedded.nats import WebSocketDoor, free_port
from skrei_kit import nats_auth
from skrei_kit.cluster_keys import Keys
from skrei_kit.join import Joined


@dataclass(frozen=True)
class StackOptions:
    """What `skrei serve` was asked for. A port of 0 takes a free one."""

    orchestrator: bool = True
    compute: bool = True
    data_dir: Path | None = None
    listen: str | None = None
    port: int = 1234
    publisher_port: int = 1235
    nats_port: int = 4222
    nats_websocket_port: int = 0
    """Where the embedded server is reached over HTTP too; 0: nowhere."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    """The certificate of that port and its key; none: a proxy before it speaks TLS."""
    database_url: str | None = None
    nats_url: str | None = None
    nats_creds: Path | None = None
    join: str | None = None
    token: str | None = field(default=None, repr=False)
    take_over: bool = False
    schedulers: int = 1
    allow_local: tuple[str, ...] = ()
    config: Path | None = None
    log_level: str = "info"
    idle_minutes: float = 0.0
    """Stop after so long without a request and without a job that has not ended; 0 never."""

    def to_json(self) -> str:
        """Return the options as text, for another process; without the token, which is not to be an argument."""
        return json.dumps(asdict(self) | {"token": None}, default=str)

    @classmethod
    def from_json(cls, text: str) -> "StackOptions":
        """Return what `to_json` wrote."""
        told = json.loads(text)
        paths = {
            name: Path(told[name])
            for name in ("data_dir", "nats_creds", "config", "tls_cert", "tls_key")
            if told[name] is not None
        }
        return cls(**{**told, **paths, "allow_local": tuple(told["allow_local"])})


class Whereabouts:
    """Answers for one start. `keys` is set once they are made, `joined` once this machine is a node of another's."""

    def __init__(self, options: StackOptions) -> None:
        named = os.environ.get("SKREI_CONFIG", "")
        self._options = options
        self.settings = config_settings(options.config or (Path(named) if named else None))
        self.keys: Keys | None = None
        self.joined: Joined | None = None
        self.listen = read_listen(options.listen) if options.orchestrator else Listen()

    def given(self, flag: str | None, name: str) -> str:
        """Return what was said of a setting: by flag, environment, or config file; empty when nothing was."""
        found = flag or os.environ.get(f"SKREI_{name.upper()}", "") or self.settings.get(name, "")
        return found or (getattr(self.joined, name, "") if self.joined is not None else "")

    def _api_url(self) -> str:
        """Return where the API is, as far as that was said.

        SKREI_API_URL says to clients which control plane they talk to: it names neither the one that is started here
        nor the one that this node has joined.
        """
        if self._options.orchestrator:
            return self.settings.get("api_url", "")
        return self.joined.api_url if self.joined is not None else self.given(None, "api_url")

    def creds(self, user: str) -> Path | None:
        """Return a user's credentials file: the one that was named, else our own."""
        given = self.given(str(self._options.nats_creds) if self._options.nats_creds else None, "nats_creds")
        if given or self.keys is None:
            return Path(given).absolute() if given else None
        return self.keys.creds(user)

    def check_creds(self) -> None:
        """Raise Unavailable, saying who named it, when the credentials file that was named cannot be used."""
        flag = str(self._options.nats_creds) if self._options.nats_creds else None
        given = self.given(flag, "nats_creds")
        if not given:
            return
        named = (
            "--nats-creds" if flag else "SKREI_NATS_CREDS" if os.environ.get("SKREI_NATS_CREDS") else "the config file"
        )
        hint = "name the file that the orchestrator's operator gave you for this node"
        try:
            text = Path(given).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else "it is not text"
            raise Unavailable(f"{given} ({named}) cannot be read: {what}", hint=hint) from error
        try:
            nats_auth.name_in_creds(text)
        except ValueError as error:
            raise Unavailable(f"{given} ({named}) is no credentials file", hint=hint) from error

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
        options, told = self._options, self.listen.told
        host = self.given(None, "api_host") or ",".join(self.listen.hosts)
        port = options.port or free_port()
        publisher_port = options.publisher_port or free_port()
        near = near_host(host)
        api_url = self._api_url() or (f"http://{near}:{port}" if options.orchestrator else "")
        publisher_url = self.given(None, "publisher_url")
        return Addresses(
            database_url=database_url,
            nats_url=nats_url,
            api_host=host,
            api_port=port,
            api_url=api_url,
            publisher_host=host,
            publisher_port=publisher_port,
            publisher_url=publisher_url or f"http://{near}:{publisher_port}",
            join_url=f"http://{bracketed(told)}:{port}" if told else "",
            public_publisher_url=publisher_url or (f"http://{bracketed(told)}:{publisher_port}" if told else ""),
            own_nats=not self.given(options.nats_url, "nats_url"),
            public_nats_urls=self._public_nats_urls(nats_url),
        )

    def _public_nats_urls(self, nats_url: str) -> str:
        """Return by which ways nodes elsewhere reach the embedded server; empty where there is only the usual one."""
        door, told = self.websocket, self.listen.told
        if door is None or not told or self.given(self._options.nats_url, "nats_url"):
            return ""
        host = bracketed(told)
        return f"nats://{host}:{urlsplit(nats_url).port},{door.scheme}://{host}:{door.port}"

    @functools.cached_property
    def websocket(self) -> WebSocketDoor | None:
        """Where the embedded nats-server listens for WebSockets. Raises Invalid for half of a certificate."""
        options = self._options
        if not options.nats_websocket_port:
            return None
        if (options.tls_cert is None) is not (options.tls_key is None):
            raise Invalid("--tls-cert and --tls-key belong together", hint="name both files, or neither")
        certificate, key = (str(path.absolute()) if path else "" for path in (options.tls_cert, options.tls_key))
        return WebSocketDoor(options.nats_websocket_port, certificate, key)


def check_ports(addresses: Addresses) -> None:
    """Raise Unavailable, naming the flag, when somebody else has one of our ports."""
    check_free(addresses.api_host, addresses.api_port, "--port")
    check_free(addresses.publisher_host, addresses.publisher_port, "--publisher-port")
