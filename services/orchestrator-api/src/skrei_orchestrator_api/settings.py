"""What the API is told before it starts: one frozen object, read from `SKREI_*` variables, passed down."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from skrei_domain.retention import Policy, parse_policy, policy_of
from skrei_kit.settings import LogLevel, pairs
from skrei_kit.traced import TracedSettings

MIB = 1024 * 1024
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class Settings(TracedSettings):
    """The API's settings; each says what it is, its unit, and why its default is what it is."""

    database_url: SecretStr
    """Where the record is."""

    nats_url: str = "nats://127.0.0.1:4222"
    """Where the transport is."""

    nats_creds: Path | None = None
    """The API's credentials file; none only for a server without accounts (tests)."""

    nats_ca: Path | None = None
    """The certificates (PEM) that vouch for the transport where it has TLS; none: those that this machine trusts. Nodes
    that join are given them."""

    token_key: Path
    """The control plane's token-signing key (PEM): signs download addresses."""

    token_public_key: Path
    """Its public half: checks the tokens that nodes show."""

    internal_token_file: Path
    """The token that the publisher shows, in a file: an environment is readable by more than a 0600 file."""

    owner_token_file: Path | None = None
    """The token that proves the owner, in a file; none: nobody can, and only this machine is let in."""

    join_token_file: Path | None = None
    """The token that another machine shows to become a node, in a file; none: nobody can join."""

    revoked_keys_file: Path | None = None
    """Where keys of nodes that are let in no more are written, for who runs the nats-server; none: it is not ours."""

    revoked_keys_asked: bool = False
    """Whether somebody asks this server for those keys, and tells the nats-server (`skrei-cluster-init keep-out`)."""

    rotate_hint: str = ""
    """What the owner does for a new join token where `join_token_file` cannot be written here, as in a volume that a
    Secret makes; empty: the file is changed where it comes from."""

    revoke_hint: str = ""
    """What the owner does so that the transport refuses a key that was revoked, where `revoked_keys_file` alone does
    not do it; `{keys}` in it becomes all revoked keys. Empty: that file does; without one no key is revoked here."""

    node_signer: Path | None = None
    """The key that signs joining nodes for the transport (a JSON file); none: nobody can join."""

    node_credentials_hours: float = Field(default=168.0, ge=0)
    """How long what a joined node was given lets it in at the transport, in hours; 0: without end. It renews it at half
    of that: a copied one is worth a week at most, and no outage of this API of three days cuts a node off."""

    join_url: str = ""
    """This API as other machines reach it: it stands in the line that they join by; empty: only this machine does."""

    nats_public_url: str = ""
    """The transport as nodes reach it, of several ways (`nats://a:4222,wss://a:443`) the best first; empty: `nats_url`,
    with the host that they asked for where it is loopback."""

    trust_loopback: bool = True
    """Whether programs of this machine need no token; say no where a proxy beside the server adds no header."""

    api_host: str = "127.0.0.1"
    """The addresses to listen on, `a,b`: this machine alone, unless somebody says otherwise."""

    api_port: int = 1234
    """The port that clients expect."""

    api_url: str = ""
    """What clients call this server, where that is not its address."""

    publisher_url: str = "http://127.0.0.1:1235"
    """The publisher's door as clients reach it: download addresses begin with it."""

    publisher_internal_url: str = ""
    """The same door as this server and nodes reach it, where that is another address, as between containers; empty: it
    is not."""

    api_allowed_hosts: tuple[str, ...] = ()
    """More names that programs and pages of this machine may call this server by, `a.example,b.example`."""

    api_cors_origins: tuple[str, ...] = ()
    """Origins of pages that may read answers, `https://ui.example,http://localhost:3000`; none unless somebody says so:
    a page of another site must not drive a local server."""

    log_level: LogLevel = "info"
    """The least level that is logged."""

    api_pool_size: int = 3
    """Connections to the record, each a process of 4 MB there: reads take under a millisecond, and submissions share
    one commit."""

    max_body_bytes: int = 10 * MIB
    """The largest request: room for a module inline; larger inputs have storages of their own."""

    request_timeout_seconds: float = 30.0
    """How long one request may take: what API clients expect of this API."""

    requests_per_second: int = 5_000
    """Requests of one address: well above what one process answers, so it only bounds a flood."""

    batch_items: int = 256
    """Submissions in one commit: a commit of that size takes about 20 ms, so nobody waits long for it."""

    batch_bytes: int = 16 * MIB
    """Bytes in one commit: one request of the largest size, and its company."""

    waiting_bytes: int = 64 * MIB
    """Bytes of submissions that wait for their commit; above it the door answers 503."""

    hint_bytes: int = 64 * 1024
    """A hint carries its jobs while they are small; above it the leader reads the record, which is as fast."""

    download_seconds: int = 3600
    """How long a download address works."""

    result_ttl_hours: float = 168.0
    """How long results are kept where `retention` does not say; the scheduler's setting of the same name, to say so."""

    retention: dict[str, str] = Field(default_factory=dict)
    """How long what jobs leave is kept; the scheduler's setting of the same name, to refuse what asks for more."""

    event_listeners: int = 1_000
    """Readers of events at once: each holds a connection, and reads the record when its job changes."""

    node_change_seconds: float = 2.0
    """How long the leader may take to carry out a change of a node before it is answered as written down."""

    log_readers: int = 128
    """Readers of logs at once: each may hold 2.5 MiB for a slow reader; more are told to come again."""

    log_silence_seconds: float = 10.0
    """How long a node may take to answer a log reader."""

    @field_validator("retention", mode="before")
    @classmethod
    def _kept(cls, value: object) -> object:
        return pairs(value)

    @field_validator("retention")
    @classmethod
    def _retention(cls, value: dict[str, str]) -> dict[str, str]:
        parse_policy(value)
        return value

    @property
    def near_publisher_url(self) -> str:
        """The publisher's door as this server reaches it."""
        return (self.publisher_internal_url or self.publisher_url).rstrip("/")

    @property
    def policy(self) -> Policy:
        """How long what jobs leave is kept."""
        return policy_of(self.retention, results_hours=self.result_ttl_hours)

    @field_validator("api_allowed_hosts", "api_cors_origins", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value

    @property
    def hosts(self) -> frozenset[str]:
        """The names that programs and pages of this machine may call this server by."""
        own = urlsplit(self.api_url).hostname
        return (
            LOCAL_HOSTS
            | {host.strip() for host in self.api_host.split(",")}
            | set(self.api_allowed_hosts)
            | ({own} if own else set())
        )
