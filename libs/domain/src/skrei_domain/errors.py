"""The error tree: every error that Skrei raises on purpose has a code, a sentence, and the ids it is about."""

from typing import ClassVar


class SkreiError(Exception):
    """The root. `code` is stable, `details` carries ids, `retryable` says whether the same call may succeed."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    @property
    def sentence(self) -> str:
        """What went wrong, and what to do about it."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class NotFound(SkreiError):
    """Nothing answers to that name, id or prefix."""

    code = "not-found"


class Ambiguous(SkreiError):
    """More than one thing answers to that prefix."""

    code = "ambiguous"


class AmbiguousNode(Ambiguous):
    """The same, of nodes."""


class AmbiguousExecution(Ambiguous):
    """The same, of executions."""


class Conflict(SkreiError):
    """The state of the thing does not allow that."""

    code = "conflict"


class Invalid(SkreiError):
    """What was sent is not valid; one line for each wrong field."""

    code = "invalid"


class Unsupported(SkreiError):
    """Known, and not built yet."""

    code = "not-implemented"


class Exhausted(SkreiError):
    """A limit of the caller is reached; try again when some of it is done."""

    code = "exhausted"
    retryable = True


class Unavailable(SkreiError):
    """A part that this needs is away for now."""

    code = "unavailable"
    retryable = True


class LeadershipLost(SkreiError):
    """The lease row does not carry our epoch any more (or we cannot know): nothing of the commit may be relied on."""

    code = "leadership-lost"
    retryable = True


class InvalidTransition(SkreiError):
    """A fact tried to leave a terminal state."""

    code = "invalid-transition"
