"""Every shape of the document by name, and what stands in paths."""

from typing import Any

from skrei_orchestrator_api.openapi import shapes_jobs, shapes_nodes, shapes_server
from skrei_orchestrator_api.openapi.building import TEXT, Schema, ref, said
from skrei_orchestrator_api.openapi.examples import EXAMPLES

__all__ = ["IF_NONE_MATCH", "PATH_PARAMETERS", "SCHEMAS", "ref"]

_ALL = shapes_server.SCHEMAS | shapes_jobs.SCHEMAS | shapes_nodes.SCHEMAS
_SHOWN: dict[str, Schema] = {name: _ALL[name] | {"examples": [example]} for name, example in EXAMPLES.items()}
SCHEMAS: dict[str, Schema] = dict(sorted((_ALL | _SHOWN).items()))

_SEGMENT: Schema = TEXT | {"minLength": 1, "maxLength": 256}

PATH_PARAMETERS: dict[str, tuple[str, Schema]] = {
    "job_id": ("A job's name, its id, or the beginning of its id.", _SEGMENT | {"examples": [shapes_jobs.JOB_ID]}),
    "node_id": ("A node's id, or the beginning of one.", _SEGMENT | {"examples": [shapes_jobs.NODE_ID]}),
    "digest": ("The digest of an input that was cut out of a spec.", said(_SEGMENT, "`sha256:` and 64 digits.")),
    "method": ("The name of a method of proving who one is.", _SEGMENT | {"examples": ["ClientKey"]}),
}

IF_NONE_MATCH: dict[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "An `ETag` that was told before: while it holds, the answer is 304 without a body.",
    "schema": TEXT,
}
