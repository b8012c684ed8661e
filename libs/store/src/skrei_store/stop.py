"""The intent to stop a job: a state, a generation, its history, the audit and an evaluation, in one statement."""

from skrei_domain.errors import Conflict, NotFound
from skrei_domain.ids import new_evaluation_id
from skrei_domain.lifecycle import JobState
from skrei_domain.messages import HintedEvaluation
from skrei_scheduling import texts
from skrei_store.db import Connection
from skrei_store.values import dump

STOP = f"""
WITH stopped AS (
    UPDATE jobs
    SET state = '{JobState.STOPPED}', message = $2, details = '{{}}', stop_reason = $2, generation = generation + 1,
        history_seq = history_seq + 2, modified_at = clock_timestamp()
    WHERE id = $1 AND state IN ('{JobState.PENDING}', '{JobState.QUEUED}', '{JobState.RUNNING}')
    RETURNING *
), told AS (
    INSERT INTO history (job_id, seq, job_version, execution_id, topic, message, details, at)
    SELECT id, history_seq - 1, version, '', '{texts.SCHEDULING}', 'Job requested to stop before completion', $3::text,
           modified_at FROM stopped
    UNION ALL
    SELECT id, history_seq, version, '', '{texts.STATE_UPDATE}', '{JobState.STOPPED}', $4::text, modified_at
    FROM stopped
), audited AS (
    INSERT INTO audit (at, actor, action, object, details)
    SELECT modified_at, $5, 'job.stop', id, $3 FROM stopped
), asked AS (
    INSERT INTO evaluations (id, job_id, namespace, trigger, run_after)
    SELECT $6, id, namespace, '{texts.TRIGGER_CANCEL}', modified_at FROM stopped
)
SELECT stopped.id, namespace, name, type, generation, stopped.version, priority, stopped.created_at, asked_at,
       history_seq, traceparent, good_version, anew, v.spec, v.submitter
FROM stopped JOIN job_versions AS v ON v.job_id = stopped.id AND v.version = stopped.version
"""


async def stop_job(connection: Connection, job_id: str, *, reason: str, actor: str) -> HintedEvaluation | None:
    """Stop a job that has not ended; None where it was stopped before (the first reason is kept).

    Raises NotFound, and Conflict for a job that is Completed or Failed.
    """
    evaluation_id = new_evaluation_id()
    row = await connection.fetchrow(
        STOP,
        job_id,
        reason,
        dump({texts.REASON: reason}),
        dump({texts.NEW_STATE: JobState.STOPPED.value}),
        actor,
        evaluation_id,
    )
    if row is None:
        state = await connection.fetchval("SELECT state FROM jobs WHERE id = $1", job_id)
        if state is None:
            raise NotFound(f"job not found: {job_id}", job_id=job_id)
        if state == JobState.STOPPED.value:
            return None
        raise Conflict(f"cannot stop job in state {state} (job {job_id})", job_id=job_id, state=state)
    return HintedEvaluation(
        evaluation_id=evaluation_id,
        trigger=texts.TRIGGER_CANCEL,
        job_id=row["id"],
        namespace=row["namespace"],
        job_name=row["name"],
        job_type=row["type"],
        generation=row["generation"],
        version=row["version"],
        state=JobState.STOPPED.value,
        priority=row["priority"],
        created_at=row["created_at"],
        asked_at=row["asked_at"],
        spec_json=row["spec"],
        traceparent=row["traceparent"],
        actor=actor,
        submitter=row["submitter"],
        history_seq=row["history_seq"],
        good_version=row["good_version"],
        anew=row["anew"],
    )
