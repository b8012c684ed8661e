"""Looking at a job until it ends: what changed since the last look, for commands. See `skrei.follow` for programs."""

import time
from collections.abc import Iterator

from skrei import calls
from skrei.cli.ask import Ask
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
from skrei.views import Execution, HistoryItem


def looks(ask: Ask, job_id: str) -> Iterator[Progress]:
    """Yield a look at a job every time something has changed, and last one at which it is terminal.

    The job is read before its history, so that a terminal one is told with everything that led there. Raises
    Unreachable when the API stays away for PATIENCE_SECONDS; one that is away at the first look raises at once.
    """
    token, seen, pause, away = "", 0, FIRST_LOOK_SECONDS, 0.0
    executions: tuple[Execution, ...] = ()
    started = False
    while True:
        try:
            job = ask.send(calls.job(job_id))
            token, events = _news(ask, job.id, token, seen)
            if (events or not started or stages(executions)) and job.units <= WIDEST:
                executions = executions_of(ask, job.id)
            moved = moved_last(ask, job.id) if asks_who_moved(job, executions) else ()
        except (Unreachable, ApiError) as error:
            passing = isinstance(error, Unreachable) or error.may_pass
            if not (started and passing and away < PATIENCE_SECONDS):
                raise
            away += LONGEST_PAUSE_SECONDS
            time.sleep(LONGEST_PAUSE_SECONDS)
            continue
        away = 0.0
        yield Progress(job, events, executions, moved)
        if job.is_terminal:
            return
        started = True
        seen = events[-1].sequence if events else seen
        time.sleep(pause)
        pause = FIRST_LOOK_SECONDS if events else min(pause * 1.5, LONGEST_PAUSE_SECONDS)


def moved_last(ask: Ask, job_id: str) -> tuple[Execution, ...]:
    """Return the few executions of a job that changed last."""
    return ask.send(calls.executions(job_id, limit=MOST_STAGING, order_by="modified_at", reverse=True)).items


def executions_of(ask: Ask, job_id: str) -> tuple[Execution, ...]:
    """Return every execution of a job, oldest first."""
    return ask.every(calls.executions(job_id))


def _news(ask: Ask, job_id: str, token: str, seen: int) -> tuple[str, tuple[HistoryItem, ...]]:
    """Return the token to go on from and the items above `seen`: pages until one is not full."""
    news: list[HistoryItem] = []
    while True:
        page = ask.send(calls.history(job_id, next_token=token, limit=PAGE))
        news += (item for item in page.items if item.sequence > seen)
        token = page.next_token or token
        if len(page.items) < PAGE or not page.next_token:
            return token, tuple(news)
