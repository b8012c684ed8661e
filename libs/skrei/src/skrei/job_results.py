"""What a job left, as something to list and to download."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from skrei import calls
from skrei.results import Fetched, NoMeter, Wish, fetch
from skrei.views import Document

if TYPE_CHECKING:
    from skrei.client import AsyncClient


class AsyncResults:
    """What a job left."""

    def __init__(self, client: "AsyncClient", job_id: str, execution_id: str) -> None:
        self._client = client
        self._job_id = job_id
        self._execution_id = execution_id

    async def list(self) -> tuple[Document, ...]:
        """Return where each result is: `Type` and `Params`, as the API tells it."""
        return (await self._client.send(calls.results(self._job_id, execution_id=self._execution_id))).items

    async def download(
        self,
        target: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        per_partition: bool = False,
        raw: bool = False,
        meter: NoMeter | None = None,
    ) -> Fetched:
        """Fetch everything below the folder `target`, which is made, checked by size and digest.

        Several partitions lie together with their output joined in order; `per_partition` gives each a folder, `raw`
        keeps the archives. Whatever goes wrong, `target` is as it was.
        """
        wish = Wish(execution_id=self._execution_id, raw=raw, apart=per_partition, overwrite=overwrite)
        return await fetch(self._client, self._job_id, Path(target), wish, meter)
