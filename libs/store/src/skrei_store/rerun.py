"""The intent to run a version of a job once more: as the next version, whatever became of the one that it copies."""

from contextlib import nullcontext

import asyncpg

from skrei_domain.errors import Conflict, NotFound, Unavailable
from skrei_domain.ids import new_evaluation_id
from skrei_domain.job import JobSpec, decode, encode
from skrei_domain.job_kinds import KINDS, Kind
from skrei_domain.lifecycle import JobState
from skrei_scheduling import texts
from skrei_store.admission import Admission
from skrei_store.db import Connection
from skrei_store.idempotency import known
from skrei_store.submission import Submitted
from skrei_store.update import RACES
from skrei_store.versions import NewVersion, write_versions

READ = """
SELECT j.namespace, j.version, v.spec, coalesce(v.state, j.state) AS state
FROM jobs j LEFT JOIN job_versions v
    ON v.job_id = j.id AND v.version = CASE WHEN $2::int8 = 0 THEN j.version ELSE $2::int8 END
WHERE j.id = $1
"""

KEEP_PINS = """
INSERT INTO manifests (job_id, job_version, task, input, digest, parts, files, size_bytes)
SELECT job_id, $3, task, input, digest, parts, files, size_bytes
FROM manifests WHERE job_id = $1 AND job_version = $2 AND (parts = 1 OR task = ANY ($4::text[]))
"""
"""What a version is pinned to, of lists that are one for everybody, and of those that are dealt out of these tasks."""

_NOT_BEGUN = (JobState.PENDING.value, JobState.QUEUED.value)


async def rerun_job(
    connection: Connection,
    job_id: str,
    *,
    version: int = 0,
    reason: str = "",
    same_inputs: bool = False,
    actor: str,
    traceparent: str = "",
    token: str = "",
    digest: str = "",
    admission: Admission | None = None,
) -> Submitted:
    """Make the next version of a job from one of its versions (0: the current one); the same token makes one alone.

    Raises NotFound for a job or version that is none, Conflict for one that has not begun, Unavailable for a lost race,
    and what `admission` refuses with. Who runs it again is whose grants go with it. With `same_inputs` it is pinned to
    the lists of inputs that the version was pinned to, as far as it has as many parts.
    """
    for _ in range(RACES):
        row = await connection.fetchrow(READ, job_id, version)
        if row is None:
            raise NotFound(f"job not found: {job_id}", job_id=job_id)
        if row["spec"] is None:
            raise NotFound(
                f"job version not found: {version} (job {job_id})", hint="`skrei job versions` shows which there are"
            )
        spec = decode(row["spec"])
        new = NewVersion(
            job_id=job_id,
            base=row["version"],
            evaluation_id=new_evaluation_id(),
            spec=spec,
            spec_json=encode(spec),
            actor=actor,
            traceparent=traceparent,
            token=token,
            digest=digest,
            rerun=True,
            anew=version in (0, row["version"]),
            reason=reason or texts.RERUN_REQUESTED,
        )
        if (answered := (await known(connection, {0: new})).get(0)) is not None:
            if isinstance(answered, Exception):
                raise answered
            return answered
        if row["state"] in _NOT_BEGUN:
            raise Conflict(
                f"cannot rerun job in state {row['state']}",
                hint="it has yet to run; `skrei job run` submits another spec",
                job_id=job_id,
                state=row["state"],
            )
        refused = await admission.admit(connection, row["namespace"]) if admission else None
        if refused is not None:
            raise refused
        try:
            async with connection.transaction() if same_inputs else nullcontext():
                done = await write_versions(connection, [new])
                if same_inputs and job_id in done:
                    copied, counted = version or row["version"], _counted(spec)
                    await connection.execute(KEEP_PINS, job_id, copied, done[job_id].version, counted)
        except asyncpg.UniqueViolationError:
            continue  # the same token has just been stored: it is found now
        except (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError) as error:
            raise Unavailable("others were in the way", hint="try again in a moment") from error
        if job_id in done:
            return done[job_id]
    raise Unavailable(f"others are changing job {job_id}", hint="try again in a moment")


def _counted(spec: JobSpec) -> list[str]:
    """Return the tasks that have as many partitions in every version with this spec: not what goes by nodes."""
    kind = KINDS.get(spec.type.lower(), Kind.BATCH)
    return [] if kind.per_node else [task.name for task in spec.tasks if task.split is None]
