"""The API described by itself, for programs and for people; made when first asked for."""

import json
from functools import cache

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from skrei_orchestrator_api.describing import HIDDEN, described
from skrei_orchestrator_api.http import answer
from skrei_orchestrator_api.routes.agent import VERSION


@cache
def _document() -> bytes:
    from skrei_orchestrator_api.app import ROUTES  # it lists these two as well
    from skrei_orchestrator_api.openapi.document import document  # only who asks pays for the shapes

    return json.dumps(document(ROUTES, VERSION), ensure_ascii=False, separators=(",", ":")).encode()


@cache
def _page() -> str:
    from skrei_orchestrator_api.openapi.page import page

    return page(json.loads(_document()))


@described(HIDDEN)
async def tell_document(request: Request) -> Response:
    """Return the OpenAPI 3.1 document."""
    return answer(request, _document())


@described(HIDDEN)
async def show_page(request: Request) -> Response:
    """Return the page for people."""
    from skrei_orchestrator_api.openapi.page import HEADERS

    return HTMLResponse(_page(), headers=HEADERS)


ROUTES: list[BaseRoute] = [Route("/openapi.json", tell_document), Route("/docs", show_page)]
