"""Where what a job serves is reached: the ports of its ready executions."""

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.services import address
from skrei_orchestrator_api import schemas
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import NAMESPACE, described
from skrei_orchestrator_api.http import answer
from skrei_orchestrator_api.record import Record
from skrei_orchestrator_api.routes.executions import job_of
from skrei_orchestrator_api.views import JobView


@described(answer="Endpoints", query=(NAMESPACE,), refusals=(404, 409))
async def list_endpoints(request: Request) -> Response:
    """Return `host:port` of every port of the job's ready executions, by task and partition; of old versions too,
    while an update goes on.
    """
    job = await job_of(request)
    return answer(request, schemas.page(await endpoints_of(deps_of(request).record, job), ""))


async def endpoints_of(record: Record, job: JobView) -> list[str]:
    """Return where a job's ready executions are reached, as JSON texts."""
    return [
        schemas.dump(
            {
                "Address": address(port["host"], port["port"]),
                "Host": port["host"],
                "Port": port["port"],
                "Name": port["name"],
                "Task": row["task"],
                "PartitionIndex": row["partition"],
                "ExecutionID": row["id"],
                "NodeID": row["node_id"],
                "JobVersion": row["job_version"],
            }
        )
        for row in await record.ready(job.id)
        for port in json.loads(row["ports"])
        if port["host"]  # its node has opened it
    ]


ROUTES = [Route("/api/v1/orchestrator/jobs/{job_id}/endpoints", list_endpoints)]
