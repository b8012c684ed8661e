"""Settings of the scheduler."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from skrei_domain.destinations import STORE
from skrei_domain.retention import Policy, parse_policy, policy_of
from skrei_kit.settings import LogLevel, pairs
from skrei_kit.tokens import UploadGrant
from skrei_kit.topology import LEAST_BYTES, MOST_BYTES
from skrei_kit.traced import TracedSettings


class SchedulerSettings(TracedSettings):
    """What the scheduler needs to know; names in the environment carry the prefix `SKREI_`."""

    database_url: SecretStr = Field(description="The record: postgresql://… (a unix socket as ?host=/folder).")
    nats_url: str = Field("nats://127.0.0.1:4222", description="The transport.")
    nats_creds: Path | None = Field(None, description="Credentials file of the scheduler's NATS user.")
    nats_ca: Path | None = Field(
        None, description="PEM file that vouches for a transport with TLS; none: what this machine trusts."
    )
    token_key: Path = Field(description="PEM file of the key that signs run tokens; shared with the API alone.")
    api_url: str = Field("", description="Where nodes reach the API (blobs); their hellos are answered with it.")
    publisher_url: str = Field("", description="Where nodes reach the publisher's door; told with the same answer.")
    log_level: LogLevel = Field("info", description="debug, info, warning or error.")
    heartbeat_seconds: float = Field(
        5.0, gt=0, description="How often a node says that it lives: 400 messages/s at 2,000 nodes."
    )
    missed_heartbeats: int = Field(
        3, ge=2, description="After so many missed ones a node is disconnected: one lost message must not do it."
    )
    manual_approval: bool = Field(
        False, description="Whether a node that nobody knew waits until somebody approves it (`node approve`)."
    )
    capability_seconds: float = Field(
        900.0,
        ge=0,
        description="How long an engine, storage, label or size that a node lost is waited for: a daemon is upgraded, "
        "a machine rebooted, in less.",
    )
    ephemeral_hours: float = Field(
        24.0,
        ge=0,
        description="How long a node with the label `ephemeral` may be away before it is forgotten, once nothing is "
        "left on it; 0: never. Who scales down for a night finds it again.",
    )
    hold_after_seconds: float = Field(
        60.0,
        ge=0,
        description="How long the first in line is overtaken by smaller jobs before a node is held for it: most of "
        "what runs ends within that.",
    )
    lease_seconds: float = Field(
        3.0, ge=1, description="How long leadership outlives its last renewal; a takeover takes at most 2 s more."
    )
    linger_seconds: float = Field(
        0.005, ge=0, le=0.05, description="How long a commit waits for company under load (never when idle)."
    )
    stream_bytes: int = Field(
        MOST_BYTES,
        ge=LEAST_BYTES,
        description="The most that each stream of the transport holds, on its disk; `skrei serve` says 31 MiB to a "
        "transport of its own. What is dropped is told again by whoever owns it.",
    )
    take_over_after_seconds: float = Field(
        1.0, ge=0, description="Inline results older than this are handed to the publisher, in bulk."
    )
    result_ttl_hours: float = Field(
        7 * 24,
        gt=0,
        description="How long results are kept where `retention` does not say; a week covers a holiday and bounds the "
        "disk.",
    )
    retention: dict[str, str] = Field(
        default_factory=dict,
        description="How long what jobs leave is kept: `results=7d,logs=3d,history=90d`, with `.max` for the most that "
        "a job may ask for, and `NAMESPACE:` before for one namespace.",
    )
    collect_seconds: float = Field(
        300.0, gt=0, description="How often it is looked for what may go: a walk over the jobs, cheap beside days."
    )
    receipt_public_key: Path | None = Field(
        None, description="PEM file of the key that the publisher signs receipts with, its public half."
    )
    most_upload_bytes: int = Field(
        64 * 2**30, gt=0, description="The largest result that may be uploaded: what clients unpack at most."
    )
    upload_hours: float = Field(
        7 * 24,
        gt=0,
        description="How long a run token opens the publisher's door: a node that was cut off brings its results late.",
    )
    token_hours: float = Field(
        24.0,
        gt=0,
        description="How long a run token opens its blobs: an edge node may fetch inputs long after it was told.",
    )

    @field_validator("retention", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        return pairs(value)

    @field_validator("retention")
    @classmethod
    def _retention(cls, value: dict[str, str]) -> dict[str, str]:
        parse_policy(value)
        return value

    @property
    def policy(self) -> Policy:
        """How long what jobs leave is kept."""
        return policy_of(self.retention, results_hours=self.result_ttl_hours)

    @property
    def door(self) -> str:
        """Where nodes bring results; empty where receipts of it could not be verified."""
        return self.publisher_url if self.receipt_public_key is not None else ""

    @property
    def upload_grant(self) -> UploadGrant | None:
        """What a run token allows at the publisher's door."""
        return UploadGrant(STORE, self.most_upload_bytes, self.upload_hours * 3600) if self.door else None
