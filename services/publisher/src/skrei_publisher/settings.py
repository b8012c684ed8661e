"""What a publisher is told before it starts: one frozen object, read from `SKREI_*` variables, passed down."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field, field_validator

from skrei_domain.retention import LOGS, parse_policy
from skrei_kit.settings import LogLevel, items, pairs
from skrei_kit.settings import Settings as Base
from skrei_plugin_api.outbound import networks
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.upload_staging import StagingLimits

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Settings(Base):
    """A publisher's settings; each says what it is, its unit, and why its default is what it is."""

    nats_url: str = "nats://127.0.0.1:4222"
    """Where the transport is."""

    nats_creds: Path | None = None
    """The publisher's credentials file; none only for a server without accounts (tests)."""

    nats_ca: Path | None = None
    """The certificates (PEM) that vouch for the transport where it has TLS; none: those that this machine trusts."""

    token_public_key: Path
    """The control plane's token-signing key, its public half (PEM): what opens the door is signed with the other."""

    receipt_key: Path | None = None
    """The publisher's own key (PEM), which signs receipts of uploads; none: it takes no uploads."""

    publisher_host: str = "127.0.0.1"
    """The addresses of the door, `a,b`: this machine alone, unless somebody says otherwise."""

    publisher_port: int = 1235
    """The port of the door; beside the API's 1234."""

    api_url: str = "http://127.0.0.1:1234"
    """Where inline results are fetched."""

    internal_token_file: Path
    """The token for the API's internal routes, in a file: an environment is readable by more than a 0600 file."""

    data_dir: Path = Path("~/.skrei/publisher")
    """The result store: a directory with one writer."""

    plugin_options: dict[str, str] = Field(default_factory=dict)
    """What publishers are told, `s3managed_bucket=results`; docs/RESULTS.md lists the options."""

    allow_addresses: tuple[str, ...] = ()
    """Private networks that results may be sent to where a job names the server; else public addresses alone."""

    log_level: LogLevel = "info"
    """The least level that is logged."""

    retention: dict[str, str] = Field(default_factory=dict)
    """How long what jobs leave is kept; the scheduler's setting of the same name, which says when each goes. Here it
    bounds logs, of which nobody may speak any more."""

    retention_days: float = Field(default=0.0, ge=0)
    """After how many days a result goes whatever the leader says; 0: it alone says, who knows what is needed."""

    quota_bytes: int = 20 * GIB
    """What the store may hold, uploads that are under way included; above it nothing is taken over (it stays in the
    record) and no upload begins (its node waits, then says so) until something expires."""

    node_share_percent: int = Field(default=50, ge=1, le=100)
    """What one node may take, of the room, the uploads under way and the logs, of what the others have left: half, so
    that whatever it announces there is room for the next. A result is its node's until it is final."""

    open_uploads: int = Field(default=256, ge=1)
    """Uploads under way at once: each has a file and a few connections; more are told to come again."""

    open_upload_hours: float = Field(default=24.0, gt=0)
    """How long an upload that nobody goes on with is kept: a node that was away for a night goes on where it was."""

    staged_days: float = Field(default=7.0, gt=0)
    """How long an upload that nobody makes final is kept: the leader asks each second, so it was away for as long."""

    publish_seconds: float = Field(default=300.0, gt=0)
    """How long a publisher may take to bring a result that has won to its place, beside the time that its bytes need on
    a slow line; then it is told to leave off, and is tried again."""

    log_stream_bytes: int = Field(default=10 * MIB, ge=0)
    """Of what a running execution says, on each of its two streams: the beginning, so that a flood has an end."""

    log_quota_bytes: int = Field(default=2 * GIB, ge=0)
    """Of all such logs: those of 100 floods at once; above it nodes are told to come again later."""

    manifest_quota_bytes: int = Field(default=2 * GIB, ge=MIB)
    """Of the lists of inputs: of a million objects each has some 40 MB; above it jobs are placed without, until some
    that nobody has read for `staged_days` can make room."""

    retention_interval_seconds: float = 300.0
    """How often expired results are looked for: a walk over the store, cheap beside the days it is about."""

    most_result_bytes: int = MIB
    """The largest result fetched from the API: an inline one has 64 KiB, more is a mistake."""

    fetch_timeout_seconds: float = 10.0
    """A batch of small results from the API beside us; longer means that it is overloaded, and the sweep asks again."""

    store_batch: int = Field(default=64, ge=1, le=256)
    """Results fetched in one request and written with one round of fsync: 4 MiB in memory at most. The API answers
    at most 256 at once."""

    most_pending: int = 20_000
    """Results waiting to be taken over (ids and digests); above it they are left to the leader's sweep."""

    @field_validator("retention", "plugin_options", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        return pairs(value)

    @field_validator("retention")
    @classmethod
    def _retention(cls, value: dict[str, str]) -> dict[str, str]:
        parse_policy(value)
        return value

    @field_validator("allow_addresses", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        return items(value)

    @field_validator("allow_addresses")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(network) for network in networks(value))

    @property
    def plugins(self) -> PluginContext:
        """What publishers are given when they are made."""
        return PluginContext(
            self.data_dir.expanduser() / "plugins",
            allow_addresses=self.allow_addresses,
            options=self.plugin_options,
        )

    @property
    def keep_logs(self) -> timedelta:
        """After how long logs go that nobody has added to, whatever the leader says."""
        return parse_policy(self.retention).longest(LOGS)

    @property
    def keep_others(self) -> timedelta:
        """After how long that goes which was begun and nobody ended, and a list of an input if its room is needed."""
        return timedelta(days=self.staged_days)

    @property
    def staging(self) -> StagingLimits:
        """What uploads may take."""
        return StagingLimits(
            quota_bytes=self.quota_bytes,
            uploads=self.open_uploads,
            open_seconds=self.open_upload_hours * 3600,
            staged_seconds=self.keep_others.total_seconds(),
            node_share_percent=self.node_share_percent,
        )
