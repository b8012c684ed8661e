"""How a container gets to services of its node: which network it has for that, and where it finds them. Pure."""

from collections.abc import Collection

from skrei_plugin_api.engine import RunRequest
from skrei_plugin_docker.create import Network, network

FIRST_PORT = 20_000
"""Where ports inside are counted from for services whose own is taken there, or needs rights that programs lack."""
LEAST_PORT = 1024
"""Below are ports that not everybody may listen on."""


def surroundings(request: RunRequest) -> Network:
    """Return the network of a run. One that says nothing of it, and uses services of the node, has those alone."""
    mode = network(request.network)
    closed = request.network.casefold() in ("", "default") and not request.ports
    if request.services and (mode is Network.NONE or closed):
        return Network.FILTERED
    return mode


def held(request: RunRequest) -> bool:
    """Whether the network of a run is that of a container which holds it, so that something of ours listens in it."""
    mode = surroundings(request)
    return mode is Network.FILTERED or (mode is Network.BRIDGE and bool(request.services))


def filters(request: RunRequest) -> bool:
    """Whether a run reaches domains through the filter."""
    return network(request.network) is Network.FILTERED


def inside(request: RunRequest, taken: Collection[int]) -> dict[str, int]:
    """Return the port by which a container finds each service, by its variable: its own where that can be had."""
    gone = {*taken, *(port.target for port in request.ports)}
    found: dict[str, int] = {}
    for number, way in enumerate(request.services):
        port = way.port if way.port >= LEAST_PORT else FIRST_PORT + number
        while port in gone:
            port = port + 1 if FIRST_PORT <= port < 65_535 else FIRST_PORT + number
        gone.add(port)
        found[way.variable] = port
    return found
