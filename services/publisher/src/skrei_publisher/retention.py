"""What a store has room for, and when a result goes whatever the leader says: never because another wants its place."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from skrei_kit.observability import get_logger
from skrei_plugin_api.upload_staging import Staging
from skrei_publisher.store import ResultStore

log = get_logger()

BULK = 500
"""Ids in one fact: 500 ids of 38 characters are 25 KiB, far below a message's 512 KiB."""


class Retention:
    """Drops what is older than `keep` (zero: the leader alone says), and tells whether there is room for more."""

    def __init__(
        self,
        store: ResultStore,
        *,
        keep: timedelta,
        quota_bytes: int,
        dropped: Callable[[Sequence[str]], Awaitable[None]],
        staging: Staging | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keep = keep
        self._quota_bytes = quota_bytes
        self._dropped = dropped
        self._staging = staging
        self._now = now

    def has_room(self, size_bytes: int) -> bool:
        """Return whether the quota allows that much more."""
        held = self._staging.held_bytes if self._staging is not None else 0
        return self._store.used_bytes + held + size_bytes <= self._quota_bytes

    async def run_once(self) -> int:
        """Drop everything that is over its time and tell the leader; returns how many results that were."""
        if self._staging is not None and (stale := await asyncio.to_thread(self._staging.tidy)):
            log.info("uploads_expired", count=len(stale))
        expired = await asyncio.to_thread(self._expired) if self._keep else []
        for start in range(0, len(expired), BULK):
            ids = expired[start : start + BULK]
            await asyncio.to_thread(self._store.drop, ids)
            await self._dropped(ids)
        if expired:
            log.info("results_expired", count=len(expired), used_bytes=self._store.used_bytes)
        return len(expired)

    def _expired(self) -> list[str]:
        before = self._now() - self._keep.total_seconds()
        return [execution_id for execution_id, _, stored in self._store.entries() if stored < before]
