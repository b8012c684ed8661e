"""What the API says of a job's results: which there are, where each can be fetched, which are not kept any more."""

from collections.abc import Sequence
from dataclasses import replace

from skrei import calls
from skrei.client import AsyncClient
from skrei.errors import ResultGone
from skrei.job_parts import Result
from skrei.views import local_time


async def read_results(client: AsyncClient, job_id: str, told: Sequence[Result]) -> list[Result]:
    """Return what is to be fetched, in the order in which tasks are told, and of partitions."""
    found = await _numbered(client, job_id, told)
    place = {task: number for number, task in enumerate(dict.fromkeys(result.task for result in found))}
    return sorted(found, key=lambda result: (place[result.task], result.partition))


async def say_gone(client: AsyncClient, job_id: str, execution_id: str) -> None:
    """Raise ResultGone when there were results once."""
    for execution in await client.every(calls.executions(job_id)):
        meant = execution.id.startswith(execution_id) if execution_id else execution.has_result
        if meant and execution.result_kept is False:
            raise ResultGone(
                f"The results of this job are not kept any more{kept_words(execution.result_kept_until)}.",
                hint="Run the job again; `Retention: {Results: …}` keeps them longer, within what the server allows.",
                execution_id=execution.id,
            )


def kept_words(moment: str) -> str:
    """Return the words on until when something was kept, to follow a sentence; empty where nobody knows."""
    return f": they were kept until {local_time(moment)}" if moment else ""


async def _numbered(client: AsyncClient, job_id: str, told: Sequence[Result]) -> list[Result]:
    """Return results with the partition that each belongs to: where nobody says it, its execution tells."""
    if all(result.numbered for result in told):
        return list(told)
    partitions = {one.id: one.partition for one in await client.every(calls.executions(job_id))}
    return [
        replace(result, partition=partitions.get(result.execution_id, number)) for number, result in enumerate(told)
    ]
