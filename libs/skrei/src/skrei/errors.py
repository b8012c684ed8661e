"""What can go wrong for a client, each with what to do next."""

from typing import ClassVar

from skrei_domain.errors import SkreiError


class Unreachable(SkreiError):
    """Nobody answers at the endpoint."""

    code: ClassVar[str] = "unreachable"
    retryable: ClassVar[bool] = True


class ApiError(SkreiError):
    """The API answered with an error; `status` is the HTTP status and `api_code` the code in the body."""

    code: ClassVar[str] = "api-error"

    def __init__(self, message: str, *, status: int, api_code: str = "", hint: str = "", **details: str) -> None:
        super().__init__(message, hint=hint, **details)
        self.status = status
        self.api_code = api_code

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.status in {429, 503}


class InvalidRequest(ApiError):
    """What was sent is not valid (400, 413); the message has a line for each problem."""

    code: ClassVar[str] = "invalid-request"


class Unauthorized(ApiError):
    """The API wants to know who asks, and what was shown is not it (401)."""

    code: ClassVar[str] = "unauthorized"


class Forbidden(ApiError):
    """Whoever asks may not do that (403)."""

    code: ClassVar[str] = "forbidden"


class NotFound(ApiError):
    """The API knows no such job, node or version (404)."""

    code: ClassVar[str] = "not-found"


class Conflict(ApiError):
    """The state of the thing does not allow that, or a beginning of an id names several things (409)."""

    code: ClassVar[str] = "conflict"


class Busy(ApiError):
    """The API or a part behind it cannot take that now (429, 503): the same call may succeed a little later."""

    code: ClassVar[str] = "busy"
    retryable: ClassVar[bool] = True


class NotSupported(ApiError):
    """The server does not do that (501), for example since it is older than this client."""

    code: ClassVar[str] = "not-supported"


BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    429: Busy,
    501: NotSupported,
    503: Busy,
}
"""Which error an answer's status is; any other is an ApiError."""


class NotSkrei(ApiError):
    """Something answers at the endpoint, and it is not an API of Skrei."""

    code: ClassVar[str] = "not-skrei"


class Closed(SkreiError):
    """The client was closed, and is asked for something."""

    code: ClassVar[str] = "client-closed"


def closed() -> Closed:
    """Return the error of a client that was closed."""
    return Closed("This client is closed.", hint="Make another one: with Client() as client: ...")


class Rejected(SkreiError):
    """What the user gave (a file, a flag) cannot be used."""

    code: ClassVar[str] = "rejected"


class UnsafeArchive(SkreiError):
    """A result archive that would write outside its folder, or more than a folder should get."""

    code: ClassVar[str] = "unsafe-archive"


class DownloadFailed(SkreiError):
    """A result could not be fetched whole."""

    code: ClassVar[str] = "download-failed"
    retryable: ClassVar[bool] = True


class ResultGone(SkreiError):
    """A result that was there once, and is not kept any more."""

    code: ClassVar[str] = "result-gone"


class NoPlace(SkreiError):
    """Results cannot be written where they should: no space, no permission, or something is there already."""

    code: ClassVar[str] = "no-place"


class LogsFailed(SkreiError):
    """The log stream ended with an error instead of its end."""

    code: ClassVar[str] = "logs-failed"


class JobFailed(SkreiError):
    """A job that was waited for did not complete; `state` is what it ended as."""

    code: ClassVar[str] = "job-failed"

    def __init__(self, message: str, *, job_id: str, state: str, hint: str = "") -> None:
        super().__init__(message, hint=hint, job_id=job_id, state=state)
        self.job_id = job_id
        self.state = state


class WaitTimeout(SkreiError, TimeoutError):
    """What was waited for did not happen in time; the job goes on."""

    code: ClassVar[str] = "wait-timeout"
    retryable: ClassVar[bool] = True


class EventsFailed(SkreiError):
    """The feed of events ended with an error instead of going on."""

    code: ClassVar[str] = "events-failed"
    retryable: ClassVar[bool] = True


class CommandFailed(SkreiError):
    """A command ends with an exit code of its own; see `skrei.cli.exit_codes`."""

    code: ClassVar[str] = "command-failed"

    def __init__(self, message: str, *, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
