"""Where results go in S3: what a job says of it, which key that is, and how large the parts are. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from skrei_domain.job_reading import FieldProblem, Keys, printable
from skrei_plugin_api.plugin import Params
from skrei_plugin_s3.params import KEY_BYTES, REGION, Reader, S3Input

SUFFIX = ".tar.gz"
PART_BYTES = 8 * 1024 * 1024
"""One part of an upload: what a cut link costs at most; S3 takes none below 5 MiB but the last."""
MOST_PARTS = 2_000
"""Of one upload; S3 takes 10,000, and each has a digest in what a node announces. Larger results have larger parts."""
LONGEST_NAME = 256
"""Bytes of a Key that are left for what is put behind it: the names of files, `.tar.gz`."""

_KEYS = Keys("Bucket", "Key", "Region", "Endpoint", "Encoding")


class Encoding(StrEnum):
    """How a result lies there: one archive, or a file for each file."""

    GZIP = "gzip"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Target:
    """The object of an archive, or what the keys of its files begin with."""

    bucket: str
    key: str
    region: str = ""
    endpoint: str = ""
    encoding: Encoding = Encoding.GZIP

    @property
    def server(self) -> S3Input:
        """What the clients of its server are found by."""
        return S3Input(self.bucket, self.key, region=self.region, endpoint=self.endpoint)

    @property
    def at(self) -> str:
        """Its address as people write it."""
        return f"s3://{self.bucket}/{printable(self.key)}"


def read(params: Params) -> tuple[Target, list[FieldProblem]]:
    """Return where params say that a result goes, and one problem for each field that says nothing of use."""
    reader = Reader("")
    given = reader.known(params, _KEYS)
    encoding = _encoding(given, reader)
    key = _key(given, reader)
    target = Target(
        bucket=reader.bucket(given),
        key=key_of(key, encoding) if key else "",
        region=reader.matching(given, "Region", REGION, "a region such as `eu-west-1`"),
        endpoint=reader.endpoint(given),
        encoding=encoding,
    )
    return target, reader.problems


def key_of(key: str, encoding: Encoding) -> str:
    """Return the key of an archive, or what the keys of its files begin with."""
    if encoding is Encoding.PLAIN:
        return key if key.endswith("/") else f"{key}/"
    return key if key.endswith(SUFFIX) else f"{key}{SUFFIX}"


def part_bytes(size: int) -> int:
    """Return how large the parts of an upload of so many bytes are: whole mebibytes."""
    least = -(-size // MOST_PARTS)
    mebi = 1024 * 1024
    return max(PART_BYTES, -(-least // mebi) * mebi)


def _encoding(given: Mapping[str, Any], reader: Reader) -> Encoding:
    value = given.get("Encoding") or Encoding.GZIP
    found = next((each for each in Encoding if isinstance(value, str) and each == value.lower()), None)
    if found is None:
        reader.wrong("Encoding", value, ", ".join(f"`{each}`" for each in Encoding))
        return Encoding.GZIP
    return found


def _key(given: Mapping[str, Any], reader: Reader) -> str:
    most = KEY_BYTES - LONGEST_NAME
    allowed = f"a key of at most {most} bytes, such as `results/{{jobID}}/{{executionID}}`"
    key = reader.text(given, "Key", most, allowed)
    if reader.told("Key"):
        return ""
    if not key.strip("/ "):
        reader.wrong("Key", key, allowed)
        return ""
    if key.startswith("/") or any(part in ("..", ".") for part in key.split("/")) or not key.isprintable():
        reader.wrong("Key", key, "a key of printable characters without `..` in it, that begins with no `/`")
        return ""
    return key
