"""Staged results to their end: final, kept beside what counts, or told why not. Every step may be repeated."""

import asyncio
from collections.abc import Mapping, Sequence

from skrei_domain.errors import SkreiError
from skrei_domain.messages import Problem, PublisherFact, PublishRefused, StagedResult
from skrei_domain.uploads import Parcel
from skrei_kit.observability import get_logger
from skrei_plugin_api.publisher import PublishDenied, Publisher, StagedGone

log = get_logger()

PUBLISH_FAILED = "publish-failed"
"""The destination's last word: another attempt would hear the same."""
RESULT_LOST = "result-lost"
"""What was staged is gone: another attempt may do better."""
NOT_KEPT = "not-kept"
"""What never counts has no place at this destination."""


class Finaliser:
    """Carries out what the leader wants of staged results, with the publisher that has each."""

    def __init__(self, publishers: Mapping[str, Publisher]) -> None:
        self._publishers = publishers

    async def run(self, wanted: Sequence[tuple[StagedResult, bool]]) -> PublisherFact | None:
        """Bring results, and whether each counts, to their end side by side; None when nothing came to one.

        What failed for now is left out: the leader asks again.
        """
        ends = await asyncio.gather(*(self._one(staged, counts) for staged, counts in wanted))
        finalised = tuple(
            (staged.execution_id, staged.digest) for (staged, _), end in zip(wanted, ends, strict=True) if end is True
        )
        refused = tuple(end for end in ends if isinstance(end, PublishRefused))
        return PublisherFact(finalised=finalised, refused=refused) if finalised or refused else None

    async def _one(self, staged: StagedResult, counts: bool) -> PublishRefused | bool:
        """Return whether a result is final now, or why it never will be."""
        publisher = self._publishers.get(staged.publisher)
        if publisher is None:
            return _refused(staged, PUBLISH_FAILED, f"there is no publisher {staged.publisher!r} here any more")
        parcel = Parcel(execution_id=staged.execution_id, digest=staged.digest, size=staged.size)
        try:
            if not counts and not publisher.keeps:
                await publisher.abort(staged.execution_id)
                return _refused(staged, NOT_KEPT, "it did not count")
            await publisher.finalise(parcel, staged.place)
        except PublishDenied as error:
            return _refused(staged, PUBLISH_FAILED, error.message)
        except StagedGone as error:
            return _refused(staged, RESULT_LOST, error.message)
        except (SkreiError, OSError) as error:
            log.warning("result_not_finalised", execution_id=staged.execution_id, reason=str(error))
            return False
        log.debug("result_finalised", execution_id=staged.execution_id, size=staged.size)
        return True


def _refused(staged: StagedResult, code: str, message: str) -> PublishRefused:
    log.warning("result_refused", execution_id=staged.execution_id, code=code, reason=message)
    problem = Problem(code=code, message=message)
    return PublishRefused(execution_id=staged.execution_id, digest=staged.digest, problem=problem)
