"""A collector for tests: it takes OTLP over HTTP as the specification has it, and refuses what is none."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TRACE_ID, SPAN_ID = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Received:
    """A span as it came."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    began: int
    ended: int
    attributes: dict[str, Any]
    failed: str | None


@dataclass
class Collector:
    """What came. `answers` are statuses for the next requests, before it takes them again."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def of_trace(self, trace_id: str) -> list[Received]:
        return [span for span in self.spans if span.trace_id == trace_id]


def read(document: dict[str, Any]) -> list[Received]:
    """Return the spans of a request's body. Raises AssertionError, KeyError for what is not in the specification."""
    found = []
    for group in document["resourceSpans"]:
        resource = _attributes(group["resource"]["attributes"])
        for scope in group["scopeSpans"]:
            assert scope["scope"]["name"]
            for span in scope["spans"]:
                assert TRACE_ID.fullmatch(span["traceId"]), span
                assert SPAN_ID.fullmatch(span["spanId"]), span
                parent = span.get("parentSpanId", "")
                assert not parent or SPAN_ID.fullmatch(parent), span
                assert span["kind"] in range(1, 6), span
                began, ended = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                assert 0 < began <= ended, span
                status = span.get("status")
                found.append(
                    Received(
                        span["name"],
                        span["traceId"],
                        span["spanId"],
                        parent,
                        resource["service.name"],
                        began,
                        ended,
                        _attributes(span["attributes"]),
                        None if status is None else status["message"],
                    )
                )
    return found


def _attributes(told: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = {"stringValue": str, "intValue": int, "doubleValue": float, "boolValue": bool}
    found = {}
    for each in told:
        ((kind, value),) = each["value"].items()
        found[each["key"]] = kinds[kind](value)
    return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a port of its own."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = collector.answers.pop(0) if collector.answers else 200
            if status == 200:
                try:
                    assert self.path == "/v1/traces", self.path
                    assert self.headers["Content-Type"] == "application/json"
                    collector.spans += read(json.loads(body))
                except (AssertionError, KeyError, ValueError) as error:
                    collector.problems.append(repr(error))
                    status = 400
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
