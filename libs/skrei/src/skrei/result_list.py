"""What the API says of a job's results: which there are, where each can be fetched, which are not kept any more."""

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from skrei.client import AsyncClient
from skrei.download import Result
from skrei.errors import ResultGone
from skrei.views import Document, local_time


async def read_results(client: AsyncClient, job_id: str, items: Sequence[Document]) -> list[Result]:
    """Return what is to be fetched, in the order in which tasks are told, and of partitions."""
    partitions = await _partitions(client, job_id, items)
    found = []
    for item, partition in zip(items, partitions, strict=True):
        params = item.get("Params") or {}
        size = params.get("Size")
        found.append(
            Result(
                url=address_of(item),
                execution_id=maker_of(item),
                partition=partition,
                size=size if isinstance(size, int) and size >= 0 else None,
                digest=digest if (digest := str(params.get("Digest") or "")).startswith("sha256:") else "",
                kept_until=str(params.get("KeptUntil") or ""),
                task=str(params.get("Task") or ""),
            )
        )
    place = {task: number for number, task in enumerate(dict.fromkeys(result.task for result in found))}
    return sorted(found, key=lambda result: (place[result.task], result.partition))


async def say_gone(client: AsyncClient, job_id: str, execution_id: str) -> None:
    """Raise ResultGone when there were results once."""
    for execution in (await client.executions(job_id)).items:
        meant = execution.id.startswith(execution_id) if execution_id else execution.has_result
        if meant and execution.result_kept is False:
            raise ResultGone(
                f"The results of this job are not kept any more{kept_words(execution.result_kept_until)}.",
                hint="Run the job again; how long results are kept is the server's setting SKREI_RESULT_TTL_HOURS.",
                execution_id=execution.id,
            )


def kept_words(moment: str) -> str:
    """Return the words on until when something was kept, to follow a sentence; empty where nobody knows."""
    return f": they were kept until {local_time(moment)}" if moment else ""


def address_of(item: Document) -> str:
    """Return where a result can be fetched over HTTP; empty where it cannot."""
    params = item.get("Params") or {}
    url = str(params.get("URL") or params.get("PreSignedURL") or "")
    return url if url.startswith(("http://", "https://", "/")) else ""


def maker_of(item: Document) -> str:
    """Return the execution that made a result: as Skrei says it, else as its file is named."""
    told = (item.get("Params") or {}).get("ExecutionID")
    return str(told) if told else unquote(urlsplit(address_of(item)).path.rsplit("/", 1)[-1]).removesuffix(".tar.gz")


async def _partitions(client: AsyncClient, job_id: str, items: Sequence[Document]) -> list[int]:
    """Return the partition that each result belongs to.

    Skrei says it; where nobody does, the file is named after the execution that made it.
    """
    told = [(item.get("Params") or {}).get("PartitionIndex") for item in items]
    if None not in told:
        return [int(str(partition)) for partition in told]
    executions = {execution.id: execution for execution in (await client.executions(job_id)).items}
    return [
        executions[made_by].partition if (made_by := maker_of(item)) in executions else number
        for number, item in enumerate(items)
    ]
