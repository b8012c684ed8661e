"""Hints of lone submissions that leave while the record commits them.

The leader's plan takes longer than that commit, and its own commit checks that the job is there as it was hinted: so it
writes nothing too early, and where the submission comes to nothing, neither does the plan (ADR 0053). A hint that was
early and may have come too early is said once more after the commit, as all others are.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from skrei_domain.job_kinds import Kind
from skrei_domain.messages import HintedEvaluation
from skrei_store.submission import Submission, Submitted
from skrei_store.submit import hinted

QUICK_SECONDS = 0.002
"""A record that never commits faster ends behind the plan that was hinted early, also where that has gone the long way:
hints wait for its commits."""
COMMITS = 16
"""The last lone commits, of which the fastest tells how fast the record is: of one, most is what else runs here."""
LATE_SECONDS = 0.01
"""After a commit that took longer its hint is said once more: one that was early was too early, and the plan has looked
for the job again by then."""
INLINE = "inline"


class EarlyHints:
    """Knows when an early hint pays, as the last commits tell. `send` says whether it left at once."""

    def __init__(self, send: Callable[[HintedEvaluation], bool], *, now: Callable[[], datetime] | None = None) -> None:
        self._send = send
        self._now = now or (lambda: datetime.now(UTC))
        self._ahead: timedelta | None = None  # the record's clock, against ours
        self._took: deque[float] = deque(maxlen=COMMITS)
        self._sent = ""

    def pays(self, batch: Sequence[Submission]) -> bool:
        """Whether a batch is to be hinted while it is committed: a lone small job, with a quick record."""
        return self._ahead is not None and len(batch) == 1 and min(self._took) <= QUICK_SECONDS and _is_plain(batch[0])

    def hint(self, batch: Sequence[Submission]) -> None:
        """Hint: the statement that stores it has left. What the record will call its time is a guess of a millisecond,
        by which nothing is decided."""
        assert self._ahead is not None, "it pays"
        (submission,) = batch
        if self._send(hinted(submission, self._now() + self._ahead)):
            self._sent = submission.evaluation_id

    def committed(self, batch: Sequence[Submission], results: Sequence[Submitted | Exception], began: float) -> None:
        """Learn how long a commit took that began so, by the loop's clock."""
        if len(batch) > 1:
            return
        took = asyncio.get_running_loop().time() - began
        (result,) = results
        if isinstance(result, Submitted) and result.hinted is not None:
            self._took.append(took)
            self._ahead = result.hinted.created_at - (self._now() - timedelta(seconds=took))
        if took > LATE_SECONDS:
            self._sent = ""  # said once more

    def said(self, evaluation_id: str) -> bool:
        """Whether an evaluation was hinted early, and surely not too early."""
        return bool(self._sent) and evaluation_id == self._sent


def _is_plain(submission: Submission) -> bool:
    """Whether a job asks for nothing before it is placed, and for no name that another may have."""
    spec = submission.spec
    return (
        spec.name == submission.job_id
        and Kind(spec.type) is Kind.BATCH
        and all(each.source.type.casefold() == INLINE for task in spec.tasks for each in task.input_sources)
    )
