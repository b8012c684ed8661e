"""The OpenAPI 3.1 document, made of the routes' own descriptions and the shapes beside this."""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.routing import BaseRoute, Route

from skrei_orchestrator_api import describing
from skrei_orchestrator_api.describing import Described, Query
from skrei_orchestrator_api.openapi import shapes

TAGS = {
    "Jobs": "Work: submit it, watch it, stop it, fetch what it left.",
    "Nodes": "The machines that run it.",
    "Agent": "This server.",
    "Authentication": "Who is asking.",
    "Blobs": "Inputs, for nodes.",
}
INTRODUCTION = (
    "Skrei's API: the one that Bacalhau's clients speak, and more. Every success is 200 with a JSON body; every error "
    "has the shape `Error`, and its `RequestID` is the answer's `X-Request-Id`. Keys of a request's body may be in any "
    "case. `?pretty` indents any answer. Programs on the server's own machine need no token; everybody else shows the "
    "owner token as bearer."
)
REFUSALS = {
    304: "What the caller holds (`If-None-Match`) is still true; there is no body",
    400: "The request says what cannot be, or comes from a client that is none",
    401: "The right token is needed",
    403: "This caller may not, or the client is too old",
    404: "There is no such thing",
    409: "It cannot be done to what is there now",
    410: "It was there, and is not kept any more",
    413: "The body is too large",
    429: "Too many requests, or too much waits; `Retry-After` says when to come back",
    501: "A later version serves this",
    503: "The record or a node is away, or it took too long; try again",
}
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


def document(routes: Iterable[BaseRoute], version: str) -> dict[str, Any]:
    """Return the document. Raises ValueError where a public route is not described."""
    paths: dict[str, dict[str, Any]] = {}
    firsts: dict[object, str] = {}
    for path, method, endpoint, told in operations(routes):
        first = firsts.setdefault(endpoint, method)
        plain = _PARAMETER.sub(r"{\1}", path)
        paths.setdefault(plain, {})[method.lower()] = _operation(plain, method, first, endpoint, told)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skrei",
            "version": version,
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{}, {"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": shapes.SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "The owner token."}},
        },
    }


def operations(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str, object, Described]]:
    """Yield (path, method, endpoint, description) of each public operation. Raises ValueError for a silent route."""
    for route in routes:
        if not isinstance(route, Route):
            continue
        told = describing.of(route.endpoint)
        if told is None:
            raise ValueError(f"{route.path}: {getattr(route.endpoint, '__name__', '?')} is not described")
        if not told.hidden:
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield route.path, method, route.endpoint, told


def _operation(path: str, method: str, first: str, endpoint: object, told: Described) -> dict[str, Any]:
    summary, _, rest = (inspect.getdoc(endpoint) or "").partition("\n\n")
    name = str(getattr(endpoint, "__name__", path))
    operation: dict[str, Any] = {
        "operationId": name if method == first else f"{name}_{method.lower()}",
        "tags": [_tag(path)],
        "summary": " ".join(summary.split()).rstrip("."),
    }
    if rest:
        operation["description"] = " ".join(rest.split())
    parameters = [_path_parameter(name) for name in _PARAMETER.findall(path)]
    parameters += [_query(each) for each in told.query]
    if told.cached:
        parameters.append(shapes.IF_NONE_MATCH)
    if parameters:
        operation["parameters"] = parameters
    if told.body:
        content = {describing.JSON: {"schema": shapes.ref(told.body)}}
        operation["requestBody"] = {"required": told.body_required, "content": content}
    operation["responses"] = {str(status): _response(status, told) for status in sorted(told.statuses)}
    return operation


def _tag(path: str) -> str:
    for beginning, tag in (
        ("/api/v1/orchestrator/jobs", "Jobs"),
        ("/api/v1/events", "Jobs"),
        ("/api/v1/orchestrator/gc", "Agent"),
        ("/api/v1/orchestrator", "Nodes"),
        ("/api/v1/auth", "Authentication"),
        ("/api/v1/blobs", "Blobs"),
        ("/api/v1/inputs", "Blobs"),
    ):
        if path.startswith(beginning):
            return tag
    return "Agent"


def _path_parameter(name: str) -> dict[str, Any]:
    text, schema = shapes.PATH_PARAMETERS[name]
    return {"name": name, "in": "path", "required": True, "description": text, "schema": schema}


def _query(query: Query) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": query.kind} if isinstance(query.kind, str) else {"enum": list(query.kind)}
    if query.repeated:
        schema = {"type": "array", "items": schema}
    found: dict[str, Any] = {"name": query.name, "in": "query", "description": query.text, "schema": schema}
    if query.example is not None:
        found["example"] = query.example
    return found


def _response(status: int, told: Described) -> dict[str, Any]:
    headers = {"X-Request-Id": {"description": "Names this request in the server's log", "schema": {"type": "string"}}}
    if status == 304:
        return {"description": REFUSALS[304], "headers": headers}
    if status == told.status:
        if 300 <= status < 400:
            headers["Location"] = {"description": "Where to go", "schema": {"type": "string"}}
            return {"description": "It is elsewhere", "headers": headers}
        if told.cached:
            headers["ETag"] = {"description": "For `If-None-Match`", "schema": {"type": "string"}}
        schema = shapes.ref(told.answer) if told.answer else {}
        return {"description": "Done", "headers": headers, "content": {told.media: {"schema": schema}}}
    content: dict[str, Any] = {describing.JSON: {"schema": shapes.ref("Error")}}
    if status == 401 and told.answer == "Authenticated":  # what is not proven is no error of the frame
        content[describing.JSON] = {"schema": {"anyOf": [shapes.ref("Error"), shapes.ref("Authenticated")]}}
    if status in (400, 403):
        content[describing.JSON] = {"schema": {"anyOf": [shapes.ref("Error"), shapes.ref("VersionRefusal")]}}
    if status == 503:
        content["text/plain"] = {"schema": {"type": "string"}, "example": "Server Timeout!"}
    return {"description": REFUSALS[status], "headers": headers, "content": content}
