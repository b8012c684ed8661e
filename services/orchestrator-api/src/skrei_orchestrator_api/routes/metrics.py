"""Figures for Prometheus: the API's own, and of nodes what the record has: their input caches, and who is heard."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.lifecycle import Connection
from skrei_domain.node import NodeInfo
from skrei_kit.metrics import MEDIA, Figure, Sample, gauges, lines
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import described


class Told(NamedTuple):
    """One figure of every node's input cache, by the name of its field."""

    name: str
    kind: str
    text: str
    field: str


CACHE = (
    Told("skrei_input_cache_bytes", "gauge", "Bytes of fetched inputs that a node keeps.", "size_bytes"),
    Told("skrei_input_cache_limit_bytes", "gauge", "Bytes that it may keep.", "limit_bytes"),
    Told("skrei_input_cache_files", "gauge", "Files that it keeps.", "files"),
    Told("skrei_input_cache_hits_total", "counter", "Files that were asked for and were there.", "hits"),
    Told("skrei_input_cache_saved_bytes_total", "counter", "Bytes that were not fetched again.", "saved_bytes"),
    Told("skrei_input_fetched_bytes_total", "counter", "Bytes that had to be fetched.", "fetched_bytes"),
)


@described(answer="Figures", media="text/plain")
async def metrics(request: Request) -> Response:
    """Return figures for Prometheus: of this server, and of nodes what their input caches hold, and were good for.

    Counters begin anew with each start of this server, or of a node's agent.
    """
    deps = deps_of(request)
    nodes = await deps.record.nodes()
    told = node_figures(Counter(node.connection for node in nodes), [node.info for node in nodes])
    return Response("".join((deps.health.figures.text(), *lines(told))), media_type=MEDIA)


def node_figures(connections: Mapping[Connection, int], infos: Sequence[NodeInfo]) -> Iterator[Figure]:
    """Yield what is known of nodes. Pure."""
    heard = {connection.value.lower(): connections.get(connection, 0) for connection in Connection}
    yield gauges("skrei_nodes", "Nodes, by whether they are heard.", "connection", heard)
    caches = [(info.node_id, info.name, info.cache) for info in infos if info.cache is not None]
    for each in CACHE:
        samples = (
            Sample(getattr(cache, each.field), (("node", node_id), ("name", name))) for node_id, name, cache in caches
        )
        yield Figure(each.name, each.kind, each.text, tuple(samples))


ROUTES = [Route("/metrics", metrics)]
