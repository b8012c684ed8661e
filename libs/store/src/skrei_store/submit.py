"""Submissions into the record, many in one statement, which is their transaction: all of a job is there or nothing.

One whose name is in use is left out by the statement itself: it is the next version of the job that has the name (see
`update`). One that the record refuses fails alone: a batch that fails as a whole is tried again in halves.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from skrei_domain.lifecycle import JobState
from skrei_domain.messages import HintedEvaluation
from skrei_scheduling import texts
from skrei_store.admission import Admission
from skrei_store.db import Connection, away
from skrei_store.halves import ERRORS, in_halves, invalid, refusal
from skrei_store.idempotency import TOKEN_HOURS, known
from skrei_store.submission import Submission, Submitted, units_of
from skrei_store.update import update_many
from skrei_store.values import dump_labels

SUBMIT = f"""
WITH input AS MATERIALIZED (
    SELECT *, statement_timestamp() + (place - 1) * interval '1 microsecond' AS at  -- in order of arrival
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int8[], $6::int8[], $7::int8[], $8::text[],
                $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[])
    WITH ORDINALITY AS input (id, namespace, name, type, priority, count, units, labels, traceparent, spec,
                              evaluation_id, token, digest, actor, place)
), made AS (
    INSERT INTO jobs (id, namespace, name, type, priority, count, state, history_seq, units_total, labels, traceparent,
                      created_at, asked_at, modified_at)
    SELECT id, namespace, name, type, priority, count, '{JobState.PENDING}', 1, units, labels::jsonb, traceparent,
           at, at, at
    FROM input ORDER BY place
    ON CONFLICT DO NOTHING
    RETURNING id, created_at
), accepted AS MATERIALIZED (
    SELECT input.* FROM input JOIN made USING (id)
), specs AS (
    INSERT INTO job_versions (job_id, version, spec, submitter, created_at) SELECT id, 1, spec, actor, at FROM accepted
), asked AS (
    INSERT INTO evaluations (id, job_id, namespace, trigger, run_after)
    SELECT evaluation_id, id, namespace, '{texts.TRIGGER_REGISTER}', at FROM accepted
), told AS (
    INSERT INTO history (job_id, seq, job_version, execution_id, topic, message, details, at)
    SELECT id, 1, 1, '', '{texts.SUBMISSION}', '{texts.SUBMITTED}', '{{}}', at FROM accepted
), audited AS (
    INSERT INTO audit (at, actor, action, object, details)
    SELECT at, actor, 'job.submit', id, '{{}}' FROM accepted ORDER BY place
), answered AS (
    INSERT INTO idempotency (namespace, caller, token, digest, job_id, evaluation_id, expires_at)
    SELECT namespace, actor, token, digest, id, evaluation_id, at + interval '{TOKEN_HOURS} hours'
    FROM accepted WHERE token <> ''
)
SELECT id, created_at FROM made
"""

_KEEP = """, kept AS (
    INSERT INTO blobs (digest, size, data, created_at)
    SELECT digest, length(data), data, statement_timestamp()
    FROM unnest($15::text[], $16::bytea[], $17::text[]) AS blob (digest, data, job_id)
    WHERE job_id IN (SELECT id FROM made)
    ON CONFLICT DO NOTHING
)
SELECT id, created_at FROM made
"""
SUBMIT_WITH_BLOBS = SUBMIT[: SUBMIT.rindex("SELECT id, created_at")].rstrip() + _KEEP


Meanwhile = Callable[[Sequence[Submission]], None]
"""Is told of submissions while the record is at work on them, which may come to nothing."""


async def submit_many(
    connection: Connection,
    batch: Sequence[Submission],
    admission: Admission | None = None,
    *,
    meanwhile: Meanwhile | None = None,
) -> list[Submitted | Exception]:
    """Store submissions and return, in order, what became of each; `meanwhile` hears of those that ask to be new jobs.

    `connection` has no transaction open: what is answered is committed. A refused one gets Conflict (it changes
    nothing of the job that has its name, or its token is in use), Invalid, Exhausted or Unavailable; where the record
    went away, what it raised.
    """
    answers: dict[int, Submitted | Exception] = {}
    later: list[int] = []  # those whose token came twice in this batch: the first is answered first
    try:
        answers.update(await known(connection, dict(enumerate(batch))))
        tokens: set[tuple[str, str, str]] = set()
        fresh: list[int] = []
        for index, submission in enumerate(batch):
            if index in answers:
                continue
            if submission.token and submission.key in tokens:
                later.append(index)
                continue
            tokens.add(submission.key)
            refusal = await admission.admit(connection, submission.spec.namespace) if admission else None
            if refusal is not None:
                answers[index] = refusal
            else:
                fresh.append(index)
    except ERRORS as error:
        if away(error):
            return [answers.get(index, error) for index in range(len(batch))]
        if len(batch) > 1:
            half = len(batch) // 2
            first = await submit_many(connection, batch[:half], admission, meanwhile=meanwhile)
            return first + await submit_many(connection, batch[half:], admission, meanwhile=meanwhile)
        return [invalid(batch[0])]
    stored = await _store(connection, [batch[index] for index in fresh], meanwhile)
    answers.update(zip(fresh, stored, strict=True))
    if later:
        again = await submit_many(connection, [batch[i] for i in later], admission)  # they are answered by the first
        answers.update(zip(later, again, strict=True))
    return [answers[index] for index in range(len(batch))]


async def _store(
    connection: Connection, batch: Sequence[Submission], meanwhile: Meanwhile | None
) -> list[Submitted | Exception]:
    """Store new jobs first, then versions of those whose names are in use."""
    if not batch:
        return []
    stored = await in_halves(batch, partial(_new_jobs, connection, meanwhile), partial(refusal, connection))
    named = [submission for submission, answer in zip(batch, stored, strict=True) if answer is None]
    updated = iter(await update_many(connection, named))
    return [next(updated) if answer is None else answer for answer in stored]


async def _new_jobs(
    connection: Connection, meanwhile: Meanwhile | None, batch: Sequence[Submission]
) -> list[Submitted | None]:
    """Store those whose names are free; None for the others."""
    if meanwhile is not None:
        asyncio.get_running_loop().call_soon(meanwhile, batch)  # the statement leaves first, in this turn
    made = await _insert(connection, batch)
    return [
        _submitted(submission, made[submission.job_id]) if submission.job_id in made else None for submission in batch
    ]


async def _insert(connection: Connection, batch: Sequence[Submission]) -> dict[str, datetime]:
    """Run the statement; return when each accepted job was created."""
    columns = zip(*(_columns(submission) for submission in batch), strict=True)
    blobs = [(blob.digest, blob.data, submission.job_id) for submission in batch for blob in submission.blobs]
    if blobs:
        rows = await connection.fetch(SUBMIT_WITH_BLOBS, *columns, *zip(*blobs, strict=True))
    else:
        rows = await connection.fetch(SUBMIT, *columns)
    return {row["id"]: row["created_at"] for row in rows}


def _columns(submission: Submission) -> tuple[object, ...]:
    spec = submission.spec
    return (
        submission.job_id,
        spec.namespace,
        spec.name,
        spec.type,
        spec.priority,
        spec.count,
        units_of(spec),
        dump_labels(spec.labels),
        submission.traceparent,
        submission.spec_json,
        submission.evaluation_id,
        submission.token,
        submission.digest,
        submission.actor,
    )


def _submitted(submission: Submission, created_at: datetime) -> Submitted:
    return Submitted(submission.job_id, submission.evaluation_id, hinted(submission, created_at))


def hinted(submission: Submission, created_at: datetime) -> HintedEvaluation:
    """Return what the leader needs to know of a new job."""
    spec = submission.spec
    return HintedEvaluation.model_construct(
        evaluation_id=submission.evaluation_id,
        trigger=texts.TRIGGER_REGISTER,
        job_id=submission.job_id,
        namespace=spec.namespace,
        job_name=spec.name,
        job_type=spec.type,
        generation=1,
        version=1,
        state=JobState.PENDING.value,
        priority=spec.priority,
        created_at=created_at,
        spec_json=submission.spec_json,
        traceparent=submission.traceparent,
        actor=submission.actor,
        submitter=submission.actor,
        history_seq=1,
    )
