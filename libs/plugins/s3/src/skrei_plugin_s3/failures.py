"""What goes wrong with a server of objects, and what that means: to try again, or a cause to tell. Pure."""

import re
from dataclasses import dataclass

from skrei_domain.errors import Unavailable
from skrei_domain.job_reading import printable
from skrei_plugin_api.publisher import DestinationAway, PublishDenied
from skrei_plugin_api.storage import StageFailed, StageLimits, StageProblem

TOLD_CHARS = 200
"""Of what a server says that this module does not know."""

AMAZON = "S3"
"""What Amazon's own servers are called."""
PASSING = {
    "InternalError", "OperationAborted", "RequestTimeout", "RequestTimeTooSkewed", "ServiceUnavailable", "SlowDown",
    "Throttling", "ThrottlingException", "TooManyRequests", "XMinioServerNotInitialized",
}  # fmt: skip
"""What servers call what may be over soon."""
REDIRECTS = {301, 302, 303, 307, 308}
PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}

CREDENTIALS = {
    "ExpiredToken", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken", "SignatureDoesNotMatch",
    "TokenRefreshRequired", "XAdminUserNotFound",
}  # fmt: skip
"""What servers say of keys that they do not know, or that have ended."""
RENEWED = {"ExpiredToken", "TokenRefreshRequired"}
"""Those of them that say: it was good, and its owner, or what he set up, gives another one."""
REGIONS = {
    "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "IncorrectEndpoint", "PermanentRedirect",
    "TemporaryRedirect",
}  # fmt: skip
"""What they say of a bucket that is in another region."""
_NO_KEY = {"", "NoSuchKey", "NotFound"}
_CHANGED = {"PreconditionFailed"}
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,100})\s*</Code>")
_WHERE = re.compile(rb"<Region>\s*([A-Za-z0-9-]{1,100})\s*</Region>")


class S3Away(Unavailable):
    """A server could not be reached, or refused for now more often than is tried; another try may succeed."""

    code = "input-unavailable"


class KeysRefused(PublishDenied):
    """A server does not take the publisher's credentials: others may be good, if somebody sets them."""


class KeysEnded(DestinationAway):
    """The publisher's credentials have ended; others come by themselves, or by whoever set these."""


class Cut(Exception):
    """A try that did not come to its end; the text says how it ended."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: `what` is the object or the bucket, `where` the server; `anonymous`: without credentials."""

    what: str
    where: str
    bucket: str
    region: str = ""
    anonymous: bool = False
    listing: bool = False
    version: str = ""


def code_in(body: bytes) -> str:
    """Return the code of an answer's error; empty where it has none."""
    found = _CODE.search(body)
    return found[1].decode() if found else ""


def region_in(body: bytes) -> str:
    """Return the region that an error names."""
    found = _WHERE.search(body)
    return found[1].decode() if found else ""


def passes(status: int, code: str) -> bool:
    """Whether another try may be answered differently."""
    return code in PASSING or (status in PASSING_STATUS and code not in _CHANGED)


def refused(asked: Asked, status: int, code: str, region: str = "") -> StageFailed:
    """Return what an answer means that stays as it is; `region` is where the server says that the bucket is."""
    said = " ".join(str(each) for each in (status or "", printable(code)[:TOLD_CHARS]) if each)
    if status in REDIRECTS and asked.where != AMAZON:
        return elsewhere(asked.where, status)
    if code == "NoSuchBucket":
        return StageFailed(
            StageProblem.MISSING,
            f"there is no bucket {asked.bucket} at {asked.where}",
            hint="look at Bucket, Region and Endpoint",
        )
    if code in _CHANGED or status == 412:
        return changed(asked)
    if code in REGIONS or region not in ("", asked.region):
        told = f" but in {printable(region)[:TOLD_CHARS]}" if region else ""
        return StageFailed(
            StageProblem.INVALID,
            f"the bucket {asked.bucket} is not in the region {asked.region}{told} ({said})",
            hint="name its Region",
        )
    if code in CREDENTIALS:
        return StageFailed(
            StageProblem.DENIED,
            f"{asked.where} does not take the credentials of this node ({said})",
            hint="the node's owner gives it others: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
        )
    if code == "InvalidObjectState":
        return StageFailed(
            StageProblem.INVALID, f"{asked.what} is archived ({said})", hint="restore it first, then run the job again"
        )
    if asked.version and (code in ("NoSuchVersion", "InvalidArgument", "MethodNotAllowed") or status in (400, 404)):
        return StageFailed(
            StageProblem.MISSING, f"{asked.what} has no version {printable(asked.version)} ({said})",
            hint="look at VersionID",
        )  # fmt: skip
    if code == "NoSuchKey" or (status in (404, 410) and code in _NO_KEY):
        return StageFailed(
            StageProblem.MISSING,
            f"there is no object {asked.what} at {asked.where}",
            hint="a Key that ends in `/` or `*` is all objects whose keys begin like it",
        )
    if status == 403 or code == "AccessDenied":
        who = "without credentials" if asked.anonymous else "with the credentials of this node"
        needs = "s3:ListBucket" if asked.listing else "s3:GetObject"
        return StageFailed(
            StageProblem.DENIED,
            f"{asked.where} refuses {asked.what} {who} ({said})",
            hint=f"they need {needs} there" if not asked.anonymous else "it is not public; the node needs credentials",
        )
    return StageFailed(StageProblem.INVALID, f"{asked.where} answers {said} where {asked.what} was asked for")


def changed(asked: Asked) -> StageFailed:
    """Return the error of an object that is another by now than the one that was listed."""
    return StageFailed(
        StageProblem.INVALID,
        f"{asked.what} changed after it was listed",
        hint="run the job again; with a VersionID it reads that version whatever comes after it",
    )


def elsewhere(where: str, status: int) -> StageFailed:
    """Return the error of a server that leads to another one: nobody follows it there with this node's credentials."""
    return StageFailed(
        StageProblem.INVALID,
        f"{where} answers {status}: what was asked for is elsewhere",
        hint="name the Endpoint at which it is",
    )


def listed_elsewhere(asked: Asked, server: str) -> S3Away:
    """Return the error of an object that was listed at another server than this node asks; another one may bring it."""
    return S3Away(
        f"{asked.what} was listed at {server or AMAZON}, and this node asks {asked.where}",
        hint="name the Endpoint in the job, or the same server in the settings of all nodes",
    )


def not_asked_for(asked: Asked) -> StageFailed:
    """Return the error of an object that a list names and the job does not."""
    return StageFailed(
        StageProblem.INVALID,
        f"the list of this input names {asked.what}, which the job did not ask for",
        hint="`skrei job rerun` lists anew; the node that listed it may be broken",
    )


def too_large(asked: Asked, limits: StageLimits) -> StageFailed:
    """Return the error of an object beyond the node's limit."""
    return StageFailed(
        StageProblem.TOO_LARGE,
        f"{asked.what} is larger than the {limits.max_bytes:,} bytes that this node takes",
        hint="the node's owner can raise SKREI_INPUT_BYTES",
    )
