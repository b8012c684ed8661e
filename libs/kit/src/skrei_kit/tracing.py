"""Spans, as values: who they belong to (W3C Trace Context), and how a collector reads them (OTLP in JSON). Pure.

Every id of a span is made from what the span is of, so that whoever tells of a part knows the id of the whole: nothing
has to be carried along, or remembered over a restart, but the context that came with the job (ADR 0045).
"""

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, TypeAlias
from uuid import UUID

Value: TypeAlias = str | int | float | bool

SAMPLED = 1
INTERNAL, SERVER = 1, 2
"""Kinds of spans, by the numbers of OTLP."""
FAILED = 2
"""The status of a span of something that failed, by its number there."""
SCALE = 2**32
"""A trace is sampled by the first 32 bits of its id."""

_TRACEPARENT = re.compile(r"00-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Context:
    """Which trace, which span of it is the parent of what follows (empty: none), and whether anybody wants it."""

    trace_id: str
    span_id: str = ""
    sampled: bool = True

    def child(self, span_id: str) -> "Context":
        """Return the context of what a span of this trace begins."""
        return Context(self.trace_id, span_id, self.sampled)

    @property
    def header(self) -> str:
        """The `traceparent` that says this to others."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took a while. `resource` says who did it, in the words of OpenTelemetry."""

    name: str
    context: Context
    parent_id: str
    began: datetime
    ended: datetime
    kind: int = INTERNAL
    resource: tuple[tuple[str, str], ...] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str | None = None
    """Why it failed; None where it did not."""


def read(text: str) -> Context | None:
    """Return the context that a `traceparent` says; None for what is none."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    return Context(match[1], match[2], bool(int(match[3], 16) & SAMPLED))


def fresh(share: float) -> Context:
    """Return a new trace; of all a `share` is sampled."""
    return of_trace(secrets.token_hex(16), share)


def of_trace(trace_id: str, share: float) -> Context:
    """Return the context of a trace without a parent, sampled or not by its id: everybody decides alike."""
    return Context(trace_id, "", int(trace_id[:8], 16) < share * SCALE)


def of_job(traceparent: str, job_id: str, share: float) -> Context:
    """Return the context that a job belongs to: what came with it, else a trace of its own, named by its id."""
    given = read(traceparent)
    if given is not None:
        return given
    try:
        trace = UUID(job_id.removeprefix("j-")).hex
    except ValueError:
        trace = id_of(job_id, 1) + id_of(job_id, 2)
    return of_trace(trace, share)


def job_span(job_id: str, version: int) -> str:
    """Return the id of the span of a version of a job, from its submission to its end."""
    return id_of(job_id, version, "job")


def id_of(*words: object) -> str:
    """Return the id of the span of what these words name; the same for the same."""
    return blake2b("/".join(map(str, words)).encode(), digest_size=8).hexdigest()


def otlp(spans: Iterable[Span]) -> bytes:
    """Return spans as a collector takes them: the body of a POST to `/v1/traces`."""
    by_resource: dict[tuple[tuple[str, str], ...], list[Span]] = {}
    for span in spans:
        by_resource.setdefault(span.resource, []).append(span)
    groups = [
        {
            "resource": {"attributes": _attributes(dict(resource))},
            "scopeSpans": [{"scope": {"name": "skrei"}, "spans": [_told(span) for span in group]}],
        }
        for resource, group in by_resource.items()
    ]
    return json.dumps({"resourceSpans": groups}, separators=(",", ":")).encode()


def _told(span: Span) -> dict[str, Any]:
    told: dict[str, Any] = {
        "traceId": span.context.trace_id,
        "spanId": span.context.span_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(_nanoseconds(span.began)),
        "endTimeUnixNano": str(_nanoseconds(max(span.began, span.ended))),
        "attributes": _attributes(span.attributes),
    }
    if span.parent_id:
        told["parentSpanId"] = span.parent_id
    if span.error is not None:
        told["status"] = {"code": FAILED, "message": span.error}
    return told


def _attributes(values: Mapping[str, Value]) -> Sequence[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case _:
            return {"stringValue": value}


def _nanoseconds(at: datetime) -> int:
    since = at - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
