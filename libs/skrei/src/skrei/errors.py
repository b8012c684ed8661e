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


class NotSkrei(ApiError):
    """Something answers at the endpoint, and it is not an API of Skrei."""

    code: ClassVar[str] = "not-skrei"


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


class CommandFailed(SkreiError):
    """A command ends with an exit code of its own; see `skrei.cli.exit_codes`."""

    code: ClassVar[str] = "command-failed"

    def __init__(self, message: str, *, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
