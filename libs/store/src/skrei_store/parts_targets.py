"""What a commit of the leader writes of jobs that run once a node: which nodes are theirs, and where they gave up."""

import json
from collections import defaultdict
from collections.abc import Iterator

from skrei_scheduling.changes import JobChange
from skrei_scheduling.rows import Unit
from skrei_store.bulk import Part
from skrei_store.values import storable

TARGETS_NEW = Part(
    "targets_added",
    ("job_id text", "job_version int8", "node_id text", "partition int8"),
    "INSERT INTO targets ({names}) SELECT new.* FROM {new}",
)

TARGETS_FAILED = Part(
    "targets_failed",
    ("job_id text", "job_version int8", "partition int8", "failed text"),
    """
    UPDATE targets AS t SET failed = (t.failed::jsonb || new.failed::jsonb)::text
    FROM {new}
    WHERE t.job_id = new.job_id AND t.job_version = new.job_version AND t.partition = new.partition
        AND t.job_id = ANY ({ids})
    """,
    counted=True,
    after=frozenset({"targets_added"}),
)


def target_rows(job: JobChange) -> Iterator[tuple[object, ...]]:
    """Yield the rows for TARGETS_NEW."""
    for node_id, partition in job.targets:
        yield (job.id, job.version, node_id, partition)


def failed_rows(job: JobChange) -> Iterator[tuple[object, ...]]:
    """Yield the rows for TARGETS_FAILED: one a node, with each task that was given up there."""
    reasons: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for (task, partition), reason in job.failed:
        reasons[partition][storable(task)] = storable(reason)
    for partition, said in reasons.items():
        yield (job.id, job.version, partition, json.dumps(said))


def failed_units(partition: int, failed: str) -> dict[Unit, str]:
    """Return the units that a row of `targets` says were given up, each with the reason."""
    return {(task, partition): reason for task, reason in json.loads(failed).items()}
