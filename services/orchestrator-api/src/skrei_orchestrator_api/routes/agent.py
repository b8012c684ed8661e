"""The server itself: alive, which version, what it is."""

import platform
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from skrei_domain.errors import Unavailable
from skrei_orchestrator_api import schemas, told_settings
from skrei_orchestrator_api.challenge import SERVER_ID
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import described
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

AUTH_CONFIG = {
    "ProviderID": "",
    "ProviderName": "",
    "DeviceClientID": "",
    "DeviceAuthorizationEndpoint": "",
    "TokenEndpoint": "",
    "Issuer": "",
    "JWKSUri": "",
    "PollingInterval": 0,
    "Audience": "",
    "Scopes": [],
}
"""The block that clients look at for a provider to sign on with."""


@described(answer="Alive")
async def alive(request: Request) -> Response:
    """Answer while the process serves; it says nothing of the record behind it."""
    return answer(request, {"Status": "OK"})


@described(answer="Alive")
async def tell_health(request: Request) -> Response:
    """Answer while the process serves, as Kubernetes asks."""
    return answer(request, {"Status": "OK"})


@described(answer="Alive")
async def tell_ready(request: Request) -> Response:
    """Return whether requests can be served: 503, and what is wrong, while the record does not answer.

    A transport that is away does not matter: jobs are taken, listed and stopped without.
    """
    wrong = [text for text in (await deps_of(request).health.wrong()).values() if text]
    if wrong:
        raise Unavailable("not ready: " + "; ".join(wrong))
    return answer(request, {"Status": "OK"})


@described(answer="Version")
async def tell_version(request: Request) -> Response:
    """Return the version."""
    return answer(request, BUILD)


@described(answer="ServerNode")
async def tell_node(request: Request) -> Response:
    """Return this server as a node: the control plane's, which runs no work."""
    return answer(
        request,
        {
            "NodeID": SERVER_ID,
            "NodeType": "Requester",
            "Labels": {},
            "SupportedProtocols": schemas.PROTOCOLS,
            "BacalhauVersion": BUILD,
        },
    )


@described(answer="Debug")
async def tell_debug(request: Request) -> Response:
    """Return what the parts of this server have to say of themselves."""
    deps = deps_of(request)
    return answer(
        request,
        {
            "Jobs": {"ActiveJobs": await deps.record.open_jobs()},
            "Nodes": await deps.record.count_nodes(),
            "API": {"Requests": deps.activity.requests},
            "Transport": {"Connected": deps.bus.connected},
        },
    )


@described(answer="Config")
async def tell_config(request: Request) -> Response:
    """Return how this server is set; secrets are stars."""
    return answer(request, {"config": told_settings.told(deps_of(request).settings)})


@described(answer="AuthConfig")
async def tell_auth_config(request: Request) -> Response:
    """Return how to sign on through an identity provider: there is none yet, and the block is empty."""
    return answer(request, {"Version": "1.0.0", "Config": AUTH_CONFIG})


def _redirect(path: str) -> Route:
    @described(status=301)
    async def go(request: Request) -> Response:
        """Send whoever knows the short address to the whole one."""
        return RedirectResponse(f"/api/v1/agent/{path}", 301)

    go.__name__ = f"redirect_to_{path}"
    return Route({"version": "/version", "alive": "/livez"}[path], go)


@described(status=301)
async def root(request: Request) -> Response:
    """Send who opens the bare address to something that answers."""
    return RedirectResponse("/api/v1/agent/version", 301)


ROUTES = [
    Route("/api/v1/agent/alive", alive),
    Route("/api/v1/agent/version", tell_version),
    Route("/api/v1/agent/node", tell_node),
    Route("/api/v1/agent/debug", tell_debug),
    Route("/api/v1/agent/config", tell_config),
    Route("/api/v1/agent/authconfig", tell_auth_config),
    Route("/healthz", tell_health),
    Route("/readyz", tell_ready),
    Route("/", root),
    _redirect("version"),
    _redirect("alive"),
]
