"""The server itself: alive, which version, what it is."""

import platform
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from skrei_orchestrator_api import schemas
from skrei_orchestrator_api.http import answer

VERSION = version("skrei-orchestrator-api")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
BUILD = schemas.build(VERSION, platform.system().lower(), MACHINES.get(platform.machine(), platform.machine()))

HEADERS = {
    "X-Bacalhau-Git-Version": BUILD["GitVersion"],
    "X-Bacalhau-Git-Commit": BUILD["GitCommit"],
    "X-Bacalhau-Build-Date": BUILD["BuildDate"],
    "X-Bacalhau-Build-OS": BUILD["GOOS"],
    "X-Bacalhau-Arch": BUILD["GOARCH"],
}
"""What every answer carries: clients compare it with their own version."""


async def alive(request: Request) -> Response:
    """Answer while the process serves; it says nothing of the record behind it."""
    return answer(request, {"Status": "OK"})


async def tell_version(request: Request) -> Response:
    """Return the version."""
    return answer(request, BUILD)


async def tell_node(request: Request) -> Response:
    """Return this server as a node: the control plane's, which runs no work."""
    return answer(
        request,
        {
            "NodeID": "skrei",
            "NodeType": "Requester",
            "Labels": {},
            "SupportedProtocols": ["skrei/v1"],
            "BacalhauVersion": BUILD,
        },
    )


def _redirect(path: str) -> Route:
    async def go(request: Request) -> Response:
        return RedirectResponse(f"/api/v1/agent/{path}", 301)

    return Route({"version": "/version", "alive": "/livez"}[path], go)


async def root(request: Request) -> Response:
    """Send who opens the bare address to something that answers."""
    return RedirectResponse("/api/v1/agent/version", 301)


ROUTES = [
    Route("/api/v1/agent/alive", alive),
    Route("/api/v1/agent/version", tell_version),
    Route("/api/v1/agent/node", tell_node),
    Route("/", root),
    _redirect("version"),
    _redirect("alive"),
]
