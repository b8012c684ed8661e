"""What names the bytes of an object: where it lies, and its version or ETag; what brings it reads that again. Pure."""

import json
from dataclasses import dataclass

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
    """Return what `identity` stands for; None for a digest."""
    return Sight(*json.loads(identity.removeprefix(SCHEME))) if identity.startswith(SCHEME) else None
