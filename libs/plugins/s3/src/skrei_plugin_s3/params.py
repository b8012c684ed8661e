"""What a job says of objects: read strictly, so that a misspelt word is told and not ignored. Pure."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skrei_domain.job_reading import FieldProblem, Keys, printable, show
from skrei_plugin_api.outbound import web_parts
from skrei_plugin_api.plugin import Params
from skrei_plugin_s3.layouts import is_layout
from skrei_plugin_s3.partition import By, Partition, compiled

KEY_BYTES = 1024
"""The longest key that S3 has."""
PATTERN_CHARS = 1000
"""The longest pattern: those that people write have some tens."""


_KEYS = Keys(
    "Bucket", "Key", "Filter", "Region", "Endpoint", "VersionID", "ChecksumSHA256", "Partition", silent=("VersionId",)
)
_PARTITION = Keys("Type", "Pattern", "StartIndex", "EndIndex", "DateFormat")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_TYPES = ", ".join(f"`{by}`" for by in By)


@dataclass(frozen=True, slots=True)
class S3Input:
    """One object, or all whose keys begin like `key`. Empty texts were not said."""

    bucket: str
    key: str = ""
    filter: str = ""
    region: str = ""
    endpoint: str = ""
    version: str = ""
    checksum: str = ""
    partition: Partition = field(default_factory=Partition)

    @property
    def prefix(self) -> str | None:
        """What the keys begin with; None where the key is that of one object."""
        key = self.key.strip()
        return key.removesuffix("*") if key == "" or key.endswith(("/", "*")) else None

    @property
    def digest(self) -> str:
        """The digest that the object must have, `sha256:<hex>`; empty for none, and for one of its parts' digests."""
        if not self.checksum or "-" in self.checksum:
            return ""
        return f"sha256:{base64.b64decode(self.checksum).hex()}"

    def __str__(self) -> str:
        return self.at(self.key)

    def at(self, key: str) -> str:
        """Return the address of an object as people write it."""
        return f"s3://{self.bucket}/{printable(key)}"


def path_of(key: str, prefix: str) -> str:
    """Return where an object lies below the target: its key after the last `/` of the prefix."""
    return key[prefix.rfind("/") + 1 :]


def read(params: Params) -> tuple[S3Input, list[FieldProblem]]:
    """Return what params say, and one problem for each field that says nothing of use."""
    reader = Reader("")
    given = reader.known(params, _KEYS)
    found = S3Input(
        bucket=reader.bucket(given),
        key=reader.text(given, "Key", KEY_BYTES, f"a key of at most {KEY_BYTES} bytes"),
        filter=reader.pattern(given, "Filter"),
        region=reader.matching(given, "Region", REGION, "a region such as `eu-west-1`"),
        endpoint=reader.endpoint(given),
        version=reader.text(given, "VersionID", KEY_BYTES, "the id of one version"),
        checksum=reader.checksum(given),
        partition=_partition(given.get("Partition"), reader),
    )
    if found.prefix is not None:
        allowed = "only with the Key of one object, without `*` or `/` at its end"
        for name in ("VersionID", "ChecksumSHA256"):
            if given.get(name) and not reader.told(name):
                reader.wrong(name, given[name], allowed)
    return found, reader.problems


def _partition(value: object, outer: "Reader") -> Partition:
    if value is None:
        return Partition()
    if not isinstance(value, Mapping):
        outer.wrong("Partition", value, "an object with `Type` and what that needs")
        return Partition()
    reader = Reader("Partition.")
    reader.problems = outer.problems
    given = reader.known(value, _PARTITION)
    kind = given.get("Type") or By.NONE
    by = next((each for each in By if isinstance(kind, str) and each == kind.lower()), None)
    if by is None:
        reader.wrong("Type", kind, _TYPES)
        return Partition()
    pattern = reader.pattern(given, "Pattern", needed=by is By.REGEX)
    start, end = reader.number(given, "StartIndex"), reader.number(given, "EndIndex")
    if by is By.SUBSTRING and end <= start and not (reader.told("StartIndex") or reader.told("EndIndex")):
        reader.wrong("EndIndex", end, f"a number above StartIndex ({start})")
    layout = reader.layout(given, needed=by is By.DATE)
    return Partition(by, pattern, start, end, layout)


class Reader:
    """Reads fields of one object, and notes what is wrong with them."""

    def __init__(self, path: str) -> None:
        self.problems: list[FieldProblem] = []
        self._path = path

    def wrong(self, name: str, value: object, allowed: str) -> None:
        """Note a field."""
        self.problems.append(FieldProblem(printable(self._path + name), show(value), allowed))

    def told(self, name: str) -> bool:
        """Whether a field was noted."""
        return any(problem.path == self._path + name for problem in self.problems)

    def known(self, value: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
        """Return the fields by their right names; nothing where null stands."""
        found: dict[str, Any] = {}
        for key, each in value.items():
            name = keys.find(key)
            if name is None:
                near = keys.nearest(key)
                meant = f"did you mean `{near}`?" if near else f"known are {', '.join(keys.names)}"
                self.wrong(key, each, f"no parameter of this name; {meant}")
            elif each is not None:
                found["VersionID" if name == "VersionId" else name] = each
        return found

    def text(self, given: Mapping[str, Any], name: str, most: int, allowed: str) -> str:
        """Return a text of at most so many bytes."""
        value = given.get(name, "")
        if isinstance(value, str) and "\0" not in value and len(value.encode("utf-8", "surrogatepass")) <= most:
            return value
        self.wrong(name, value, allowed)
        return ""

    def matching(self, given: Mapping[str, Any], name: str, form: re.Pattern[str], allowed: str) -> str:
        """Return a text of a form, or nothing."""
        value = given.get(name, "")
        if value == "" or (isinstance(value, str) and form.fullmatch(value)):
            return str(value)
        self.wrong(name, value, allowed)
        return ""

    def bucket(self, given: Mapping[str, Any]) -> str:
        """Return the bucket, which must be named."""
        allowed = "the name of a bucket: 3 to 63 letters, digits, `.`, `-` and `_`"
        if not given.get("Bucket"):
            self.wrong("Bucket", given.get("Bucket"), allowed)
            return ""
        return self.matching(given, "Bucket", _BUCKET, allowed)

    def number(self, given: Mapping[str, Any], name: str) -> int:
        """Return a place in a key."""
        value = given.get(name, 0)
        if type(value) is float and value.is_integer():  # what some writers of JSON make of every number
            value = int(value)
        if type(value) is int and 0 <= value <= KEY_BYTES:
            return value
        self.wrong(name, value, f"a number from 0 to {KEY_BYTES}")
        return 0

    def pattern(self, given: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
        """Return a pattern that can be used."""
        value = self.text(given, name, PATTERN_CHARS, f"a pattern of at most {PATTERN_CHARS} bytes")
        try:
            if value:
                compiled(value)
            elif needed and not self.told(name):
                self.wrong(name, value, "a regular expression (RE2)")
        except ValueError as error:
            self.wrong(name, value, f"a regular expression (RE2): {error}")
            return ""
        return value

    def layout(self, given: Mapping[str, Any], *, needed: bool) -> str:
        """Return the layout of a date."""
        value = self.text(given, "DateFormat", KEY_BYTES, "a layout such as `2006-01-02`")
        if needed and not is_layout(value) and not self.told("DateFormat"):
            allowed = "a layout that says how the second of January 2006 would be written, such as `2006-01-02`"
            self.wrong("DateFormat", value, allowed)
            return ""
        return value

    def endpoint(self, given: Mapping[str, Any]) -> str:
        """Return the address of a server; empty for Amazon's."""
        value = given.get("Endpoint", "")
        if value == "":
            return ""
        parts = web_parts(value)
        if parts is None or parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            hidden = parts is not None and "@" in parts.netloc
            told = "…" if hidden else value  # what may be a password is not repeated
            self.wrong("Endpoint", told, "the address of a server, `https://host:port`, without credentials")
            return ""
        return str(value)

    def checksum(self, given: Mapping[str, Any]) -> str:
        """Return a digest as S3 writes it."""
        value = given.get("ChecksumSHA256", "")
        whole, _, parts = value.partition("-") if isinstance(value, str) else ("", "", "x")
        try:
            if value == "" or (len(base64.b64decode(whole, validate=True)) == 32 and (not parts or parts.isdecimal())):
                return str(value)
        except (binascii.Error, ValueError):
            pass
        self.wrong("ChecksumSHA256", value, "a SHA-256 digest in base64, as S3 says it")
        return ""
