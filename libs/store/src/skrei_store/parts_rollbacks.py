"""What a commit of the leader writes where a service goes back: the next version is again what an earlier one was.

As in `versions`, where users make them: version, generation, `Pending`, spec, audit. The history row comes with the
rest of the commit, numbered from the locked row: nobody else can have made that version meanwhile.
"""

from skrei_domain.lifecycle import JobState
from skrei_scheduling import texts
from skrei_scheduling.changes import Rollback
from skrei_store.bulk import Part
from skrei_store.values import dump

_COLUMNS = ("id text", "good int8", "version int8", "message text", "details text")

ROLLED_BACK = Part(
    "rolled_back",
    _COLUMNS,
    f"""
    UPDATE jobs AS j
    SET version = new.version, generation = j.generation + 1, state = '{JobState.PENDING}', message = new.message,
        details = '{{{{}}}}', priority = spec.priority, count = spec.count, units_total = spec.units, units_won = 0,
        labels = spec.labels, asked_at = {{at}}, good_version = new.version,
        progress = 0, progress_at = NULL, paused = false, modified_at = {{at}}
    FROM {{new}}
    CROSS JOIN LATERAL (
        SELECT (s ->> 'Priority')::int8 AS priority, (s ->> 'Count')::int8 AS count, s -> 'Labels' AS labels,
               (SELECT sum(coalesce((t ->> 'Count')::int8, (s ->> 'Count')::int8))
                FROM jsonb_array_elements(s -> 'Tasks') AS t) AS units
        FROM (SELECT v.spec::jsonb AS s FROM job_versions v WHERE v.job_id = new.id AND v.version = new.good) AS known
    ) AS spec
    WHERE j.id = new.id AND j.id = ANY ({{ids}}) AND j.version = new.version - 1
    """,
    counted=True,
    after=frozenset({"jobs_changed"}),
)

ROLLED_SPECS = Part(
    "rolled_specs",
    _COLUMNS,
    """
    INSERT INTO job_versions (job_id, version, spec, schema, submitter, created_at)
    SELECT v.job_id, new.version, v.spec, v.schema, v.submitter, {at}
    FROM {new} JOIN job_versions v ON v.job_id = new.id AND v.version = new.good AND v.job_id = ANY ({ids})
    """,
    counted=True,
)

ROLLED_ENDS = Part(
    "rolled_ends",
    _COLUMNS,
    f"""
    UPDATE job_versions AS v
    SET state = '{JobState.FAILED}', message = new.message, details = '{{{{}}}}', ended_at = {{at}}
    FROM {{new}} WHERE v.job_id = new.id AND v.version = new.version - 1 AND v.job_id = ANY ({{ids}})
    """,
    counted=True,
)

ROLLED_AUDIT = Part(
    "rolled_audit",
    _COLUMNS,
    f"""
    INSERT INTO audit (at, actor, action, object, details)
    SELECT {{at}}, '{texts.ROLLBACK_ACTOR}', '{texts.ROLLBACK_ACTION}', new.id, new.details FROM {{new}}
    """,
)

ROLLBACKS = (ROLLED_BACK, ROLLED_SPECS, ROLLED_ENDS, ROLLED_AUDIT)


def rollback_row(rollback: Rollback) -> tuple[object, ...]:
    """Return the row for each part of a rollback."""
    details = dump({texts.REASON: rollback.reason, "To": str(rollback.good), "Version": str(rollback.version)})
    return (rollback.job_id, rollback.good, rollback.version, rollback.reason, details)
