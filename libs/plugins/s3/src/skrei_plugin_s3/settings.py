"""What a node's owner may set for objects."""

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "s3_"
_MOST_SECONDS = 604_800
"""Of an address: S3 signs none for more than a week."""

_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Read from the plugin's options, `s3_<name>`."""

    anonymous: bool = False
    """Whether public buckets are read without credentials where the node has none."""
    instance_role: bool = False
    """Whether the credentials are asked of the cloud that the machine is in: whatever its role may read, jobs may."""
    profiles: tuple[str, ...] = ()
    """Profiles of AWS's own files, separated by spaces: each serves the jobs that name its `endpoint_url`."""
    presigned_seconds: int = 0
    """How long the addresses of results are good that the publisher hands out; 0: an hour."""
    presigned: bool = True
    """Whether the publisher hands out such addresses; else results are read through its own door."""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "S3Settings":
        """Return the settings that the options name. Raises ValueError for what cannot be."""
        given = {key.removeprefix(PREFIX): text.strip() for key, text in options.items() if key.startswith(PREFIX)}
        if unknown := sorted(set(given) - set(cls.__slots__)):
            raise ValueError(
                f"{PREFIX}{unknown[0]} is no option; known are " + ", ".join(PREFIX + s for s in cls.__slots__)
            )
        return cls(
            anonymous=_yes("anonymous", given.get("anonymous", "false")),
            instance_role=_yes("instance_role", given.get("instance_role", "false")),
            profiles=tuple(given.get("profiles", "").split()),
            presigned_seconds=_seconds("presigned_seconds", given.get("presigned_seconds", "0")),
            presigned=_yes("presigned", given.get("presigned", "true")),
        )


def _yes(name: str, text: str) -> bool:
    if (said := _YES.get(text.lower())) is None:
        raise ValueError(f"{PREFIX}{name} is {text!r}; it is `true` or `false`")
    return said


def _seconds(name: str, text: str) -> int:
    if not (text.isdecimal() and int(text) <= _MOST_SECONDS):
        raise ValueError(f"{PREFIX}{name} is {text!r}; it is a number of seconds, at most {_MOST_SECONDS}")
    return int(text)
