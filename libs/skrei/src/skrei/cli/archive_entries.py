"""The files of a job's stored results, entry by entry, as they stream in: nothing is unpacked to disk."""

import tarfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import IO
from urllib.parse import urljoin

from skrei.cli.ask import Ask, job_path
from skrei.endpoint import is_loopback
from skrei.errors import DownloadFailed, Rejected
from skrei.views import items

SILENCE_SECONDS = 30.0
"""Between two pieces of a download."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The stored result of one execution."""

    partition: int
    execution_id: str
    url: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a result."""

    kept: Kept
    path: str
    size: int
    is_folder: bool
    content: IO[bytes] | None


def kept_results(ask: Ask, job: str, namespace: str = "", partition: int | None = None) -> list[Kept]:
    """Return where the results of a job lie, in the order of partitions. Raises Rejected where there are none."""
    found = []
    for item in items(ask.get(f"{job_path(job)}/results", namespace=namespace).get("Items")):
        params = item.get("Params") or {}
        url = str(params.get("URL") or params.get("PreSignedURL") or "")
        number = int(params.get("PartitionIndex") or 0)
        if url and partition in (None, number):
            found.append(Kept(number, str(params.get("ExecutionID") or ""), urljoin(f"{ask.endpoint}/", url)))
    if not found:
        whose = "The job" if partition is None else f"Partition {partition}"
        raise Rejected(f"{whose} has no results to look into.", hint=f"How it stands: skrei describe {job}")
    return sorted(found, key=lambda one: one.partition)


def entries(kept: Kept) -> Iterator[Entry]:
    """Yield what a result holds; the content of one is read before the next is asked for. Raises DownloadFailed."""
    handlers = [urllib.request.ProxyHandler({})] if is_loopback(kept.url) else []
    try:
        with (
            urllib.request.build_opener(*handlers).open(kept.url, timeout=SILENCE_SECONDS) as response,
            tarfile.open(fileobj=response, mode="r|gz") as archive,
        ):
            for member in archive:
                path = member.name.removeprefix("./")
                if path and (member.isfile() or member.isdir()):
                    content = archive.extractfile(member) if member.isfile() else None
                    yield Entry(kept, path, member.size, member.isdir(), content)
                archive.members = []  # type: ignore[attr-defined]  # the library keeps every entry that it has passed
    except BrokenPipeError:
        raise  # whoever reads our output has gone
    except (OSError, HTTPException, tarfile.TarError, EOFError) as error:
        raise DownloadFailed(
            f"The result could not be read: {error}.", hint="Ask again; `skrei get` resumes."
        ) from error
