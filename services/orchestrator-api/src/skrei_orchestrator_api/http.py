"""Reading a request's JSON and writing an answer's: bytes in, bytes out, indented on request."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from skrei_domain.errors import Invalid
from skrei_domain.job_reading import Keys, Reading
from skrei_orchestrator_api.problems import HttpProblem

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What no text of the record has: NULs and half characters."""


def answer(request: Request, body: bytes | str | Mapping[str, Any], *, cached: bool = False) -> Response:
    """Return a 200 with `body` (JSON already, or an object); `?pretty` indents it.

    `cached`: with an `ETag`, and as a 304 where the caller holds exactly this.
    """
    if isinstance(body, Mapping):
        body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    if b"pretty" in request.scope["query_string"] and "pretty" in request.query_params:
        body = json.dumps(json.loads(body), ensure_ascii=False, indent=2).encode()
    if not cached:
        return Response(body, media_type="application/json")
    tag = f'"{hashlib.blake2b(body.encode() if isinstance(body, str) else body, digest_size=12).hexdigest()}"'
    if holds(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, media_type="application/json", headers={"ETag": tag})


def holds(told: str, tag: str) -> bool:
    """Whether an `If-None-Match` header names `tag` (RFC 9110: a list of tags, weak or strong, or `*`)."""
    return told.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in told.split(","))


async def read_json(request: Request) -> Any:
    """Return the body's JSON; an empty body is None. Raises HttpProblem 400 for anything else."""
    body = await request.body()
    return parse_json(body)


def parse_json(body: bytes) -> Any:
    """Return the JSON of `body`; an empty one is None. Raises HttpProblem 400 for anything else.

    Half characters (`\\ud800`) are read, so that the field that holds one can be named.
    """
    if not body.strip():
        return None
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        if b"\\u" in body and "hex escape" in str(error):
            try:
                return json.loads(body, parse_constant=_no_number)
            except (ValueError, RecursionError) as again:
                error = ValueError(str(again))
        raise HttpProblem(400, f"the body is not JSON: {error}") from error


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number in JSON")


def text_in(body: Mapping[str, Any], name: str) -> str:
    """Return a text of a body, empty where it is absent or null. Raises Invalid for what no row could hold."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or _UNSTORABLE.search(value):
        raise Invalid(f"{name.lower()}: allowed: text without NUL characters and lone surrogates")
    return value


def check_internal(request: Request, internal_token: str) -> None:
    """Refuse whoever does not show the token of this stack's own processes. Raises HttpProblem 401."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), internal_token.encode()):
        raise HttpProblem(
            401, "this route is for the stack's own processes", code="Unauthorized", component="Authorizer"
        )


def run_token(request: Request) -> str:
    """Return the run token that a node shows. Raises HttpProblem 401 where there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise HttpProblem(401, "show the run token as bearer", code="Unauthorized", component="Authorizer")
    return token.strip()


def fields(body: object, *names: str) -> dict[str, Any]:
    """Return the fields of a body by their names, matched in any case. Raises HttpProblem 400 where it is no object."""
    if body is None:
        return {}
    if not isinstance(body, Mapping):
        raise HttpProblem(400, "the body is not a JSON object")
    return Reading().record(body, "", Keys(*names))
