"""How an upload fails: for good, for now, or because what came is not what was sent."""

from skrei_domain.errors import SkreiError


class PublishFailed(SkreiError):
    """The publisher will not take the result, now or later."""

    code = "publish-failed"


class PlaceTaken(PublishFailed):
    """Something lies at the `place` where a result is to stay. `mark`: whose result that is; empty where it is none."""

    def __init__(self, message: str, *, hint: str, place: str, mark: str) -> None:
        super().__init__(message, hint=hint)
        self.place = place
        self.mark = mark


class PlaceUndecided(SkreiError):
    """What lies where a result is to stay on this node may be taken back yet."""

    code = "place-undecided"
    retryable = True


class ResultTooLarge(SkreiError):
    """The result is larger than what may be uploaded."""

    code = "result-too-large"


class ResultDamaged(SkreiError):
    """The packed result is not what its digest says: the disk lost some of it. Another run makes it anew."""

    code = "result-damaged"
    retryable = True


class Away(SkreiError):
    """This try failed; the next may not. `full`: there is no room over there."""

    code = "publisher-away"
    retryable = True

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


class Differs(SkreiError):
    """What came is not what was announced."""


class ResultMissing(SkreiError):
    """What an earlier task, or this execution, left is not there any more."""

    code = "input-missing"
