"""What a node is: what it can do and how much of everything it has."""

from pydantic import BaseModel, ConfigDict

from skrei_domain.resources import Resources


class Gpu(BaseModel):
    """One whole device."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    index: int
    name: str = ""
    vendor: str = ""
    memory_bytes: int = 0
    pci_address: str = ""


class Plugin(BaseModel):
    """An engine, storage or publisher that works on this node, with its version."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: str = ""


class NodeInfo(BaseModel):
    """What a node says it can do; a fact, renewed when it changes."""

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
    capacity: Resources = Resources()
    gpus: tuple[Gpu, ...] = ()
