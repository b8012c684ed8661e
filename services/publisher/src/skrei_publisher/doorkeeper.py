"""Who may come in: a download token opens one execution's result, a run token takes one execution's result in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Protocol

from skrei_domain.errors import SkreiError
from skrei_kit.tokens import (
    Elsewhere,
    ListingRight,
    TokenExpired,
    TokenInvalid,
    TokenVerifier,
    TokenWrongKind,
    UploadRight,
)

UPLOAD_HINT = "Show the run token of this execution as `Authorization: Bearer …`."
HINT = "Ask the API for a fresh address: GET /api/v1/orchestrator/jobs/<job>/results, or `skrei job get <job>`."


class TokenRefused(SkreiError):
    """The token does not open this; `status` is 401 where another one is needed, 403 where it is for something else."""

    code: ClassVar[str] = "token-refused"

    def __init__(self, message: str, *, status: HTTPStatus, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Words:
    """What a door says to whom it does not open."""

    none: str
    expired: str
    kind: str
    other: str
    hint: str
    expired_hint: str = ""


_DOWNLOAD = _Words(
    none="The address carries no token.",
    expired="The address has expired.",
    kind="The token is for another door.",
    other="The token is for another result.",
    hint=HINT,
    expired_hint=HINT,
)
_UPLOAD = _Words(
    none="The request carries no token.",
    expired="The right to upload has expired.",
    kind="The token opens no upload.",
    other="The token is for another execution.",
    hint=UPLOAD_HINT,
)

_LISTING = _Words(
    none="The request carries no token.",
    expired="The token has expired.",
    kind="The token is for another door.",
    other="The token does not open this list.",
    hint="Show the token of the listing, or of the execution, as `Authorization: Bearer …`.",
)


_LEFT = _Words(
    none="The request carries no token.",
    expired="The token has expired.",
    kind="The token is for another door.",
    other="The token is for another request.",
    hint="Show the token that came with the request, as `Authorization: Bearer …`.",
)


class Doorkeeper(Protocol):
    """Who knows what a token opens."""

    def check(self, token: str, execution_id: str) -> Elsewhere | None:
        """Return where the result lies that it opens, None for our own store; raises TokenRefused."""

    def upload(self, token: str, execution_id: str) -> UploadRight:
        """Return what the run token of an execution allows at this door; raises TokenRefused."""

    def logs(self, token: str, execution_id: str) -> str:
        """Return whose run token of the execution it is: that node may say what it says. Raises TokenRefused."""

    def left(self, token: str, execution_id: str, request_id: str) -> None:
        """Return when a token brings what an execution left to this request; raises TokenRefused."""

    def listing(self, token: str) -> ListingRight:
        """Return what list of an input a token allows to bring; raises TokenRefused."""

    def manifest(self, token: str, digest: str) -> None:
        """Return when the run token reads this list of an input; raises TokenRefused."""


class SignedDoor:
    """Lets in whom the control plane signed for."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    def check(self, token: str, execution_id: str) -> Elsewhere | None:
        """Return where this execution's result lies, None for our own store; raises TokenRefused."""
        with _refusing(token, _DOWNLOAD):
            return self._verifier.download(token, execution_id)

    def upload(self, token: str, execution_id: str) -> UploadRight:
        """Return what the run token of an execution allows at this door; raises TokenRefused."""
        with _refusing(token, _UPLOAD):
            return self._verifier.upload(token, execution_id)

    def listing(self, token: str) -> ListingRight:
        """Return what list of an input a token allows to bring; raises TokenRefused."""
        with _refusing(token, _LISTING):
            return self._verifier.listing(token)

    def left(self, token: str, execution_id: str, request_id: str) -> None:
        """Return when a token brings what an execution left to this request; raises TokenRefused."""
        with _refusing(token, _LEFT):
            self._verifier.left(token, execution_id, request_id)

    def manifest(self, token: str, digest: str) -> None:
        """Return when the run token reads this list of an input; raises TokenRefused."""
        with _refusing(token, _LISTING):
            self._verifier.manifest(token, digest)

    def logs(self, token: str, execution_id: str) -> str:
        """Return whose run token of the execution it is: that node may say what it says. Raises TokenRefused."""
        if not token:
            raise TokenRefused("The request carries no token.", status=HTTPStatus.UNAUTHORIZED, hint=UPLOAD_HINT)
        try:
            return self._verifier.logs(token, execution_id)
        except TokenExpired as error:
            raise TokenRefused("The token has expired.", status=HTTPStatus.UNAUTHORIZED) from error
        except TokenInvalid as error:
            raise TokenRefused(
                "The token does not open this log.", status=HTTPStatus.FORBIDDEN, hint=UPLOAD_HINT
            ) from error


@contextmanager
def _refusing(token: str, words: _Words) -> Iterator[None]:
    """Turn what a verifier says of a token into the refusal of a door."""
    if not token:
        raise TokenRefused(words.none, status=HTTPStatus.UNAUTHORIZED, hint=words.hint)
    try:
        yield
    except TokenExpired as error:
        raise TokenRefused(words.expired, status=HTTPStatus.UNAUTHORIZED, hint=words.expired_hint) from error
    except TokenWrongKind as error:
        raise TokenRefused(words.kind, status=HTTPStatus.FORBIDDEN, hint=words.hint) from error
    except TokenInvalid as error:
        if error.details:
            raise TokenRefused(words.other, status=HTTPStatus.FORBIDDEN, hint=words.hint) from error
        raise TokenRefused("The token is not valid.", status=HTTPStatus.UNAUTHORIZED, hint=words.hint) from error


def bearer_of(headers: Mapping[str, str]) -> str:
    """Return the token of an Authorization header; empty when there is none."""
    scheme, _, bearer = headers.get("Authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else ""
