"""What a publisher is told before it starts: one frozen object, read from `SKREI_*` variables, passed down."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from skrei_kit.settings import Settings as Base

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Settings(Base):
    """A publisher's settings; each says what it is, its unit, and why its default is what it is."""

    nats_url: str = "nats://127.0.0.1:4222"
    """Where the transport is."""

    nats_creds: Path | None = None
    """The publisher's credentials file; none only for a server without accounts (tests)."""

    token_public_key: Path
    """The control plane's token-signing key, its public half (PEM): what opens the door is signed with the other."""

    publisher_host: str = "127.0.0.1"
    """The address of the door: this machine alone, unless somebody says otherwise."""

    publisher_port: int = 1235
    """The port of the door; beside the API's 1234."""

    api_url: str = "http://127.0.0.1:1234"
    """Where inline results are fetched."""

    internal_token_file: Path
    """The token for the API's internal routes, in a file: an environment is readable by more than a 0600 file."""

    data_dir: Path = Path("~/.skrei/publisher")
    """The result store: a directory with one writer."""

    log_level: str = "info"
    """The least level that is logged."""

    retention_days: float = 7.0
    """How long a result is kept: long enough to come back to after a weekend, short enough that disks do not fill."""

    quota_bytes: int = 20 * GIB
    """What the store may hold; above it nothing is taken over (it stays in the record) until something expires."""

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

    @property
    def retention(self) -> timedelta:
        """How long a result is kept."""
        return timedelta(days=self.retention_days)
