"""`client.jobs`: jobs that are run, found and compared."""

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

from skrei import calls
from skrei.errors import ApiError, Unreachable
from skrei.job_handle import AsyncJobHandle
from skrei.model import JobLike, document_of, replaced
from skrei.views import Submitted

if TYPE_CHECKING:
    from skrei.client import AsyncClient

PAGE = 100
"""Jobs in one request of an iterator: few requests, and no page that takes long."""


class AsyncJobs:
    """The jobs of one API."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def run(
        self,
        job: JobLike,
        *,
        name: str = "",
        namespace: str = "",
        count: int | None = None,
        force: bool = False,
        idempotency_token: str = "",
    ) -> AsyncJobHandle:
        """Submit a job and return it at once; `await (await client.jobs.run(job)).wait()` waits for its end.

        `name`, `namespace` and `count` replace what the job says. A job whose name is in use becomes the next version
        of that one. The same `idempotency_token` (made here when none is given) never makes a second job or version.
        """
        document = replaced(document_of(job), Name=name, Namespace=namespace, Count=count)
        submitted = await self._client.send(calls.submit(document, force=force, idempotency_token=idempotency_token))
        found = await self._client.send(calls.job(submitted.job_id))
        return AsyncJobHandle(self._client, found, submitted.warnings)

    async def submit_many(
        self, jobs: Iterable[JobLike], *, namespace: str = "", idempotency_token: str = ""
    ) -> tuple[Submitted | ApiError | Unreachable, ...]:
        """Submit many jobs in few requests; what became of each, in order: accepted, or why it was refused.

        `namespace` replaces what the jobs say. A repeat with the same `idempotency_token` and the same jobs in the same
        order makes none a second time. Raises Unreachable or ApiError where the first request is not answered or is
        refused; where a later one is, that error stands in the place of each of its jobs, beside what became of the
        others. Of jobs that stand as Unreachable, a repeat tells what became.
        """
        documents = [replaced(document_of(job), Namespace=namespace) for job in jobs]
        token = idempotency_token or str(uuid.uuid4())
        done: list[Submitted | ApiError | Unreachable] = []
        for part in calls.portions(documents):
            each: tuple[Submitted | ApiError, ...]
            try:
                each = await self._client.send(calls.submit_many(part, idempotency_token=token, first=len(done)))
            except ApiError as error:
                if not done:
                    raise
                each = (error,) * len(part)
            except Unreachable as error:
                if not done:
                    raise
                return (*done, *[error] * (len(documents) - len(done)))
            done += each
        return tuple(done)

    async def get(self, job: str, *, namespace: str = "", version: int = 0) -> AsyncJobHandle:
        """Return the job that an id, a name, or a beginning of an id names. Raises NotFound or Conflict."""
        return AsyncJobHandle(
            self._client, await self._client.send(calls.job(job, namespace=namespace, version=version))
        )

    async def list(
        self,
        *,
        namespace: str = "",
        labels: Sequence[str] | str = (),
        limit: int = 0,
        newest_first: bool = True,
        order_by: str = "created_at",
    ) -> AsyncIterator[AsyncJobHandle]:
        """Yield jobs page by page, as far as you go: `async for job in client.jobs.list(): ...`.

        `labels` are selectors (`team=fish`, `stage in (test,prod)`), all of which must hold; `limit` 0 is all.
        """
        token, given = "", 0
        chosen = (labels,) if isinstance(labels, str) and labels else tuple(labels)
        while True:
            size = min(PAGE, limit - given) if limit else PAGE
            page = await self._client.send(
                calls.jobs(
                    namespace=namespace,
                    labels=chosen,
                    limit=size,
                    next_token=token,
                    reverse=newest_first,
                    order_by=order_by,
                )
            )
            for found in page.items:
                yield AsyncJobHandle(self._client, found)
            given += len(page.items)
            token = page.next_token
            if not token or (limit and given >= limit):
                return

    async def diff(self, job: JobLike) -> str:
        """Return what would change if this were submitted over the job that has its name; empty for nothing."""
        return (await self._client.send(calls.diff(document_of(job)))).text
