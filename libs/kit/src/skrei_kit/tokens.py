"""Capability tokens: short-lived JWTs (RFC 7519, EdDSA) that say what their bearer may do, and nothing more.

The control plane signs; whoever serves a door only holds the public key. A run token opens the blobs of one
execution for its node, and the publisher's door for its result; a download token opens one execution's result; a
client token names who proved to hold a key, and opens nothing. A receipt goes the other way: the publisher signs, with
a key of its own, what it holds of an execution.
"""

import base64
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from skrei_domain.errors import SkreiError
from skrei_domain.portions import Portion, place_of, placed_at
from skrei_kit import signed
from skrei_kit.signing_keys import signing_key, verify_key

RUN = "run"
DOWNLOAD = "download"
RECEIPT = "receipt"
CLIENT = "client"
LISTING = "listing"
LEFT = "left"
LEEWAY_SECONDS = 5  # clocks of one site differ by less; tokens live for minutes and more


WHOLE_DIGESTS = 16
"""Named whole in a token; of more each by its beginning: a token travels in a header, which proxies cut at 8 KiB."""
BRIEF_BYTES = 16
"""Of a digest, where it is brief: 128 bits, which nobody finds other bytes for."""


class TokenInvalid(SkreiError):
    """The token was not signed by this control plane, or is not a token at all."""

    code = "token-invalid"


class TokenExpired(TokenInvalid):
    """The token was good once; ask for a fresh one."""

    code = "token-expired"


class TokenWrongKind(TokenInvalid):
    """The token opens another door."""

    code = "token-wrong-kind"


@dataclass(frozen=True, slots=True)
class RunToken:
    """What a node may fetch for an execution: blobs by digest (`sha256:…`), many of them by its beginning."""

    execution_id: str
    node_id: str
    blobs: frozenset[str]

    def opens(self, digest: str) -> bool:
        """Whether it opens a blob."""
        return digest in self.blobs or _brief(digest) in self.blobs


@dataclass(frozen=True, slots=True)
class UploadRight:
    """What a run token allows at the door of the publisher that it names: one result of at most so many bytes.

    It outlives the token's right to blobs: a node that was cut off brings what it finished days later. `params` say
    where the publisher is to bring it: the control plane's word, which no node can change. `portions` are those of a
    result that goes to several places, the rest of it first; none where it goes to one.
    """

    execution_id: str
    node_id: str
    publisher: str
    most_bytes: int
    params: Mapping[str, Any] = field(default_factory=dict)
    portions: tuple[Portion, ...] = ()


@dataclass(frozen=True, slots=True)
class ListingRight:
    """What lets a node bring a list of a job's inputs, of at most so many bytes."""

    job_id: str
    node_id: str
    most_bytes: int


@dataclass(frozen=True, slots=True)
class UploadGrant:
    """The part of a run token that opens the publisher's door; `seconds` is how long."""

    publisher: str
    most_bytes: int
    seconds: float
    params: Mapping[str, Any] = field(default_factory=dict)
    portions: tuple[Portion, ...] = ()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where a final result of so many bytes lies that was published elsewhere than in Skrei's own store.

    `apart`: it is a portion of one, of which that store may hold another.
    """

    publisher: str
    params: Mapping[str, Any]
    size: int = 0
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """A publisher's word that it holds an execution's result, verified and durable, at `place` (its own words).

    `destination`: where it goes as people name that, the same for all that one server takes.
    """

    execution_id: str
    digest: str
    size: int
    publisher: str
    place: str
    destination: str = ""


class TokenSigner:
    """Signs tokens with the control plane's key; `now` gives seconds since the epoch."""

    def __init__(self, private_pem: bytes, *, now: Callable[[], float] = time.time) -> None:
        try:
            self._key = signing_key(private_pem)
        except ValueError as error:
            raise TokenInvalid(
                "the token key is not an Ed25519 key; remove it and start again to make a new one"
            ) from error
        self._now = now

    def run(
        self,
        execution_id: str,
        node_id: str,
        blobs: Iterable[str],
        *,
        seconds: float,
        upload: UploadGrant | None = None,
        manifests: Iterable[str] = (),
    ) -> str:
        """Return a token for one execution on one node; with `upload` it opens the publisher's door too, and there it
        reads these lists of inputs."""
        claims: dict[str, Any] = {
            "kind": RUN,
            "sub": execution_id,
            "node": node_id,
            "blobs": _named(blobs),
            "exp": self._until(seconds),
        }
        if upload is not None:
            until = self._until(upload.seconds)
            claims["upload"] = {"to": upload.publisher, "most": upload.most_bytes, "until": until}
            if upload.params:
                claims["upload"]["params"] = dict(upload.params)
            if upload.portions:
                claims["upload"]["portions"] = place_of(upload.portions)
        if lists := _named(manifests):
            claims["manifests"] = lists
        return self._sign(claims)

    def listing(self, job_id: str, node_id: str, *, most_bytes: int, seconds: float) -> str:
        """Return a token by which a node brings one list of a job's inputs to the result store."""
        until = self._until(seconds)
        return self._sign({"kind": LISTING, "sub": job_id, "node": node_id, "most": most_bytes, "exp": until})

    def left(self, execution_id: str, request_id: str, *, seconds: float) -> str:
        """Return a token by which a node brings what an execution left there, to who waits for it once."""
        return self._sign({"kind": LEFT, "sub": execution_id, "request": request_id, "exp": self._until(seconds)})

    def download(self, execution_id: str, *, seconds: float, at: Elsewhere | None = None) -> str:
        """Return a token that opens one execution's result, `at` a place that is not Skrei's own store."""
        claims: dict[str, Any] = {"kind": DOWNLOAD, "sub": execution_id, "exp": self._until(seconds)}
        if at is not None:
            claims["at"] = {"publisher": at.publisher, "params": dict(at.params), "size": at.size}
            if at.apart:
                claims["at"]["apart"] = True
        return self._sign(claims)

    def client(self, client_id: str, *, server: str, seconds: float) -> str:
        """Return a token that names a client to the server that made it, as other people's clients keep them."""
        now = int(self._now())
        claims = {"kind": CLIENT, "iss": server, "sub": client_id, "aud": [server], "iat": now}
        return self._sign({**claims, "exp": self._until(seconds)})

    def receipt(self, receipt: Receipt) -> str:
        """Return a publisher's signed word. It does not expire: what it names may be gone, which its own door knows."""
        claims: dict[str, object] = {
            "kind": RECEIPT,
            "sub": receipt.execution_id,
            "digest": receipt.digest,
            "size": receipt.size,
            "publisher": receipt.publisher,
            "place": receipt.place,
        }
        if receipt.destination:
            claims["destination"] = receipt.destination
        return self._sign(claims)

    def _until(self, seconds: float) -> int:
        return int(self._now() + seconds)

    def _sign(self, claims: dict[str, object]) -> str:
        return signed.sign(claims, self._key)


class TokenVerifier:
    """Verifies tokens with the control plane's public key."""

    def __init__(self, public_pem: bytes, *, now: Callable[[], float] = time.time) -> None:
        try:
            self._key = verify_key(public_pem)
        except ValueError as error:
            raise TokenInvalid("the public key of tokens is not an Ed25519 key") from error
        self._now = now

    def run(self, token: str) -> RunToken:
        """Return what a run token allows. Raises TokenInvalid, TokenExpired or TokenWrongKind."""
        claims = self._claims(token, RUN)
        return RunToken(str(claims["sub"]), str(claims["node"]), frozenset(map(str, claims["blobs"])))

    def download(self, token: str, execution_id: str) -> Elsewhere | None:
        """Accept a token for this execution's result; return where that is, None for Skrei's own store.

        Raises TokenInvalid, TokenExpired or TokenWrongKind.
        """
        claims = self._claims(token, DOWNLOAD)
        if claims["sub"] != execution_id:
            raise TokenInvalid("the token opens another execution's result", execution_id=execution_id)
        at = claims.get("at")
        if not isinstance(at, dict):
            return None
        return Elsewhere(str(at["publisher"]), dict(at["params"]), int(at["size"]), at.get("apart") is True)

    def client(self, token: str) -> str:
        """Return which client a token names. Raises TokenInvalid, TokenExpired or TokenWrongKind."""
        return str(self._claims(token, CLIENT)["sub"])

    def names_client(self, token: str) -> bool:
        """Whether a token names a client, and still does."""
        try:
            return bool(self.client(token))
        except TokenInvalid:
            return False

    def upload(self, token: str, execution_id: str) -> UploadRight:
        """Return what a run token allows at a publisher's door. Raises TokenInvalid, TokenExpired or TokenWrongKind.

        The right has an end of its own; that of the blobs does not matter here.
        """
        claims = self._claims(token, RUN, expires=False)
        if claims["sub"] != execution_id:
            raise TokenInvalid("the token is for another execution", execution_id=execution_id)
        right = claims.get("upload")
        if not isinstance(right, dict):
            raise TokenWrongKind("the token opens no upload")
        if float(right["until"]) + LEEWAY_SECONDS < self._now():
            raise TokenExpired("the right to upload has expired")
        params, portions = dict(right.get("params") or {}), placed_at(str(right.get("portions", ""))) or ()
        return UploadRight(execution_id, str(claims["node"]), str(right["to"]), int(right["most"]), params, portions)

    def listing(self, token: str) -> ListingRight:
        """Return what a token allows to bring. Raises TokenInvalid, TokenExpired or TokenWrongKind."""
        claims = self._claims(token, LISTING)
        return ListingRight(str(claims["sub"]), str(claims["node"]), int(claims["most"]))

    def left(self, token: str, execution_id: str, request_id: str) -> None:
        """Accept a token for this request. Raises TokenInvalid, TokenExpired or TokenWrongKind."""
        claims = self._claims(token, LEFT)
        if (claims["sub"], claims.get("request")) != (execution_id, request_id):
            raise TokenInvalid("the token is for another request", execution_id=execution_id)

    def manifest(self, token: str, digest: str) -> None:
        """Accept a run token that reads this list of an input. Raises TokenInvalid, TokenExpired or TokenWrongKind."""
        lists = self._claims(token, RUN).get("manifests", ())
        if digest not in lists and _brief(digest) not in lists:
            raise TokenInvalid("the token opens another list", digest=digest)

    def logs(self, token: str, execution_id: str) -> str:
        """Return the node of a run token of this execution, as long as any of its rights lives.

        Raises TokenInvalid, TokenExpired or TokenWrongKind.
        """
        claims = self._claims(token, RUN, expires=False)
        if claims["sub"] != execution_id:
            raise TokenInvalid("the token is for another execution", execution_id=execution_id)
        right = claims.get("upload")
        until = max(float(claims.get("exp", 0)), float(right["until"]) if isinstance(right, dict) else 0.0)
        if until + LEEWAY_SECONDS < self._now():
            raise TokenExpired("the token has expired")
        return str(claims["node"])

    def ended(self, token: str) -> str:
        """Return the execution of a run token, however old it is: for questions of who still holds what that left.

        Raises TokenInvalid or TokenWrongKind.
        """
        return str(self._claims(token, RUN, expires=False)["sub"])

    def receipt(self, text: str) -> Receipt:
        """Return what a publisher signed. Raises TokenInvalid or TokenWrongKind."""
        claims = self._claims(text, RECEIPT, expires=False)
        try:
            return Receipt(
                execution_id=str(claims["sub"]),
                digest=str(claims["digest"]),
                size=int(claims["size"]),
                publisher=str(claims["publisher"]),
                place=str(claims["place"]),
                destination=str(claims.get("destination", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TokenInvalid("the receipt is not whole") from error

    def _claims(self, token: str, kind: str, *, expires: bool = True) -> dict[str, Any]:
        try:
            claims = signed.verify(token, self._key)
        except signed.NotSigned as error:
            raise TokenInvalid(f"the token is not valid: {error}") from error
        if not isinstance(claims.get("sub"), str):
            raise TokenInvalid("the token is not valid: it names no subject")
        if expires and not self._is_fresh(claims.get("exp")):
            raise TokenExpired("the token has expired; ask for a fresh one")
        if claims.get("kind") != kind:
            raise TokenWrongKind(f"a {kind} token is needed here, this is one for {claims.get('kind')!r}")
        return claims

    def _is_fresh(self, until: object) -> bool:
        if not isinstance(until, int | float):
            raise TokenInvalid("the token is not valid: it has no end")
        return self._now() <= until + LEEWAY_SECONDS


def _named(digests: Iterable[str]) -> list[str]:
    """Return how a token names digests: many of them shorter."""
    listed = sorted(digests)
    return listed if len(listed) <= WHOLE_DIGESTS else [_brief(each) or each for each in listed]


def _brief(digest: str) -> str:
    """Return the beginning of a digest, in 22 letters; nothing for what is no digest."""
    try:
        begin = bytes.fromhex(digest.removeprefix("sha256:"))[:BRIEF_BYTES]
    except ValueError:
        return ""
    return base64.urlsafe_b64encode(begin).rstrip(b"=").decode("ascii") if len(begin) == BRIEF_BYTES else ""
