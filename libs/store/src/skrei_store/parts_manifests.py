"""What a commit of the leader writes of the lists that inputs are pinned to."""

from collections.abc import Iterator, Mapping
from typing import Any

from skrei_domain.messages import ManifestRef
from skrei_scheduling.changes import JobChange
from skrei_store.bulk import Part
from skrei_store.values import storable

MANIFESTS_NEW = Part(
    "manifests_added",
    (
        "job_id text",
        "job_version int8",
        "task text",
        "input int8",
        "digest text",
        "parts int8",
        "files int8",
        "size_bytes int8",
    ),
    "INSERT INTO manifests ({names}) SELECT new.* FROM {new}",
)


def manifest_rows(job: JobChange) -> Iterator[tuple[object, ...]]:
    """Yield the rows for MANIFESTS_NEW."""
    for (task, number), ref in job.manifests:
        yield (job.id, job.version, storable(task), number, ref.digest, ref.parts, ref.files, ref.size_bytes)


def manifest_ref(row: Mapping[str, Any]) -> ManifestRef:
    """Return the list that a row of `manifests` names."""
    return ManifestRef(digest=row["digest"], parts=row["parts"], files=row["files"], size_bytes=row["size_bytes"])
