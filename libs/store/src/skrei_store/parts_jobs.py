"""What a commit of the leader writes of jobs: their rows, their history, and what asks for them to be compared."""

from skrei_scheduling.changes import EvaluationNew, HistoryNew, JobChange
from skrei_store.bulk import Part
from skrei_store.values import dump, storable

JOBS = Part(
    "jobs_changed",
    (
        "id text",
        "history_seq int8",
        "state text",
        "message text",
        "details text",
        "won int8",
        "units int8",
        "good int8",
        "progress int8",
        "progress_at timestamptz",
        "paused bool",
    ),
    """
    UPDATE jobs AS j
    SET history_seq = new.history_seq, state = coalesce(new.state, j.state),
        message = coalesce(new.message, j.message), details = coalesce(new.details, j.details),
        units_won = j.units_won + new.won, units_total = coalesce(new.units, j.units_total),
        good_version = coalesce(new.good, j.good_version), progress = coalesce(new.progress, j.progress),
        progress_at = coalesce(new.progress_at, j.progress_at), paused = coalesce(new.paused, j.paused),
        modified_at = {at}
    FROM {new} WHERE j.id = new.id AND j.id = ANY ({ids})
    """,
    counted=True,
    light=True,
)

HISTORY = Part(
    "history_added",
    (
        "job_id text",
        "seq int8",
        "job_version int8",
        "execution_id text",
        "topic text",
        "message text",
        "details text",
        "node_time timestamptz",
    ),
    "INSERT INTO history ({names}, at) SELECT new.*, {at} FROM {new}",
    light=True,
)

EVALUATIONS_NEW = Part(
    "evaluations_added",
    ("id text", "job_id text", "namespace text", "trigger text", "comment text", "delay float8", "version int8"),
    """
    INSERT INTO evaluations (id, job_id, namespace, trigger, comment, run_after, version)
    SELECT id, job_id, namespace, trigger, comment, {at} + make_interval(secs => delay), version FROM {new}
    """,
    light=True,
)

EVALUATIONS_DONE = Part(
    "evaluations_answered", ("id text",), "DELETE FROM evaluations WHERE id = ANY ({ids})", light=True
)


def job_row(job: JobChange) -> tuple[object, ...]:
    """Return the row for JOBS."""
    return (
        job.id,
        job.history_seq,
        job.state,
        None if job.message is None else storable(job.message),
        None if job.details is None else dump(job.details),
        len(job.won),
        job.units,
        job.good_version,
        job.progress,
        job.progress_at,
        job.paused,
    )


def history_row(item: HistoryNew) -> tuple[object, ...]:
    """Return the row for HISTORY."""
    return (
        item.job_id,
        item.seq,
        item.job_version,
        item.execution_id,
        item.topic,
        storable(item.message),
        dump(item.details),
        item.node_time,
    )


def new_evaluation_row(new: EvaluationNew) -> tuple[object, ...]:
    """Return the row for EVALUATIONS_NEW."""
    return (new.id, new.job_id, new.namespace, new.trigger, storable(new.comment), new.delay_seconds, new.version)
