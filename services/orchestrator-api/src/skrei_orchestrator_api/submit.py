"""A submission from its raw body to its answer, and the hint that makes the scheduler look at once."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from skrei_domain.errors import Invalid
from skrei_domain.job import Blob, JobSpec, cut_blobs, parse_job, stored_text
from skrei_domain.job_reading import InvalidJob, Keys, Reading, bytes_of, show
from skrei_domain.retention import Policy, spelled
from skrei_kit import tracing
from skrei_orchestrator_api.http import parse_json
from skrei_orchestrator_api.problems import HttpProblem

KEPT_BODIES = 64
"""Submissions whose meaning is kept: a burst is mostly one body many times over, and reading is half of taking it."""
KEPT_BODY_BYTES = 16 * 1024
"""The longest of them: what is kept comes to some megabytes."""
MAX_TOKEN_BYTES = 256
"""An idempotency token: a uuid or a digest; it is an index key."""

_BODY = Keys("Job", "Force", "Namespace", "IdempotencyToken", "Credential")


class Asked(NamedTuple):
    """What a submission's body asks for; `force`: a new version, also where nothing has changed. `digest` tells one
    body from another under the same token."""

    spec: JobSpec
    warnings: tuple[str, ...]
    token: str
    force: bool
    digest: str = ""


class Bodies:
    """Reads submissions as `read_submission` does; the same body is read once, as what it means never changes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bytes, str], Asked] = OrderedDict()

    def read(self, raw: bytes, namespace: str = "") -> Asked:
        """Return what a body asks for. Raises what `read_submission` raises."""
        key = (raw, namespace)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        found = read_submission(raw, namespace)
        if len(raw) <= KEPT_BODY_BYTES and not found.token:  # whoever names a token does not say the same again
            self._kept[key] = found
            if len(self._kept) > KEPT_BODIES:
                self._kept.popitem(last=False)
        return found


def read_submission(raw: bytes, namespace: str = "") -> Asked:
    """Return what a submission's body asks for, in `namespace` where it names none.

    Raises Invalid naming all that is wrong, Unsupported for what later versions bring, HttpProblem for no JSON.
    """
    return read_asked(parse_json(raw), namespace)


def read_asked(body: object, namespace: str = "") -> Asked:
    """The same, of a body that was read as JSON."""
    if not isinstance(body, Mapping):
        raise HttpProblem(400, "the body is not a JSON object")
    reading = Reading()
    found = reading.record(body, "", _BODY)
    job: Any = found.get("Job")
    if job is None:
        raise Invalid("empty/nil job")
    if not isinstance(job, Mapping):
        raise Invalid("Job: allowed: an object")
    namespace = found.get("Namespace") or namespace
    if namespace and not any(key.lower() == "namespace" and value for key, value in job.items()):
        job = {**job, "Namespace": namespace}
    token = token_in(found)
    force = found.get("Force") or False
    if not isinstance(force, bool):
        raise Invalid(f"Force: {show(force)}; allowed: true or false")
    spec, warnings = parse_job(job)
    if "/" in spec.name:
        warnings += (f"Name: {show(spec.name)} has a slash, which parts an address: use the job's id in addresses",)
    return Asked(spec, warnings, token, force, digest([body, namespace]) if token else "")


def check_retention(spec: JobSpec, policy: Policy) -> None:
    """Refuse a job that asks for more than its namespace allows. Raises InvalidJob."""
    if spec.retention is None or not (beyond := policy.beyond(spec.namespace, spec.retention.asked)):
        return
    reading = Reading()
    for kind, asked, most in beyond:
        allowed = f"at most {spelled(most)} in namespace {spec.namespace} (SKREI_RETENTION)"
        reading.wrong(f"Retention.{kind.capitalize()}", spelled(asked), allowed)
    raise InvalidJob(reading.problems)


def token_in(body: Mapping[str, Any]) -> str:
    """Return the idempotency token of a body, empty for none. Raises Invalid for one that cannot be kept."""
    token = body.get("IdempotencyToken") or ""
    if not isinstance(token, str) or "\0" in token or bytes_of(token) > MAX_TOKEN_BYTES or not token.isprintable():
        raise Invalid(f"IdempotencyToken: allowed: printable text of at most {MAX_TOKEN_BYTES} bytes")
    return token


def to_store(spec: JobSpec, job_id: str) -> tuple[JobSpec, str, tuple[Blob, ...]]:
    """Return the spec with its name (the job's id when it has none), its stored text, and the blobs cut out of it."""
    named = spec if spec.name else spec.model_copy(update={"name": job_id})
    cut, blobs = cut_blobs(named)
    return cut, stored_text(cut), blobs


def digest(body: object) -> str:
    """Return what tells one request from another under the same idempotency token: not how its JSON was written."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def traceparent(given: str) -> str:
    """Return the caller's trace context (W3C Trace Context); empty for what is none."""
    return given if tracing.read(given) is not None else ""
