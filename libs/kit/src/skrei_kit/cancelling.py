"""Cancellations that a library swallows: passed on after all, and repeated.

`asyncio.wait_for` of Python 3.11 gives the result that comes in the same turn of the loop as a cancellation, and
forgets that one (python/cpython#86296; from 3.12 on it does not). The NATS client waits with it, and drops some itself.
Whoever waits for such a task to end waits for ever: a leader that lost its record together with three answers of NATS
would neither lead nor let another lead.
"""

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any, TypeVar

from skrei_kit.observability import get_logger

log = get_logger()

T = TypeVar("T")

AGAIN_SECONDS = 5.0
"""How long a cancelled task may tidy up before it is cancelled again: half of what a stop of all may take."""


async def heeding(work: Awaitable[T]) -> T:
    """Return what `work` comes to, but raise a cancellation that came meanwhile, whatever `work` made of that."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        return await work
    finally:
        if task is not None and task.cancelling() > before and not isinstance(sys.exception(), asyncio.CancelledError):
            raise asyncio.CancelledError


async def ended(task: "asyncio.Future[Any]", *, again_seconds: float = AGAIN_SECONDS) -> None:
    """Cancel a task, again every `again_seconds`, until it has ended. How it ended stays in it.

    Does nothing to one that has ended. Cancelled itself, it leaves the task cancelled, and perhaps still ending.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again_seconds)
        if not task.done():
            log.debug("cancelled_again", task=str(task))
