"""New versions of jobs that exist: by name (an update) or from a version that was (a rerun).

Each is decided on what was read, and written only where the job's version is still that one: whoever lost a race reads
again and decides anew. One statement makes the versions of many jobs; it locks their rows in the order in which the
leader does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skrei_domain.job import Blob, JobSpec
from skrei_domain.lifecycle import JobState
from skrei_domain.messages import HintedEvaluation
from skrei_scheduling import texts
from skrei_store.db import Connection
from skrei_store.idempotency import TOKEN_HOURS
from skrei_store.submission import Submitted, units_of
from skrei_store.values import dump, dump_labels

_OVER = ", ".join(f"'{state.value}'" for state in JobState if state.is_terminal)

NEW_VERSIONS = f"""
WITH input AS MATERIALIZED (
    SELECT *, statement_timestamp() + (place - 1) * interval '1 microsecond' AS at
    FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
                $17::bool[])
    WITH ORDINALITY AS input (id, base, priority, count, units, labels, traceparent, spec, evaluation_id, token, digest,
                              actor, trigger, action, message, details, anew, place)
), held AS MATERIALIZED (
    SELECT id, version, state, message, details FROM jobs WHERE id = ANY ($1::text[]) ORDER BY id FOR UPDATE
), moved AS (
    UPDATE jobs AS j
    SET version = j.version + 1, generation = j.generation + 1, state = '{JobState.PENDING}',
        message = input.message, details = '{{}}', stop_reason = '', history_seq = j.history_seq + 1,
        priority = input.priority, count = input.count, units_total = input.units, units_won = 0,
        progress = 0, progress_at = NULL, paused = false,
        anew = CASE WHEN input.anew THEN j.version + 1 ELSE j.anew END,
        labels = input.labels::jsonb, traceparent = input.traceparent, asked_at = input.at, modified_at = input.at
    FROM input JOIN held ON held.id = input.id AND held.version = input.base
    WHERE j.id = input.id
    RETURNING j.id, j.namespace, j.name, j.type, j.version, j.generation, j.history_seq, j.created_at, j.asked_at,
              j.good_version, j.anew, evaluation_id, spec, token, digest, actor, trigger, action, input.details,
              held.state AS was, held.message AS was_message, held.details AS was_details
), ended AS (
    UPDATE job_versions AS v
    SET state = CASE WHEN moved.was IN ({_OVER}) THEN moved.was ELSE '{JobState.STOPPED}' END,
        message = CASE WHEN moved.was IN ({_OVER}) THEN moved.was_message
                       ELSE 'Replaced by version ' || moved.version END,
        details = CASE WHEN moved.was IN ({_OVER}) THEN moved.was_details ELSE '{{}}' END,
        ended_at = moved.asked_at
    FROM moved WHERE v.job_id = moved.id AND v.version = moved.version - 1
), specs AS (
    INSERT INTO job_versions (job_id, version, spec, submitter, created_at)
    SELECT id, version, spec, actor, asked_at FROM moved
), asked AS (
    INSERT INTO evaluations (id, job_id, namespace, trigger, run_after)
    SELECT evaluation_id, id, namespace, trigger, asked_at FROM moved
), told AS (
    INSERT INTO history (job_id, seq, job_version, execution_id, topic, message, details, at)
    SELECT id, history_seq, version, '', '{texts.SUBMISSION}',
           CASE trigger WHEN '{texts.TRIGGER_RERUN}' THEN '{texts.RERUN}' ELSE '{texts.UPDATED}' END, details, asked_at
    FROM moved
), audited AS (
    INSERT INTO audit (at, actor, action, object, details) SELECT asked_at, actor, action, id, details FROM moved
), answered AS (
    INSERT INTO idempotency (namespace, caller, token, digest, job_id, evaluation_id, expires_at)
    SELECT namespace, actor, token, digest, id, evaluation_id, asked_at + interval '{TOKEN_HOURS} hours'
    FROM moved WHERE token <> ''
), kept AS (
    INSERT INTO blobs (digest, size, data, created_at)
    SELECT digest, length(data), data, statement_timestamp()
    FROM unnest($18::text[], $19::bytea[], $20::text[]) AS blob (digest, data, job_id)
    WHERE job_id IN (SELECT id FROM moved)
    ON CONFLICT DO NOTHING
)
SELECT id, namespace, name, type, version, generation, history_seq, created_at, asked_at, good_version, anew FROM moved
"""


@dataclass(frozen=True, slots=True)
class NewVersion:
    """The next version of a job, as long as `base` is its current one."""

    job_id: str
    base: int
    evaluation_id: str
    spec: JobSpec
    spec_json: str
    actor: str
    traceparent: str = ""
    blobs: tuple[Blob, ...] = ()
    token: str = ""
    digest: str = ""
    rerun: bool = False
    anew: bool = False  # all of it is to begin anew, though it asks for what there is
    reason: str = texts.UPDATE_REQUESTED

    @property
    def key(self) -> tuple[str, str, str]:
        """What its token is unique within."""
        return (self.spec.namespace, self.actor, self.token)

    @property
    def trigger(self) -> str:
        """What its evaluation is asked for by."""
        return texts.TRIGGER_RERUN if self.rerun else texts.TRIGGER_UPDATE


async def write_versions(connection: Connection, wanted: Sequence[NewVersion]) -> dict[str, Submitted]:
    """Write new versions, one for each job at most; return what became of them, by job.

    A job whose version has moved on is not among them.
    """
    if not wanted:
        return {}
    columns = list(zip(*(_columns(each) for each in wanted), strict=True))
    blobs = [(blob.digest, blob.data, each.job_id) for each in wanted for blob in each.blobs]
    kept = list(zip(*blobs, strict=True)) or [(), (), ()]
    rows = await connection.fetch(NEW_VERSIONS, *columns, *kept)
    by_job = {each.job_id: each for each in wanted}
    return {row["id"]: _submitted(by_job[row["id"]], row) for row in rows}


def _columns(new: NewVersion) -> tuple[object, ...]:
    spec = new.spec
    return (
        new.job_id,
        new.base,
        spec.priority,
        spec.count,
        units_of(spec),
        dump_labels(spec.labels),
        new.traceparent,
        new.spec_json,
        new.evaluation_id,
        new.token,
        new.digest,
        new.actor,
        new.trigger,
        "job.rerun" if new.rerun else "job.update",
        new.reason,
        dump({texts.REASON: new.reason}),
        new.anew,
    )


def _submitted(new: NewVersion, row: Any) -> Submitted:
    return Submitted(
        new.job_id,
        new.evaluation_id,
        HintedEvaluation.model_construct(
            evaluation_id=new.evaluation_id,
            trigger=new.trigger,
            job_id=new.job_id,
            namespace=row["namespace"],
            job_name=row["name"],
            job_type=row["type"],
            generation=row["generation"],
            version=row["version"],
            state=JobState.PENDING.value,
            priority=new.spec.priority,
            created_at=row["created_at"],
            asked_at=row["asked_at"],
            spec_json=new.spec_json,
            traceparent=new.traceparent,
            actor=new.actor,
            submitter=new.actor,
            history_seq=row["history_seq"],
            good_version=row["good_version"],
            anew=row["anew"],
        ),
        row["version"],
    )
