"""Figures for Prometheus, as the record has them: nodes, and what their input caches were good for."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.lifecycle import Connection
from skrei_domain.node import NodeInfo
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import described

MEDIA = "text/plain; version=0.0.4; charset=utf-8"


class Figure(NamedTuple):
    """One figure of every node's input cache, by the name of its field."""

    name: str
    kind: str
    text: str
    field: str


FIGURES = (
    Figure("skrei_input_cache_bytes", "gauge", "Bytes of fetched inputs that a node keeps.", "size_bytes"),
    Figure("skrei_input_cache_limit_bytes", "gauge", "Bytes that it may keep.", "limit_bytes"),
    Figure("skrei_input_cache_files", "gauge", "Files that it keeps.", "files"),
    Figure("skrei_input_cache_hits_total", "counter", "Files that were asked for and were there.", "hits"),
    Figure("skrei_input_cache_saved_bytes_total", "counter", "Bytes that were not fetched again.", "saved_bytes"),
    Figure("skrei_input_fetched_bytes_total", "counter", "Bytes that had to be fetched.", "fetched_bytes"),
)


@described(answer="Figures", media="text/plain")
async def metrics(request: Request) -> Response:
    """Return figures of nodes for Prometheus: what their input caches hold, and what that was good for.

    Counters begin anew with each start of a node's agent.
    """
    nodes = await deps_of(request).record.nodes()
    text = "".join(lines(Counter(node.connection for node in nodes), [node.info for node in nodes]))
    return Response(text, media_type=MEDIA)


def lines(connections: Mapping[Connection, int], infos: Sequence[NodeInfo]) -> Iterator[str]:
    """Yield what is known of nodes, line by line. Pure."""
    yield from _head("skrei_nodes", "gauge", "Nodes, by whether they are heard.")
    for connection in Connection:
        yield f'skrei_nodes{{connection="{connection.value.lower()}"}} {connections.get(connection, 0)}\n'
    for figure in FIGURES:
        yield from _head(figure.name, figure.kind, figure.text)
        for info in infos:
            if info.cache is not None:
                labels = f'node="{_escaped(info.node_id)}",name="{_escaped(info.name)}"'
                yield f"{figure.name}{{{labels}}} {getattr(info.cache, figure.field)}\n"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}\n"
    yield f"# TYPE {name} {kind}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


ROUTES = [Route("/metrics", metrics)]
