"""Every answer of the API held against what its route promises in the OpenAPI document: status, kind and shape."""

import json
from functools import cache
from typing import Any

import jsonschema_rs
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skrei_orchestrator_api import describing
from skrei_orchestrator_api.app import ROUTES
from skrei_orchestrator_api.openapi.document import document

NOT_PROMISED = frozenset({405})
"""A method that a path does not know is no operation, so nothing can be promised of it."""


@cache
def the_document() -> dict[str, Any]:
    """The document, made once."""
    return document(ROUTES, "0.0.0")


@cache
def _validator(name: str) -> Any:
    shapes = the_document()["components"]["schemas"]
    return jsonschema_rs.validator_for(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": {"schemas": shapes}}
        | {"$ref": f"#/components/schemas/{name}"}
    )


def broken_promise(route: Route, method: str, status: int, media: str, body: bytes) -> str:
    """Return what an answer breaks of what was promised; empty where it keeps its word."""
    told = describing.of(route.endpoint)
    if told is None:
        return f"{route.path} is not described"
    if told.hidden or status in NOT_PROMISED:
        return ""
    if status not in told.statuses:
        return f"{method} {route.path} answered {status}, which it does not promise: {sorted(told.statuses)}"
    if method == "HEAD" or not body or not media.startswith("application/json"):
        return ""
    names = [told.answer] if status == told.status else ["Error", "VersionRefusal", "Authenticated"]
    value = json.loads(body)
    if any(_validator(name).is_valid(value) for name in names if name):
        return ""
    error = next(iter(_validator(names[0]).iter_errors(value)))
    return (
        f"{method} {route.path} answered {status} with what is no {names[0]}: {error.message} at {error.instance_path}"
    )


def checked(app: ASGIApp) -> ASGIApp:
    """The same application; an answer that breaks a promise raises AssertionError at whoever asked."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        route = _route_of(scope) if scope["type"] == "http" else None
        if route is None:
            await app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def keep(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body":
                body += message.get("body", b"")
            await send(message)

        await app(scope, receive, keep)
        if start:
            media = dict(start["headers"]).get(b"content-type", b"").decode()
            broken = broken_promise(route, scope["method"], start["status"], media, body)
            assert not broken, broken

    return call


def _route_of(scope: Scope) -> Route | None:
    for route in ROUTES:
        if isinstance(route, Route) and route.matches(scope)[0] is Match.FULL:
            return route
    return None
