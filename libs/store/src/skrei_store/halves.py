"""Writes of many at once: where one fails as a whole its halves are tried, so that only what is wrong fails."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from skrei_domain.errors import Invalid, Unavailable
from skrei_store.db import AWAY, Connection, away
from skrei_store.idempotency import known
from skrei_store.submission import Submission, Submitted
from skrei_store.values import storable

ERRORS = (*AWAY, asyncpg.PostgresError, UnicodeError)
"""All that asking the record can raise."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def in_halves(
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
    refuse: Callable[[Item, Exception], Awaitable[Answer | Exception]],
) -> list[Answer | Exception]:
    """Return, in order, what `write` made of the items, and of one that fails by itself what `refuse` says of it.

    `write` is one transaction; it is called again with fewer items after it has failed with more.
    """
    if not items:
        return []
    try:
        return list(await write(items))
    except ERRORS as error:
        if away(error):
            return [error] * len(items)
        if len(items) == 1:
            return [await refuse(items[0], error)]
    half = len(items) // 2
    return [*await in_halves(items[:half], write, refuse), *await in_halves(items[half:], write, refuse)]


async def refusal(connection: Connection, submission: Submission, error: Exception) -> Submitted | Exception:
    """Return what to answer for a submission that failed by itself."""
    if isinstance(error, asyncpg.UniqueViolationError) and submission.token:
        # Another process stored the same token between our look and our write.
        try:
            answered = await known(connection, {0: submission})
        except AWAY as gone:
            return gone
        if 0 in answered:
            return answered[0]
    if isinstance(error, (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)):
        return Unavailable("others were in the way", hint="try again in a moment")
    return invalid(submission)


def invalid(submission: Submission) -> Invalid:
    """Return what to answer for a submission that no row can hold."""
    return Invalid(
        f"the record cannot hold this job: {storable(submission.spec.name)!r}",
        hint="texts may not hold NUL characters or lone surrogates; names and labels have limits",
    )
