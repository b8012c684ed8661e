"""The door put together: routes, the frame around them, and the parts behind them.

Plain Starlette endpoints (ADR 0006): the two hot paths are bytes in, one statement, bytes out, and a schema layer
between would cost more than either.
"""

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from skrei_orchestrator_api import problems
from skrei_orchestrator_api.deps import Deps
from skrei_orchestrator_api.frame import Frame, RateLimit
from skrei_orchestrator_api.routes import (
    activity,
    agent,
    auth,
    blobs,
    description,
    executions,
    jobs,
    join,
    nodes,
    results,
    streams,
    versions,
)

ROUTES: list[BaseRoute] = [
    *jobs.ROUTES,
    *versions.ROUTES,
    *executions.ROUTES,
    *results.ROUTES,
    *streams.ROUTES,
    *nodes.ROUTES,
    *blobs.ROUTES,
    *join.ROUTES,
    *agent.ROUTES,
    *auth.ROUTES,
    *description.ROUTES,
    *activity.ROUTES,
]
"""In the order in which they are looked at: what is asked most comes first."""


def build(deps: Deps) -> ASGIApp:
    """Return the ASGI application."""
    router = Router(ROUTES, redirect_slashes=False, default=_unknown)

    async def with_deps(scope: Scope, receive: Receive, send: Send) -> None:
        scope["deps"] = deps
        deps.activity.note(scope["path"])
        await router(scope, receive, send)

    return Frame(
        with_deps,
        headers=agent.HEADERS,
        gate=deps.gate,
        rate=RateLimit(deps.settings.requests_per_second),
        max_body_bytes=deps.settings.max_body_bytes,
        timeout_seconds=deps.settings.request_timeout_seconds,
    )


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000, "reason": "no such path"})
        return
    raise problems.unknown_route()
