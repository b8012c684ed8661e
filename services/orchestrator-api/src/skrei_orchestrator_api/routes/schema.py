"""What a job may be, for editors: a schema that never changes while the server runs."""

import json
from functools import cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.job_schema import PATH, job_schema
from skrei_orchestrator_api.describing import HIDDEN, described
from skrei_orchestrator_api.http import answer


@described(HIDDEN)
async def tell_schema(request: Request) -> Response:
    """Return the JSON schema of a job file."""
    return answer(request, _text())


@cache
def _text() -> str:
    return json.dumps(job_schema(), separators=(",", ":"))


ROUTES = [Route(PATH, tell_schema)]
