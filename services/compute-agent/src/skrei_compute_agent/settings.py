"""What a node is told before it starts: one frozen object, read from `SKREI_*` variables, passed down."""

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator

from skrei_compute_agent.pace import LEAST_RATE_BYTES
from skrei_domain.bounds import LOWEST_PORT
from skrei_domain.data_sets import DATA_FILE, parse_declared
from skrei_domain.node_services import SERVICES_FILE, parse_offered
from skrei_domain.resources import parse_bytes, parse_cpu, parse_share
from skrei_kit.settings import LogLevel, items, pairs
from skrei_kit.settings import Settings as KitSettings

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Settings(KitSettings):
    """A compute node's settings; each says what it is, its unit, and why its default is what it is."""

    nats_url: str = "nats://127.0.0.1:4222"
    """Where the transport is."""

    nats_domain: str = ""
    """What the control plane's streams are called behind a site's own nats-server (`skrei`, docs/EDGE.md); empty: this
    node is connected to where they are."""

    nats_creds: Path | None = None
    """The node's credentials file; none only for a server without accounts (tests)."""

    nats_ca: Path | None = None
    """The certificates (PEM) that vouch for the transport where it has TLS; none: those that this machine trusts."""

    api_url: str = ""
    """Where blobs are fetched; empty: where the control plane says that its API is."""

    publisher_url: str = ""
    """The publisher's door, where results and output are sent; empty: where the leader says that it is."""

    data_dir: Path = Path("~/.skrei/agent")
    """Journal, cache and the executions' folders."""

    node_id: str = ""
    """The node's id; empty: the journal's, which is made at the first start."""

    name: str = ""
    """The node's name for people; empty: the host's name."""

    log_level: LogLevel = "info"
    """The least level that is logged."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels for constraints, `key=value,key=value`."""

    allow_local: tuple[str, ...] = ()
    """Host paths that the `local` storage may hand out, `/data/**,/mnt/x:rw`: nothing unless named."""

    send_left: bool = False
    """Whether what jobs left on this node (`localDirectory`) is sent to whoever may fetch their results. Off: such a
    result stays because it may not leave the house, and its owner says when it may."""

    owner_paths: bool = False
    """Whether what the control plane's owner submits may read whatever this node's user can: on his own machine alone,
    so `skrei serve` says it to the node that it runs beside the control plane, and to no other."""

    data: dict[str, str] = Field(default_factory=dict)
    """Data sets that jobs may name, `books=/srv/books,out=/srv/out:rw`: nothing unless named. Others are declared with
    `skrei node data add`."""

    services: dict[str, str] = Field(default_factory=dict)
    """Services of this node that jobs may use, `mongodb=127.0.0.1:27017,duckdb=file:///srv/x.duckdb`: nothing unless
    named. Others are declared with `skrei node service add`."""

    allow_env: tuple[str, ...] = ()
    """Host variables that a task may ask for with `env:NAME` (`*` and `?`): nothing unless named."""

    port_range: str = "20000-32000"
    """Ports of this node that are given to jobs which ask for any: above those of known services, below those that
    systems give to outgoing connections."""

    port_address: str = "127.0.0.1"
    """Where jobs' ports are opened: on this machine alone unless an address of it is named (`0.0.0.0`: every one)."""

    port_host: str = ""
    """What others call this node where its ports are told; empty: the address, or this machine's name if that is every
    address."""

    allow_addresses: tuple[str, ...] = ()
    """Private addresses that the filter of networks lets jobs reach, `10.1.0.0/16,192.168.0.7`: none unless named, so
    that no job looks around in the network that the node stands in."""

    reject_networked_jobs: bool = False
    """Whether jobs get no network here: those that ask for one are refused, `Default` means none."""

    plugin_options: dict[str, str] = Field(default_factory=dict)
    """What plugins are told, `docker_staging=volume,docker_pids=500`; docs/ENGINES.md lists the options."""

    engines: tuple[str, ...] = ()
    """The engines that this node offers, `kubernetes,docker`; empty: every one that is installed and works here."""

    engine_aliases: dict[str, str] = Field(default_factory=dict)
    """Engines that others of this node stand in for, `docker=kubernetes`: jobs for Docker run unchanged in pods. None
    unless somebody says so; an engine of that name that is installed, too, is not used."""

    capacity_cpu: str = ""
    """Cores to hand out, or a share of them (`80%`); empty: all."""

    capacity_memory: str = ""
    """Memory to hand out, or a share; empty: 80 % of what the machine has, the rest is the system's."""

    capacity_disk: str = ""
    """Disk to hand out, or a share of what is free; empty: 80 % of what is free under the data folder at the start."""

    cache_bytes: int = 2 * GIB
    """How much of the disk fetched inputs may keep: a few images or data sets; the least used go first."""

    input_bytes: int = 10 * GIB
    """The largest single blob that is fetched, so that one job cannot fill the disk."""

    listing_files: int = Field(default=5_000_000, ge=1)
    """Files of one input, for all partitions together: a listing of five million takes minutes and some hundred MB of
    disk; whoever has more names fewer by a prefix or a filter."""

    probe_seconds: float = 5.0
    """How often the node looks at what it can do: what comes or goes is to be known within ten seconds."""

    probe_limit_seconds: float = 3.0
    """How long one engine, storage or driver may take to say whether it works; then it counts as away."""

    near_seconds: float = Field(default=600.0, ge=0)
    """How often the node measures how far the S3 servers are that it knows, and looks what its IPFS daemon has pinned:
    neither changes much within ten minutes, and a daemon lists thousands of names for it. 0: never."""

    parallel_stages: int = 8
    """How many executions fetch inputs at once: more only share the same link and disk."""

    output_stream_bytes: int = Field(default=GIB, ge=KIB)
    """What is kept of an execution's stdout, and of its stderr: more than anybody reads, and no disk is filled by one
    program. A line at the end says so; the program goes on."""

    log_ship_bytes_per_second: int = MIB
    """Of what running executions say, sent to the publisher by the whole node: what an ordinary link does not notice.
    0 sends nothing before an execution has ended."""

    max_upload_rate: str = ""
    """Bytes a second that results, and logs on their way to be kept, may take of this node's link, all together:
    `250KB`, `2MiB`; empty: all that there is. What goes by the transport is beside it: heartbeats, facts, and output
    that somebody looks at while it is said."""

    store_full_seconds: float = Field(default=600.0, ge=0)
    """How long a full result store is asked again: results expire, people make room. Then the execution fails."""

    @field_validator("labels", "plugin_options", "engine_aliases", "data", "services", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        return pairs(value)

    @field_validator("data")
    @classmethod
    def _declared(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: parse_declared(name, text).text for name, text in value.items()}

    @field_validator("services")
    @classmethod
    def _offered(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: parse_offered(name, text).text for name, text in value.items()}

    @property
    def services_file(self) -> Path:
        """Where `skrei node service` declares the others."""
        return self.data_dir / SERVICES_FILE

    @property
    def data_file(self) -> Path:
        """Where `skrei node data` declares the others."""
        return self.data_dir / DATA_FILE

    @property
    def ports(self) -> tuple[int, int]:
        """The first and the last port that is given out."""
        first, _, last = self.port_range.partition("-")
        return int(first), int(last)

    @field_validator("port_range")
    @classmethod
    def _range(cls, value: str) -> str:
        first, dash, last = value.partition("-")
        if not (dash and first.isdecimal() and last.isdecimal() and LOWEST_PORT <= int(first) <= int(last) <= 65_535):
            raise ValueError(f"must be two ports from {LOWEST_PORT} to 65535, the lower first: 20000-32000")
        return value

    @field_validator("port_address")
    @classmethod
    def _address(cls, value: str) -> str:
        return str(ipaddress.ip_address(value))

    @field_validator("allow_addresses")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(item, strict=False)) for item in value)

    @field_validator("allow_local", "allow_env", "allow_addresses", "engines", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return items(value)

    @field_validator("data_dir")
    @classmethod
    def _expanded(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("capacity_cpu")
    @classmethod
    def _cpu(cls, value: str) -> str:
        if value and parse_share(value) is None:
            parse_cpu(value)
        return value

    @field_validator("max_upload_rate")
    @classmethod
    def _rate(cls, value: str) -> str:
        if value and parse_bytes(value) < LEAST_RATE_BYTES:
            raise ValueError(f"must be at least {LEAST_RATE_BYTES} bytes a second, as 250KB, or empty")
        return value

    @property
    def upload_bytes_per_second(self) -> int:
        """`max_upload_rate` in bytes; 0: no limit."""
        return parse_bytes(self.max_upload_rate) if self.max_upload_rate else 0

    @field_validator("capacity_memory", "capacity_disk")
    @classmethod
    def _bytes(cls, value: str) -> str:
        if value and parse_share(value) is None:
            parse_bytes(value)
        return value

    @field_validator("cache_bytes", "input_bytes", "parallel_stages", "probe_seconds", "probe_limit_seconds")
    @classmethod
    def _positive(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("must be above 0")
        return value

    def plugin_dir(self, kind: str, name: str) -> Path:
        """Return the folder of the plugin that is an `engine` or a `storage` of this name."""
        return self.data_dir / "plugins" / f"{kind}s" / name
