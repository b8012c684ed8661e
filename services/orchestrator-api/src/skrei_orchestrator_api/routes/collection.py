"""What jobs left and may go now: how much that is, and that it is to go."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import Invalid
from skrei_orchestrator_api import schemas
from skrei_orchestrator_api.deps import caller_of, deps_of
from skrei_orchestrator_api.describing import described
from skrei_orchestrator_api.http import answer, fields, read_json

COLLECTION = "/api/v1/orchestrator/gc"


@described(answer="Collected", body="Collection", refusals=(503,))
async def collect(request: Request) -> Response:
    """Tell what jobs left and may go now, by kind, and let it go unless `DryRun` is set.

    The scheduler does so by itself every few minutes; asked here it begins at once. Nothing that a job needs which has
    not ended is among it, nothing in a user's own place (S3, IPFS), and nothing of the audit. `Complete` is false where
    there was too much to count in the time of a request: then more goes than is told.
    """
    body = fields(await read_json(request), "DryRun")
    dry = body.get("DryRun")
    if not isinstance(dry, bool | None):
        raise Invalid("DryRun: allowed: true or false")
    deps = deps_of(request)
    found, complete = await deps.record.collectable()
    if not dry:
        await deps.record.audit(caller_of(request), "gc", "jobs")
        deps.submissions.hint_to_collect()
    items = [
        {
            "Kind": kind,
            "Count": amount.count,
            "Bytes": amount.bytes,
            **({} if amount.oldest is None else {"Oldest": schemas.rfc3339(amount.oldest)}),
        }
        for kind, amount in found.items()
    ]
    return answer(request, {"DryRun": bool(dry), "Complete": complete, "Items": items})


ROUTES = [Route(COLLECTION, collect, methods=["POST"])]
