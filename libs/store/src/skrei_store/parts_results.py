"""What a commit of the leader writes of results: new ones, and what became of those that were there."""

import base64
import json

from skrei_domain.messages import ResultRef
from skrei_domain.node_results import LOCAL_DIRECTORY
from skrei_scheduling.changes import ResultNew
from skrei_store.bulk import Part
from skrei_store.values import storable

RESULTS = Part(
    "results_added",
    (
        "execution_id text",
        "job_id text",
        "job_version int8",
        "task text",
        "partition int8",
        "committed bool",
        "digest text",
        "size int8",
        "inline bytea",
        "staged bool",
        "publisher text",
        "place text",
        "destination text",
        "published text",
    ),
    "INSERT INTO results ({names}, created_at) SELECT new.*, {at} FROM {new}",
)

RESULTS_STORED = Part(
    "results_stored",
    ("execution_id text", "digest text"),
    """
    UPDATE results AS r SET inline = NULL, stored_at = coalesce(r.stored_at, {at})
    FROM {new} WHERE r.execution_id = new.execution_id AND r.digest = new.digest AND r.execution_id = ANY ({ids})
    """,
)

RESULTS_FINALISED = Part(
    "results_finalised",
    ("execution_id text", "digest text"),
    """
    UPDATE results AS r SET staged = false, stored_at = coalesce(r.stored_at, {at})
    FROM {new} WHERE r.execution_id = new.execution_id AND r.digest = new.digest AND r.staged
        AND r.execution_id = ANY ({ids})
    """,
)

RESULTS_PUBLISHED = Part(
    "results_published",
    ("execution_id text", "published text", "own_bytes int8"),
    """
    UPDATE results AS r SET published = new.published, own_bytes = new.own_bytes
    FROM {new} WHERE r.execution_id = new.execution_id AND NOT r.staged AND r.execution_id = ANY ({ids})
    """,
    after=frozenset({"results_finalised"}),
)

RESULTS_REFUSED = Part(
    "results_refused",
    ("execution_id text", "digest text"),
    """
    UPDATE results AS r SET staged = false, committed = false
    FROM {new} WHERE r.execution_id = new.execution_id AND r.digest = new.digest AND r.staged
        AND r.execution_id = ANY ({ids})
    """,
    after=frozenset({"results_finalised"}),
)

RESULTS_WITHDRAWN = Part(
    "results_withdrawn",
    ("execution_id text",),
    "UPDATE results SET committed = false WHERE execution_id = ANY ({ids})",
    after=frozenset({"results_finalised"}),
)

RESULTS_DROPPED = Part(
    "results_dropped",
    ("execution_id text",),
    # Of what was published elsewhere only our copy has gone, or what of it was ours.
    """
    UPDATE results SET stored_at = CASE WHEN published IS NULL THEN NULL ELSE stored_at END, own_bytes = NULL
    WHERE execution_id = ANY ({ids}) AND (published IS NULL OR own_bytes IS NOT NULL)
    """,
    after=frozenset({"results_stored"}),
)


def new_result_row(new: ResultNew) -> tuple[object, ...]:
    """Return the row for RESULTS."""
    return (
        new.execution_id,
        new.job_id,
        new.job_version,
        new.task,
        new.partition,
        new.committed,
        new.result.digest,
        new.result.size,
        None if new.result.inline is None else base64.b64decode(new.result.inline),
        new.staged is not None,
        "" if new.staged is None else storable(new.staged.publisher),
        "" if new.staged is None else storable(new.staged.place),
        "" if new.staged is None else storable(new.staged.destination),
        None if new.staged is not None else _left(new.result),  # it is told once it is there
    )


def _left(result: ResultRef) -> str | None:
    """Return what clients read of a result that stays on its node."""
    if result.left_at is None:
        return None
    params: dict[str, object] = {"Path": result.left_at, "Bytes": result.left_bytes}
    if result.left_digest:
        params["Archive"] = {"Digest": result.left_digest, "Size": result.left_size}
    told = {"Type": LOCAL_DIRECTORY, "Params": params}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))
