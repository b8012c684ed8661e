"""The door put together: routes, the frame around them, and the parts behind them.

Plain Starlette endpoints (ADR 0006): the two hot paths are bytes in, one statement, bytes out, and a schema layer
between would cost more than either.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from skrei_orchestrator_api import problems
from skrei_orchestrator_api.cors import Cors
from skrei_orchestrator_api.deps import Deps
from skrei_orchestrator_api.frame import Frame, RateLimit
from skrei_orchestrator_api.routes import (
    activity,
    agent,
    auth,
    batch,
    blobs,
    collection,
    description,
    endpoints,
    events,
    executions,
    inputs,
    jobs,
    join,
    left,
    metrics,
    nodes,
    results,
    schema,
    streams,
    versions,
)

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

ROUTES: list[BaseRoute] = [
    *jobs.ROUTES,
    *versions.ROUTES,
    *batch.ROUTES,
    *executions.ROUTES,
    *endpoints.ROUTES,
    *left.ROUTES,
    *results.ROUTES,
    *streams.ROUTES,
    *nodes.ROUTES,
    *blobs.ROUTES,
    *inputs.ROUTES,
    *join.ROUTES,
    *events.ROUTES,
    *agent.ROUTES,
    *auth.ROUTES,
    *description.ROUTES,
    *schema.ROUTES,
    *activity.ROUTES,
    *collection.ROUTES,
    *metrics.ROUTES,
]
"""In the order in which they are looked at: what is asked most comes first."""


def _answering(endpoint: Endpoint) -> ASGIApp:
    """Return an endpoint as an application. Starlette's own way has three more calls for each message, in which it
    looks for handlers of exceptions, which this server has in one place, its frame."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    return answer


for _route in ROUTES:
    if isinstance(_route, Route):
        _route.app = _answering(_route.endpoint)


def build(deps: Deps) -> ASGIApp:
    """Return the ASGI application."""
    router = Router(ROUTES, redirect_slashes=False, default=_unknown)

    async def with_deps(scope: Scope, receive: Receive, send: Send) -> None:
        scope["deps"] = deps
        deps.activity.note(scope["path"])
        try:
            await router(scope, receive, send)
        except HTTPException as error:
            if error.status_code != 405:
                raise
            raise HTTPException(405, error.detail, {"Allow": allowed(scope)}) from error

    return Frame(
        with_deps,
        headers=agent.HEADERS,
        gate=deps.gate,
        rate=RateLimit(deps.settings.requests_per_second),
        max_body_bytes=deps.settings.max_body_bytes,
        timeout_seconds=deps.settings.request_timeout_seconds,
        cors=Cors(frozenset(deps.settings.api_cors_origins)),
        answered=deps.figures.answered,
    )


def allowed(scope: Scope) -> str:
    """Return the methods of what a path names; of several the one with the fewest variable parts."""
    found = [route for route in ROUTES if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE]
    path = min((route.path for route in found), key=lambda path: path.count("{"))
    return ", ".join(sorted({method for route in found if route.path == path for method in route.methods or ()}))


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000, "reason": "no such path"})
        return
    raise problems.unknown_route()
