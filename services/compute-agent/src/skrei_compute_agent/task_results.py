"""What earlier tasks of a job left, onto this node: asked for page by page, kept by digest like every other input."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from skrei_compute_agent.input_cache import InputCache
from skrei_compute_agent.input_trees import Count
from skrei_domain.task_results import ResultAddress
from skrei_plugin_api.storage import TaskResult

if TYPE_CHECKING:
    from skrei_compute_agent.blobs import Blobs


class TaskResults:
    """Fetches results with a client of the API that `api` returns, at the publisher's door as this node reaches it."""

    def __init__(self, api: "Callable[[], Blobs]", cache: InputCache, *, door: Callable[[], str] = lambda: "") -> None:
        self._api = api
        self._cache = cache
        self._door = door

    async def of(self, task: str, token: str, counted: Count) -> AsyncIterator[TaskResult]:
        """Yield what the partitions of a task left that the token's execution waits for, in order, each `counted`.

        An archive stays in the cache until the next one is asked for. Raises SkreiError.
        """
        following: int | None = 0
        while following is not None:
            page = await self._api().results(task, following, token)
            for each in page.results:
                brought: list[str] = []
                path = await self._fetch(task, each, token, brought)
                counted(path.stat().st_size, bool(brought), 1)
                try:
                    yield TaskResult(path, str(each.partition) if page.apart else "")
                finally:
                    self._cache.release(each.digest)
            following = page.next

    async def _fetch(self, task: str, result: ResultAddress, token: str, brought: list[str]) -> Path:
        """Return the archive, pinned. Its address may have expired while those before it were fetched.

        Where it had to be brought for this, that is noted in `brought`.
        """
        from skrei_compute_agent.blobs import AddressExpired  # 8 MB, with its client: only where results are inputs

        name = f"the result of partition {result.partition} of task {task!r}"
        try:
            return await self._cache.get(result.digest, "", self._opener(result.url, name, brought))
        except AddressExpired:
            page = await self._api().results(task, result.partition, token)
            fresh = next(each for each in page.results if each.digest == result.digest)
            return await self._cache.get(fresh.digest, "", self._opener(fresh.url, name, brought))

    def _opener(
        self, url: str, name: str, brought: list[str]
    ) -> Callable[[str, str], AbstractAsyncContextManager[AsyncIterator[bytes]]]:
        @asynccontextmanager
        async def opened(digest: str, token: str) -> AsyncIterator[AsyncIterator[bytes]]:
            del token
            brought.append(digest)
            async with self._api().open_address(at_door(url, self._door()), name) as chunks:
                yield chunks

        return opened


def at_door(url: str, door: str) -> str:
    """Return a result's address at another door than the one that it names; empty: as it is.

    The API signs one address for all nodes, with the way to the publisher that nodes of its own network have.
    """
    _, found, what = url.rpartition("/results/")
    return f"{door.rstrip('/')}{found}{what}" if door and found else url
