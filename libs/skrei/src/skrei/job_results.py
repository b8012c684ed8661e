"""What a job left, as something to list and to download."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from skrei import calls
from skrei.job_parts import Result
from skrei.results import Fetched, NoMeter, Wish, fetch

if TYPE_CHECKING:
    from skrei.client import AsyncClient


class AsyncResults:
    """What a job left."""

    def __init__(self, client: "AsyncClient", job_id: str, execution_id: str, *, by_node: bool) -> None:
        self._client = client
        self._job_id = job_id
        self._execution_id = execution_id
        self._by_node = by_node

    async def list(self) -> tuple[Result, ...]:
        """Return where each result is, and which partition and node it is of. Raises Conflict for what does not end."""
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

        Several partitions lie together with their output joined in order; `per_partition` gives each a folder, as each
        node has of an ops job; `raw` keeps the archives. Whatever goes wrong, `target` is as it was.
        """
        wish = Wish(
            execution_id=self._execution_id,
            raw=raw,
            apart=per_partition,
            by_node=self._by_node,
            overwrite=overwrite,
        )
        return await fetch(self._client, self._job_id, Path(target), wish, meter)
