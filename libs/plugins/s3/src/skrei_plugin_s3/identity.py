"""What names the bytes of an object: where it lies, and its version or ETag; what brings it reads that again. Pure."""

import json
from dataclasses import dataclass

from skrei_plugin_api.storage import StageFailed, StageProblem
from skrei_plugin_s3.params import S3Input

SCHEME = "s3:"


@dataclass(frozen=True, slots=True)
class Sight:
    """An object as it was seen: whatever has the same sight has the same bytes.

    `etag` stands without quotes; a server that gives none says at least when the object was `modified`, in seconds.
    """

    server: str
    bucket: str
    key: str
    etag: str
    version: str = ""
    modified: int = 0


def identity(sight: Sight) -> str:
    """Return the one text that stands for a sight, on every node."""
    told = [sight.server, sight.bucket, sight.key, sight.etag, sight.version, sight.modified]
    return SCHEME + json.dumps(told, separators=(",", ":"))


def sight_of(identity: str) -> Sight | None:
    """Return what `identity` stands for; None for a digest. Raises StageFailed for what no listing of ours says: the
    list may be another node's, which is not believed further than it can be."""
    if not identity.startswith(SCHEME):
        return None
    try:
        server, bucket, key, etag, version, modified = json.loads(identity.removeprefix(SCHEME))
    except (ValueError, TypeError, RecursionError) as error:
        raise _foreign() from error
    if not all(isinstance(each, str) for each in (server, bucket, key, etag, version)) or type(modified) is not int:
        raise _foreign()
    return Sight(server, bucket, key, etag, version, modified)


def fits(sight: Sight, wanted: S3Input) -> bool:
    """Whether an object is one that a job asked for."""
    prefix = wanted.key if wanted.prefix is None else wanted.prefix
    return sight.bucket == wanted.bucket and sight.key.startswith(prefix)


def _foreign() -> StageFailed:
    return StageFailed(
        StageProblem.INVALID,
        "the list of this input names no object of S3",
        hint="`skrei job rerun` lists anew; the node that listed it may be broken",
    )
