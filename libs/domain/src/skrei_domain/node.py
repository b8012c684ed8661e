"""What a node is: what it can do and how much of everything it has."""

from pydantic import BaseModel, ConfigDict

from skrei_domain.resources import Resources

KEPT_HERE = ("local", "noop", "s3managed")
"""Publishers of the original that need no destination named: Skrei's own result store takes their place, so a job file
that says `local` leaves its results where they can be fetched. No node needs anything for them."""


class Gpu(BaseModel):
    """One whole device. `index` is what its vendor's tools call it; it may change with the machine's next start."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    index: int
    name: str = ""
    vendor: str = ""
    memory_bytes: int = 0
    pci_address: str = ""
    uuid: str = ""

    @property
    def key(self) -> str:
        """What names this device for as long as the machine keeps it."""
        return self.uuid or self.pci_address or f"{self.vendor}:{self.index}"


class Plugin(BaseModel):
    """An engine, storage or publisher that works on this node, with its version; `note` is what of it does not.

    `lists`: a storage that can say beforehand what an input comes to.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: str = ""
    note: str = ""
    lists: bool = False


PATH = "path"
"""The kind of a path that a node would hand out, were it there."""


class Absent(BaseModel):
    """What a node might have and cannot use now, and why: an `engine`, a `storage`, a `gpu`, a `path`, `data`, a
    `service`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    name: str
    reason: str


DATA = "data"
"""The kind of a data set that a node declares, and cannot hand out now."""


class DataSet(BaseModel):
    """Data of a node that has a name: jobs that ask for it by that name may read it, or write there too.

    `size_bytes` is what was counted last, None before that; `at_least`: there is more than was counted.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    read_write: bool = False
    size_bytes: int | None = None
    at_least: bool = False


ENGINE, STORAGE = "engine", "storage"
"""The kinds of plugins that are installed on a node, and do not find what they need."""
SERVICE = "service"
"""The kind of a service that a node's owner offers, and that cannot be used now."""


class NodeService(BaseModel):
    """A service of a node that jobs use by its name: an `address`, or a `file`, which may be written where it says so.

    Where it is does not leave the node.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    kind: str = "address"
    read_write: bool = False


class PathSize(BaseModel):
    """How much lies at a path that a node hands out, or below it; `at_least`: there is more than was counted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    size_bytes: int
    at_least: bool = False


class NearServer(BaseModel):
    """A server of objects that a node reaches: how long a connection takes, in microseconds.

    `usual`: it is the one that the node asks where a job names none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    latency_micros: int
    region: str = ""
    usual: bool = False


class InputCache(BaseModel):
    """What a node keeps of fetched inputs, and what that was good for since its agent was started; amounts in bytes.

    Of so many `files` it can tell which `inputs` they are. `hits` are files that were asked for and were there, in all
    `saved_bytes`; `fetched_bytes` had to come. `pinned` are inputs that the IPFS daemon of its machine has pinned.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    files: int = 0
    size_bytes: int = 0
    limit_bytes: int = 0
    inputs: int = 0
    hits: int = 0
    saved_bytes: int = 0
    fetched_bytes: int = 0
    pinned: int = 0


class NodeInfo(BaseModel):
    """What a node says it can do; a fact, renewed when it changes.

    `local_paths` are the entries of its allow-list, `local_sizes` how much lies below the plain beginnings of some of
    them; `owner_paths`: what the owner submitted may read others too.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    node_id: str
    name: str = ""
    version: str = ""
    os: str = "linux"
    arch: str = "amd64"
    labels: dict[str, str] = {}
    engines: tuple[Plugin, ...] = ()
    storages: tuple[Plugin, ...] = ()
    publishers: tuple[Plugin, ...] = ()
    absent: tuple[Absent, ...] = ()
    local_paths: tuple[str, ...] = ()
    local_sizes: tuple[PathSize, ...] = ()
    cache: InputCache | None = None
    owner_paths: bool = False
    capacity: Resources = Resources()
    gpus: tuple[Gpu, ...] = ()
    upload_bytes_per_second: int = 0  # what its owner lets results and logs take of its link; 0: no limit
    data: tuple[DataSet, ...] = ()
    services: tuple[NodeService, ...] = ()
    near: tuple[NearServer, ...] = ()

    @property
    def missing_paths(self) -> frozenset[str]:
        """The paths of its allow-list that are not there now."""
        return frozenset(each.name for each in self.absent if each.kind == PATH)
