"""Staged results to their end: final, kept beside what counts, or told why not. Every step may be repeated."""

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from skrei_domain.bounds import MOST_REASON, MOST_TEXT
from skrei_domain.destinations import MANAGED, STORE
from skrei_domain.errors import SkreiError
from skrei_domain.messages import (
    Problem,
    PublishedAt,
    PublisherFact,
    PublishRefused,
    PublishWaits,
    StagedResult,
)
from skrei_domain.portions import Portion, placed_at
from skrei_domain.uploads import Parcel
from skrei_kit.observability import get_logger
from skrei_plugin_api.plugin import Params
from skrei_plugin_api.publisher import DestinationAway, PublishDenied, Published, StagedGone
from skrei_publisher.destinations import MANAGED_AWAY, MANAGED_REFUSES, Destinations, NoSuchPublisher, forwarded_to
from skrei_publisher.dividing import Divider
from skrei_publisher.done import Done

log = get_logger()

PUBLISH_FAILED = "publish-failed"
"""The destination's last word: another attempt would hear the same."""
RESULT_LOST = "result-lost"
"""What was staged is gone: another attempt may do better."""
NOT_KEPT = "not-kept"
"""What never counts has no place at this destination."""
PACE_BYTES = 128 * 1024
"""A second, of a result that is brought on: what a slow line of one megabit carries; each has the time for that, and
`SKREI_PUBLISH_SECONDS` besides."""
FACT_RESULTS = 16
"""Results that one fact tells of: what is said of each may have 16 KiB."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Final:
    """A result that has come to its end; `published` where it lies elsewhere than in the store."""

    staged: StagedResult
    published: Published | None = None


End: TypeAlias = Final | PublishRefused | PublishWaits
"""What a try comes to; after the last of them the leader asks again."""


class Finaliser:
    """Carries out what the leader wants of staged results, with the publisher that has each.

    A publisher has `seconds` for one, and more for a large one; then it is told to leave off, and is tried again.
    """

    def __init__(
        self,
        destinations: Destinations,
        done: Done | None = None,
        divider: Divider | None = None,
        *,
        seconds: float = 300.0,
    ) -> None:
        self._destinations = destinations
        self._done = done
        self._divider = divider
        self._seconds = seconds

    async def one(self, staged: StagedResult, counts: bool) -> End:
        """Bring a result to its end, and return that; where it failed for now, why."""
        parcel = Parcel(execution_id=staged.execution_id, digest=staged.digest, size=staged.size)
        try:
            return await self._end(staged, parcel, counts=counts)
        except NoSuchPublisher as error:  # it took the result in: its owner has something to mend, and nothing is lost
            if not counts:
                return _refused(staged, NOT_KEPT, error.sentence)
            reason = error.sentence
        except PublishDenied as error:
            return _refused(staged, PUBLISH_FAILED, error.sentence)
        except StagedGone as error:
            return _refused(staged, RESULT_LOST, error.message)
        except SkreiError as error:
            reason = error.sentence
        except OSError as error:
            reason = str(error) or type(error).__name__
        except Exception as error:  # noqa: BLE001 - a plugin is somebody else's: it must not end this process
            reason = f"{type(error).__name__}: {error}"
        log.warning(
            "result_not_finalised",
            execution_id=staged.execution_id,
            publisher=staged.publisher,
            destination=staged.destination,
            reason=reason,
        )
        return _waits(staged, reason)

    async def _end(self, staged: StagedResult, parcel: Parcel, *, counts: bool) -> Final | PublishRefused:
        if (found := placed_at(staged.place)) is not None and self._divider is not None:
            await self._destinations.store.keep(parcel.execution_id)
            published = await self._divided(self._divider, parcel, found, counts=counts)
        elif (params := forwarded_to(staged.place)) is not None:
            await self._destinations.store.keep(parcel.execution_id)
            # What does not count stays in the store, whoever would have brought it on.
            published = await self._forward(staged.publisher if counts else STORE, parcel, params)
        else:
            publisher = await self._destinations.find(staged.publisher)
            if not counts and not publisher.keeps:
                await self._within(publisher.abort(staged.execution_id))
                return _refused(staged, NOT_KEPT, "it did not count")
            finalising = publisher.finalise(parcel, staged.place)
            published = await (finalising if publisher is self._destinations.store else self._within(finalising))
        log.debug("result_finalised", execution_id=staged.execution_id, size=staged.size)
        return Final(staged, published)

    async def _divided(
        self, divider: Divider, parcel: Parcel, found: Sequence[Portion], *, counts: bool
    ) -> Published | None:
        """Bring a result to its several places; None where it stays whole in the store, as what does not count does."""
        store = self._destinations.store
        if not counts:
            await self._within(divider.drop(parcel.execution_id, found))
            await store.finalise(parcel, "")
            return None
        try:
            return await self._within(divider.bring(parcel, found), parcel.size)
        except NoSuchPublisher:
            raise  # what is staged waits until its owner has mended that
        except (PublishDenied, StagedGone):
            await store.abort(parcel.execution_id)
            raise

    async def _forward(self, name: str, parcel: Parcel, params: Params) -> Published | None:
        """Bring a result on from the store's staging; None where it stays in the store."""
        store, publisher = self._destinations.store, await self._destinations.find(name)
        if publisher is store:
            await store.finalise(parcel, "")
            return None
        if self._done is not None and (published := await asyncio.to_thread(self._done.find, parcel)) is not None:
            with contextlib.suppress(StagedGone, OSError):  # it lies there: what is here is a copy, if there is any
                await store.finalise(parcel, "")
            return published
        content = await store.staged(parcel)
        try:
            published = await self._within(publisher.forward(parcel, content, params), parcel.size)
        except PublishDenied:
            await store.abort(parcel.execution_id)
            raise
        if self._done is not None:
            await asyncio.to_thread(self._done.note, parcel, published)
        await store.finalise(parcel, "")  # a copy, for who reads it through us
        return published

    async def _within(self, call: Awaitable[T], size: int = 0) -> T:
        """Return what a publisher's step comes to that has its time and that of so many bytes. Raises DestinationAway
        where that is over."""
        seconds = self._seconds + size / PACE_BYTES
        try:
            async with asyncio.timeout(seconds) as limit:
                return await call
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DestinationAway(
                f"it was not done within {seconds:,.0f} s", hint="slow lines need more: SKREI_PUBLISH_SECONDS"
            ) from error


def facts_of(ends: Sequence[End]) -> Iterator[PublisherFact]:
    """Yield what the leader is told of tries that are over."""
    for first in range(0, len(ends), FACT_RESULTS):
        yield fact_of(ends[first : first + FACT_RESULTS])


def fact_of(ends: Sequence[End]) -> PublisherFact:
    """Return what one fact tells of these."""
    final = [end for end in ends if isinstance(end, Final)]
    return PublisherFact(
        finalised=tuple((end.staged.execution_id, end.staged.digest) for end in final),
        refused=tuple(end for end in ends if isinstance(end, PublishRefused)),
        waits=tuple(end for end in ends if isinstance(end, PublishWaits)),
        published=tuple(
            PublishedAt(execution_id=end.staged.execution_id, type=end.staged.publisher, params=end.published.params)
            for end in final
            if end.published is not None
        ),
    )


def _waits(staged: StagedResult, reason: str) -> PublishWaits:
    where = staged.destination or staged.publisher
    if _is_managed(staged):  # where its owner keeps results is nobody else's business
        reason = MANAGED_AWAY
    told = reason if reason.startswith(f"{where} ") else f"{where}: {reason}"  # a node that is away is named by both
    return PublishWaits(execution_id=staged.execution_id, digest=staged.digest, reason=told[:MOST_REASON])


def _is_managed(staged: StagedResult) -> bool:
    """Whether a result goes to the owner's bucket, or a portion of it does."""
    return staged.publisher == MANAGED or any(each.publisher == MANAGED for each in placed_at(staged.place) or ())


def _refused(staged: StagedResult, code: str, message: str) -> PublishRefused:
    log.warning("result_refused", execution_id=staged.execution_id, code=code, reason=message)
    if staged.publisher == MANAGED and code == PUBLISH_FAILED:
        message = MANAGED_REFUSES
    elif code == RESULT_LOST and _is_managed(staged):
        message = "what was staged is gone; the publisher's log says more"
    problem = Problem(code=code, message=message[:MOST_TEXT])  # the leader hears no longer one
    return PublishRefused(execution_id=staged.execution_id, digest=staged.digest, problem=problem)
