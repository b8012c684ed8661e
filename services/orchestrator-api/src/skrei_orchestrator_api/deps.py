"""What every request may use, made once at start."""

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from skrei_kit.bus import Bus
from skrei_kit.health import Health
from skrei_kit.nats_auth import Signer
from skrei_kit.tokens import TokenSigner, TokenVerifier
from skrei_orchestrator_api.access import Caller
from skrei_orchestrator_api.activity import Activity
from skrei_orchestrator_api.figures import ApiFigures
from skrei_orchestrator_api.gate import Gate
from skrei_orchestrator_api.listeners import Listeners
from skrei_orchestrator_api.log_readers import LogReaders
from skrei_orchestrator_api.node_access import NodeAccess
from skrei_orchestrator_api.node_changes import NodeChanges
from skrei_orchestrator_api.publishing import Destinations
from skrei_orchestrator_api.record import Record
from skrei_orchestrator_api.settings import Settings
from skrei_orchestrator_api.submissions import Submissions


@dataclass(frozen=True, slots=True)
class Deps:
    """The parts behind the routes."""

    settings: Settings
    record: Record
    submissions: Submissions
    bus: Bus
    signer: TokenSigner
    verifier: TokenVerifier
    internal_token: str = field(repr=False)  # a traceback may show these
    gate: Gate = field(repr=False)
    access: NodeAccess = field(repr=False)
    changes: NodeChanges
    listeners: Listeners
    node_signer: Signer | None = field(default=None, repr=False)
    token_public_key: str = ""
    nats_ca: str = ""
    destinations: Destinations | None = None
    activity: Activity = field(default_factory=Activity)
    health: Health = field(default_factory=Health)
    figures: ApiFigures = field(default_factory=ApiFigures)
    log_readers: LogReaders = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_readers", LogReaders(self.settings.log_readers))


def deps_of(connection: HTTPConnection) -> Deps:
    """Return the parts that serve this request."""
    deps: Deps = connection.scope["deps"]
    return deps


def caller_of(connection: HTTPConnection) -> Caller:
    """Return who the gate let in with this request."""
    caller: Caller = connection.scope["caller"]
    return caller
