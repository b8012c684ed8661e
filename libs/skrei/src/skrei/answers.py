"""What an API answered, told apart: a document, a documented error, or something that is no API of Skrei."""

import json
from collections.abc import Mapping

from skrei.errors import BY_STATUS, ApiError, LogsFailed, NotSkrei
from skrei.views import Document, LogLine

TIMEOUT_SECONDS = 35.0
"""One request: the API gives its handlers 30 s."""
CONNECT_SECONDS = 5.0
"""A connection: somebody who does not answer by then is not there."""
ATTEMPTS = 5
"""Calls in all while the API answers 429 or 503: with its Retry-After a burst has passed by then."""
LOG_FRAME_BYTES = 4 * 1024 * 1024
"""A log frame carries one chunk of output; the node cuts them at 256 KiB, and JSON may need six bytes for one."""
LONGEST_RETRY_SECONDS = 10.0
"""A Retry-After above this is cut: a person is waiting."""
TOKEN_HINT = (
    "Set SKREI_API_KEY to a token of that API; its owner's lies in <data folder>/keys/owner.token on its machine."
)


def document_of(body: bytes, endpoint: str, said: str) -> Document:
    """Return the document of a successful answer. Raises NotSkrei; `said` tells the answer in a few words."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise not_skrei(endpoint, said)
    return document


def problem_of(status: int, body: bytes, endpoint: str, said: str) -> ApiError:
    """Return the error that an answer tells; one without the documented body comes from something else."""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    message = (told.get("Message") or told.get("Error") or told.get("error")) if isinstance(told, dict) else None
    if not isinstance(told, dict) or (not message and "Code" not in told):
        return not_skrei(endpoint, said, status)
    return refusal_of(told, status)


def refusal_of(told: Document, status: int = 0) -> ApiError:
    """Return the error in a documented error body; its own `Status` counts where none is given."""
    status = status or int(told.get("Status") or 0)
    details = told.get("Details") or {}
    message = told.get("Message") or told.get("Error") or told.get("error")
    if status in (401, 403):  # the message begins with words that other people's clients look for
        message = details.get("Reason") or message
    error = BY_STATUS.get(status, ApiError)(
        str(message or f"The API answered {status}."),
        status=status,
        api_code=str(told.get("Code") or ""),
        hint=str(told.get("Hint") or ""),
        **{str(key): str(value) for key, value in details.items() if _is_detail(key)},
    )
    if status == 401:
        error.hint = error.hint or TOKEN_HINT
    return error


def not_skrei(endpoint: str, said: str, status: int = 0) -> NotSkrei:
    """Return the error about a server that speaks something else."""
    return NotSkrei(
        f"What answers at {endpoint} is no Skrei API: {said}.",
        status=status,
        hint="Check the address (--api URL, or SKREI_API_URL); `skrei doctor` looks too.",
    )


def said_of(status: int, reason: str, headers: Mapping[str, str]) -> str:
    """Return an answer in a few words: its status, and what the server calls itself."""
    server = headers.get("server", "").strip()
    return " ".join(f"{status} {reason}".split()) + (f" from {server}" if server else "")


def pause_seconds(retry_after: str, attempt: int) -> float:
    """Return how long to wait before attempt `attempt + 1`."""
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.25 * 2**attempt
    return min(seconds, LONGEST_RETRY_SECONDS)


def _is_detail(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier() and key not in {"message", "status", "api_code", "hint", "self"}


def log_line_of(frame: str | bytes) -> LogLine:
    """Return the output in a frame of a log stream. Raises LogsFailed with the error that it may tell instead."""
    try:
        document = json.loads(frame)
        value = document.get("value") or {}
        problem = document.get("error")
    except (ValueError, AttributeError) as error:
        raise LogsFailed("The API sent a log frame that is not one.") from error
    if problem:
        raise LogsFailed(str(problem))
    return LogLine(stream=int(value.get("Type") or 1), text=str(value.get("Line") or ""))
