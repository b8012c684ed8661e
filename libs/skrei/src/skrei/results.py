"""Fetching what a job left: one folder, with one folder below it for each partition when there are several."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from skrei.archive import unpack
from skrei.client import AsyncClient
from skrei.errors import DownloadFailed
from skrei.views import Document

PARALLEL = 4
"""Downloads at once: enough to hide the latency, few enough for one publisher."""
MOST_DOWNLOAD_BYTES = 64 * 1024**3
"""Bytes of one archive; see `skrei.archive.MOST_BYTES`."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched: the folder, what lies in it by partition, and results of a kind that nobody here can fetch."""

    folder: Path
    partitions: dict[str, Path]
    files: int
    total_bytes: int
    unknown: tuple[Document, ...] = ()


async def fetch(client: AsyncClient, job_id: str, target: Path) -> Fetched:
    """Download and unpack the results of a job below `target`.

    One result lies in `target` itself; of several, each lies in `target/<partition>`.
    """
    found = (await client.results(job_id)).items
    usable = [item for item in found if _address(item)]
    unknown = tuple(item for item in found if not _address(item))
    single = len(usable) == 1
    names = await _partitions(client, job_id, usable)
    places = {_address(item): target if single else target / name for item, name in zip(usable, names, strict=True)}
    gate = asyncio.Semaphore(PARALLEL)
    if usable:  # a job without results leaves no empty folder
        await asyncio.to_thread(target.mkdir, parents=True, exist_ok=True)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_one(client, gate, url, place)) for url, place in places.items()]
    except ExceptionGroup as failed:
        # The first failure cancelled the others: it is the one to tell.
        raise failed.exceptions[0] from failed
    counted = [task.result() for task in tasks]
    return Fetched(
        folder=target,
        partitions=dict(zip(names, places.values(), strict=True)),
        files=sum(files for files, _ in counted),
        total_bytes=sum(size for _, size in counted),
        unknown=unknown,
    )


async def _one(client: AsyncClient, gate: asyncio.Semaphore, url: str, place: Path) -> tuple[int, int]:
    async with gate:
        with tempfile.TemporaryDirectory(prefix="skrei-get-") as folder:
            archive = Path(folder, "result.tar.gz")
            await _download(client, url, archive)
            done = await asyncio.to_thread(unpack, archive, place)
    return done.files, done.total_bytes


async def _download(client: AsyncClient, url: str, archive: Path) -> None:
    received = 0
    async with client.stream(url) as response:
        told = response.headers.get("Content-Length", "")
        with archive.open("wb") as out:
            async for chunk in response.aiter_raw():
                received += len(chunk)
                if received > MOST_DOWNLOAD_BYTES:
                    raise DownloadFailed(f"The result has more than {MOST_DOWNLOAD_BYTES} bytes.")
                out.write(chunk)
    if told.isdigit() and int(told) != received:
        raise DownloadFailed(f"The download broke off after {received} of {told} bytes.", hint="Try again.")


def _address(item: Document) -> str:
    params = item.get("Params") or {}
    return str(params.get("URL") or params.get("PreSignedURL") or "")


async def _partitions(client: AsyncClient, job_id: str, usable: list[Document]) -> list[str]:
    """Return the partition that each result belongs to.

    Skrei says it; where nobody does, the file is named after the execution that made it.
    """
    told = [(item.get("Params") or {}).get("PartitionIndex") for item in usable]
    if None not in told:
        return [str(int(str(partition))) for partition in told]
    executions = {execution.id: execution for execution in (await client.executions(job_id)).items}
    return [
        str(executions[made_by].partition) if (made_by := _file_name(item)) in executions else str(number)
        for number, item in enumerate(usable)
    ]


def _file_name(item: Document) -> str:
    return unquote(urlsplit(_address(item)).path.rsplit("/", 1)[-1]).removesuffix(".tar.gz")
