"""Staged results to their end: final, kept beside what counts, or told why not. Every step may be repeated."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from skrei_domain.bounds import MOST_TEXT
from skrei_domain.destinations import STORE
from skrei_domain.errors import SkreiError
from skrei_domain.messages import Problem, PublishedAt, PublisherFact, PublishRefused, StagedResult
from skrei_domain.portions import Portion, placed_at
from skrei_domain.uploads import Parcel
from skrei_kit.observability import get_logger
from skrei_plugin_api.plugin import Params
from skrei_plugin_api.publisher import PublishDenied, Published, StagedGone
from skrei_publisher.destinations import Destinations, NoSuchPublisher, forwarded_to
from skrei_publisher.dividing import Divider
from skrei_publisher.done import Done

log = get_logger()

PUBLISH_FAILED = "publish-failed"
"""The destination's last word: another attempt would hear the same."""
RESULT_LOST = "result-lost"
"""What was staged is gone: another attempt may do better."""
NOT_KEPT = "not-kept"
"""What never counts has no place at this destination."""


@dataclass(frozen=True, slots=True)
class Final:
    """A result that has come to its end; `published` where it lies elsewhere than in the store."""

    staged: StagedResult
    published: Published | None = None


class Finaliser:
    """Carries out what the leader wants of staged results, with the publisher that has each."""

    def __init__(self, destinations: Destinations, done: Done | None = None, divider: Divider | None = None) -> None:
        self._destinations = destinations
        self._done = done
        self._divider = divider

    async def one(self, staged: StagedResult, counts: bool) -> Final | PublishRefused | None:
        """Bring a result to its end and return that; None where it failed for now, and the leader asks again."""
        parcel = Parcel(execution_id=staged.execution_id, digest=staged.digest, size=staged.size)
        try:
            return await self._end(staged, parcel, counts=counts)
        except NoSuchPublisher as error:  # it took the result in: its owner has something to mend, and nothing is lost
            if not counts:
                return _refused(staged, NOT_KEPT, _words(error))
            reason = _words(error)
        except PublishDenied as error:
            return _refused(staged, PUBLISH_FAILED, _words(error))
        except StagedGone as error:
            return _refused(staged, RESULT_LOST, error.message)
        except (SkreiError, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a plugin is somebody else's: it must not end this process
            reason = f"{type(error).__name__}: {error}"
        log.warning("result_not_finalised", execution_id=staged.execution_id, publisher=staged.publisher, reason=reason)
        return None

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
                await publisher.abort(staged.execution_id)
                return _refused(staged, NOT_KEPT, "it did not count")
            published = await publisher.finalise(parcel, staged.place)
        log.debug("result_finalised", execution_id=staged.execution_id, size=staged.size)
        return Final(staged, published)

    async def _divided(
        self, divider: Divider, parcel: Parcel, found: Sequence[Portion], *, counts: bool
    ) -> Published | None:
        """Bring a result to its several places; None where it stays whole in the store, as what does not count does."""
        store = self._destinations.store
        if not counts:
            await divider.drop(parcel.execution_id, found)
            await store.finalise(parcel, "")
            return None
        try:
            return await divider.bring(parcel, found)
        except PublishDenied:
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
            published = await publisher.forward(parcel, content, params)
        except PublishDenied:
            await store.abort(parcel.execution_id)
            raise
        if self._done is not None:
            await asyncio.to_thread(self._done.note, parcel, published)
        await store.finalise(parcel, "")  # a copy, for who reads it through us
        return published


def fact_of(ends: Sequence[Final | PublishRefused | None]) -> PublisherFact | None:
    """Return what the leader is told of results that have come to their ends; None where none has."""
    final = [end for end in ends if isinstance(end, Final)]
    refused = tuple(end for end in ends if isinstance(end, PublishRefused))
    if not final and not refused:
        return None
    return PublisherFact(
        finalised=tuple((end.staged.execution_id, end.staged.digest) for end in final),
        refused=refused,
        published=tuple(
            PublishedAt(execution_id=end.staged.execution_id, type=end.staged.publisher, params=end.published.params)
            for end in final
            if end.published is not None
        ),
    )


def _words(error: SkreiError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _refused(staged: StagedResult, code: str, message: str) -> PublishRefused:
    log.warning("result_refused", execution_id=staged.execution_id, code=code, reason=message)
    problem = Problem(code=code, message=message[:MOST_TEXT])  # the leader hears no longer one
    return PublishRefused(execution_id=staged.execution_id, digest=staged.digest, problem=problem)
