"""Looking at a job until it ends: what changed since the last look, for commands. See `skrei.follow` for programs."""

import time
from collections.abc import Iterator

from skrei.cli.ask import Ask, job_path
from skrei.errors import ApiError, Unreachable
from skrei.progress import (
    FIRST_LOOK_SECONDS,
    LONGEST_PAUSE_SECONDS,
    PAGE,
    PATIENCE_SECONDS,
    WIDEST,
    Progress,
    stages,
)
from skrei.views import Execution, HistoryItem, Job, items


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
            job = Job.parse(ask.get(job_path(job_id)).get("Job") or {})
            token, events = _news(ask, job.id, token, seen)
            if (events or not started or stages(executions)) and job.count <= WIDEST:
                executions = executions_of(ask, job.id)
        except (Unreachable, ApiError) as error:
            passing = isinstance(error, Unreachable) or error.may_pass
            if not (started and passing and away < PATIENCE_SECONDS):
                raise
            away += LONGEST_PAUSE_SECONDS
            time.sleep(LONGEST_PAUSE_SECONDS)
            continue
        away = 0.0
        yield Progress(job, events, executions)
        if job.is_terminal:
            return
        started = True
        seen = events[-1].sequence if events else seen
        time.sleep(pause)
        pause = FIRST_LOOK_SECONDS if events else min(pause * 1.5, LONGEST_PAUSE_SECONDS)


def executions_of(ask: Ask, job_id: str) -> tuple[Execution, ...]:
    """Return every execution of a job, oldest first."""
    return tuple(map(Execution.parse, items(ask.get(f"{job_path(job_id)}/executions").get("Items"))))


def _news(ask: Ask, job_id: str, token: str, seen: int) -> tuple[str, tuple[HistoryItem, ...]]:
    """Return the token to go on from and the items above `seen`: pages until one is not full."""
    news: list[HistoryItem] = []
    while True:
        page = ask.get(f"{job_path(job_id)}/history", next_token=token, limit=PAGE, event_type="all")
        found = tuple(map(HistoryItem.parse, items(page.get("Items"))))
        news += (item for item in found if item.sequence > seen)
        token = str(page.get("NextToken") or "") or token
        if len(found) < PAGE or not page.get("NextToken"):
            return token, tuple(news)
