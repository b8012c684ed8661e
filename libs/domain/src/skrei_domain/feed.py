"""The feed: after commits, which jobs have new history and how far it goes, for whoever listens.

A message is what some commits changed of one namespace and kind; it carries no more than (job, number of the last row),
so that a listener sees a gap, and reads the record for the rest. Nothing depends on a message: the record is the truth.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from skrei_domain import subjects
from skrei_domain.envelope import wrap
from skrei_domain.messages import Message

MOST_CHANGES = 2_000
"""Jobs in one message: some 130 KB of the 512 KiB that one may have."""

JOB, EXECUTION = "job", "execution"
"""Kinds: a row of the job itself, or of one of its executions."""


class Change(NamedTuple):
    """A row of history that was committed; `seq` 0: some row, whoever told did not know which."""

    namespace: str
    kind: str
    job_id: str
    seq: int


class FeedBatch(Message):
    """Jobs of a namespace that changed since the last message, each with the number of its last row of this kind."""

    type: Literal["skrei.feed.v1"] = "skrei.feed.v1"
    namespace: str
    kind: str
    jobs: tuple[tuple[str, int], ...]


def batches(changes: Iterable[Change]) -> Iterator[FeedBatch]:
    """Yield the messages of these changes: by namespace and kind, each job once with its highest number."""
    sorted_out: dict[tuple[str, str], dict[str, int]] = {}
    for namespace, kind, job_id, seq in changes:
        jobs = sorted_out.setdefault((namespace, kind), {})
        jobs[job_id] = max(seq, jobs.get(job_id, 0))
    for (namespace, kind), jobs in sorted_out.items():
        listed = list(jobs.items())
        for start in range(0, len(listed), MOST_CHANGES):
            yield FeedBatch(namespace=namespace, kind=kind, jobs=tuple(listed[start : start + MOST_CHANGES]))


def messages(changes: Iterable[Change], *, source: str) -> Iterator[tuple[str, bytes]]:
    """Yield (subject, payload) of what is told of these changes."""
    for batch in batches(changes):
        job_id, seq = batch.jobs[0]
        identity = f"{job_id}-{seq}-{batch.kind}"
        yield subjects.feed(batch.namespace, batch.kind), wrap(batch, type_=batch.type, source=source, id_=identity)
