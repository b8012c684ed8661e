"""Which HTTP answer an error gets: one table, one body, as API clients know it."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from skrei_domain.errors import (
    Ambiguous,
    AmbiguousExecution,
    AmbiguousNode,
    Conflict,
    Exhausted,
    Invalid,
    NotFound,
    SkreiError,
    Unavailable,
    Unsupported,
)
from skrei_kit.observability import get_logger
from skrei_kit.tokens import TokenExpired, TokenInvalid, TokenWrongKind
from skrei_store.db import away
from skrei_store.node_intents import NodeStateConflict

log = get_logger()

RETRY_AFTER_SECONDS = 1
"""A database or transport that restarts is back within seconds."""

ANSWERS: dict[type[SkreiError], tuple[int, str]] = {
    NotFound: (404, "NotFound"),
    Ambiguous: (409, "MultipleJobsFound"),
    AmbiguousExecution: (409, "MultipleExecutionsFound"),
    AmbiguousNode: (409, "MultipleNodesFound"),
    NodeStateConflict: (409, "ConflictNodeState"),
    Conflict: (409, "ResourceInUse"),
    Invalid: (400, "ValidationError"),
    Unsupported: (501, "NotImplemented"),
    Exhausted: (429, "ResourceExhausted"),
    Unavailable: (503, "ServiceUnavailable"),
    TokenInvalid: (401, "Unauthorized"),
    TokenExpired: (401, "Unauthorized"),
    TokenWrongKind: (403, "Forbidden"),
}
"""Status and code by kind of error; a subclass answers as its parent unless it has its own line."""


class HttpProblem(Exception):
    """An answer of the HTTP layer itself: a body too large, an unknown route, a foreign origin."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        component: str = "APIServer",
        hint: str = "",
        details: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or ("BadRequest" if 400 <= status < 500 else "InternalError")
        self.component = component
        self.hint = hint
        self.details = details
        self.headers = headers or {}


def unknown_route() -> HttpProblem:
    """The answer to a path that nothing serves."""
    return HttpProblem(
        404,
        "The requested resource/URL was not found.",
        code="NotFound",
        hint="Check the path; the server may be older than the client.",
        details={"cli_usage": "skrei --help"},
    )


def problem_of(error: Exception) -> HttpProblem:
    """Return the answer to `error`; one that nobody foresaw is logged here and says nothing of the inside."""
    if isinstance(error, HttpProblem):
        return error
    if isinstance(error, HTTPException):
        return HttpProblem(error.status_code, error.detail, headers=dict(error.headers or {}))
    for kind in type(error).__mro__:
        if kind in ANSWERS:
            status, code = ANSWERS[kind]
            assert isinstance(error, SkreiError)
            return HttpProblem(
                status,
                error.message,
                code=code,
                component=error.details.get("component", "JobStore"),
                hint=error.hint,
                details={key: text for key, text in error.details.items() if key != "component"},
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)} if status in (429, 503) else None,
            )
    if away(error):
        log.warning("record_away", error=repr(error))
        return HttpProblem(
            503,
            "the record is away for now",
            code="ServiceUnavailable",
            component="JobStore",
            hint="try again in a moment",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )
    log.error("request_failed", exc_info=error)
    return HttpProblem(500, "Internal server error", component="Unknown")


def body_of(problem: HttpProblem, request_id: str) -> dict[str, Any]:
    """Return the error body; `Hint` and `Details` are left out when empty."""
    body: dict[str, Any] = {
        "Status": problem.status,
        "Message": problem.message,
        "RequestID": request_id,
        "Code": problem.code,
        "Component": problem.component,
    }
    if problem.hint:
        body["Hint"] = problem.hint
    if problem.details:
        body["Details"] = problem.details
    return body


def answer(error: Exception, request_id: str, *, pretty: bool = False) -> Response:
    """Return the HTTP answer to `error`."""
    problem = problem_of(error)
    text = json.dumps(body_of(problem, request_id), ensure_ascii=False, indent=2 if pretty else None)
    return Response(
        text.encode("utf-8", "backslashreplace"),
        status_code=problem.status,
        media_type="application/json",
        headers=problem.headers,
    )
