"""Following a job: what happened since the last look, until it is terminal and all of its history was told."""

import asyncio
import time
from collections.abc import AsyncIterator

from skrei import calls
from skrei.client import AsyncClient
from skrei.errors import ApiError, Unreachable
from skrei.progress import (
    FIRST_LOOK_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MOST_STAGING,
    PAGE,
    PATIENCE_SECONDS,
    WIDEST,
    Progress,
    asks_who_moved,
    stages,
)
from skrei.views import Execution, HistoryItem, Job


async def follow(client: AsyncClient, job_id: str) -> AsyncIterator[Progress]:
    """Yield what changed, at least once, and end when the job is terminal.

    The job is read before its history, so that a terminal one is followed by everything that led there.
    Raises Unreachable when the API stays away for PATIENCE_SECONDS; an API that is away at the first look raises
    at once.
    """
    token, seen, pause = "", 0, FIRST_LOOK_SECONDS
    answered = time.monotonic()
    executions: tuple[Execution, ...] = ()
    moved: tuple[Execution, ...] = ()
    started = False
    while True:
        try:
            job = await client.job(job_id)
            before = executions
            token, events = await _news(client, job.id, token, seen)
            if (events or not started or stages(executions)) and job.units <= WIDEST:
                executions = await client.every(calls.executions(job.id))
            moved_before, moved = moved, await _moved(client, job, executions)
        except (Unreachable, ApiError) as error:
            passing = isinstance(error, Unreachable) or error.may_pass
            if not (started and passing and time.monotonic() - answered < PATIENCE_SECONDS):
                raise
            await asyncio.sleep(LONGEST_PAUSE_SECONDS)
            continue
        answered = time.monotonic()
        if events or not started or job.is_terminal or (executions, moved) != (before, moved_before):
            yield Progress(job, events, executions, moved)
        if job.is_terminal:
            return
        started = True
        seen = events[-1].sequence if events else seen
        await asyncio.sleep(pause)
        pause = FIRST_LOOK_SECONDS if events else min(pause * 1.5, LONGEST_PAUSE_SECONDS)


async def _moved(client: AsyncClient, job: Job, executions: tuple[Execution, ...]) -> tuple[Execution, ...]:
    if not asks_who_moved(job, executions):
        return ()
    return (await client.send(calls.executions(job.id, limit=MOST_STAGING, order_by="modified_at", reverse=True))).items


async def _news(client: AsyncClient, job_id: str, token: str, seen: int) -> tuple[str, tuple[HistoryItem, ...]]:
    """Return the token to go on from and the items above `seen`: pages until one is not full."""
    news: list[HistoryItem] = []
    while True:
        page = await client.history(job_id, next_token=token, limit=PAGE)
        news += (item for item in page.items if item.sequence > seen)
        token = page.next_token or token
        if len(page.items) < PAGE or not page.next_token:
            return token, tuple(news)
