"""What is told beside a job, as values: where it is reached, what it left, and what would change."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

LEFT_ON_NODE = "localDirectory"
SINGLE_FILES = "s3"
"""The type of a result that lies in S3 as single files; an archive there has an address of its own."""
HTTP = ("http://", "https://", "/")
"""How an address begins that is fetched over HTTP; a path alone is one of the API's own."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a submission would change; the text is empty for nothing."""

    text: str
    warnings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "Difference":
        """Read the API's answer."""
        warnings = document.get("Warnings") or ()
        return cls(str(document.get("Diff") or ""), tuple(str(text) for text in warnings))


@dataclass(frozen=True, slots=True)
class DataRead:
    """What inputs came to, in bytes: `local` were on the node, `moved` were brought for the execution.

    Of the local ones `cached` had been brought for an earlier one, in `hits` files. `at_least`: more is local than was
    counted.
    """

    local: int = 0
    moved: int = 0
    cached: int = 0
    hits: int = 0
    at_least: bool = False

    def __bool__(self) -> bool:
        """Whether anything was read."""
        return bool(self.local or self.moved or self.at_least)

    def __add__(self, other: "DataRead") -> "DataRead":
        """Return what both came to."""
        return DataRead(
            self.local + other.local,
            self.moved + other.moved,
            self.cached + other.cached,
            self.hits + other.hits,
            self.at_least or other.at_least,
        )

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "DataRead":
        """Read the API's object; one that is not there is nothing."""
        local, moved, cached, hits = (
            int(document.get(name) or 0) for name in ("Local", "Moved", "Cached", "CacheHits")
        )
        return cls(local, moved, cached, hits, bool(document.get("AtLeast")))


@dataclass(frozen=True, slots=True)
class InputCache:
    """What a node keeps of fetched inputs, in bytes and files; since its agent was started so many files were asked for
    that were there (`hits`, `saved` bytes), and `fetched` bytes had to come. `pinned` inputs are its IPFS daemon's."""

    files: int = 0
    size: int = 0
    limit: int = 0
    hits: int = 0
    saved: int = 0
    fetched: int = 0
    pinned: int = 0

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "InputCache":
        """Read the API's object."""
        names = ("Files", "Size", "Limit", "Hits", "Saved", "Fetched", "Pinned")
        return cls(*(int(document.get(name) or 0) for name in names))


@dataclass(frozen=True, slots=True)
class DataSet:
    """Data of a node that jobs read by its name; `size` in bytes, None before it was counted."""

    name: str
    read_write: bool = False
    size: int | None = None
    at_least: bool = False

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "DataSet":
        """Read the API's object."""
        size = document.get("Size")
        return cls(
            str(document.get("Name") or ""),
            bool(document.get("ReadWrite")),
            None if size is None else int(size),
            bool(document.get("AtLeast")),
        )


@dataclass(frozen=True, slots=True)
class NodeService:
    """What of a node jobs use by its name: an `address`, or a `file`."""

    name: str
    kind: str = "address"
    read_write: bool = False

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "NodeService":
        """Read the API's object."""
        return cls(
            str(document.get("Name") or ""), str(document.get("Kind") or "address"), bool(document.get("ReadWrite"))
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A port of a ready execution; `address` is its `host:port`."""

    address: str
    name: str
    task: str
    partition: int
    execution_id: str
    node_id: str
    version: int
    document: dict[str, Any]

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "Endpoint":
        """Read the API's endpoint object."""
        return cls(
            address=str(document.get("Address") or ""),
            name=str(document.get("Name") or ""),
            task=str(document.get("Task") or ""),
            partition=int(document.get("PartitionIndex") or 0),
            execution_id=str(document.get("ExecutionID") or ""),
            node_id=str(document.get("NodeID") or ""),
            version=int(document.get("JobVersion") or 0),
            document=document,
        )


@dataclass(frozen=True, slots=True)
class Whole:
    """All of a result that stays on its node, as its node would send it."""

    url: str
    size: int
    digest: str

    @classmethod
    def parse(cls, told: Any) -> "Whole | None":
        """Read what the API says of it; None where it says nothing."""
        if not isinstance(told, dict) or not str(told.get("URL") or "").startswith(HTTP):
            return None
        return cls(str(told["URL"]), int(told.get("Size") or 0), str(told.get("Digest") or ""))


@dataclass(frozen=True, slots=True)
class Result:
    """The stored result of one execution, and where it is fetched; what the API does not tell is empty, or None.

    `url` is empty for one that cannot be fetched over HTTP, `task` for a job of one task. One that stays on its node
    lies there in the folder `left_at` and has `left_bytes`; what `url` gives tells of it, if there is any. One whose
    paths went to several places is several of these, each with its `paths`; the one without any has the rest.
    """

    url: str
    execution_id: str
    partition: int
    size: int | None = None
    digest: str = ""
    kept_until: str = ""
    task: str = ""
    node_id: str = ""
    node_name: str = ""
    kind: str = ""
    left_at: str = ""
    left_bytes: int = 0
    paths: tuple[str, ...] = ()
    whole: "Whole | None" = None
    """Where all of one that stays on its node may be had, if its node lets it go."""
    numbered: bool = True
    """Whether the API says which partition it is of; else `partition` is 0."""
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def node(self) -> str:
        """The node that made it, by what it calls itself, else by its id."""
        return self.node_name or self.node_id

    @property
    def left_words(self) -> str:
        """Where what stays on its node lies, as the end of a sentence."""
        return f"stays on node {self.node}, in {self.left_at}"

    def url_of(self, path: str) -> str:
        """Return the address of what alone lies at or below a path, where it lies as single files; else `url`."""
        return f"{self.url}&path={quote(path, safe='')}" if path and self.kind == SINGLE_FILES else self.url

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "Result":
        """Read the API's result object. Where nobody says who made it, its file is named after that execution."""
        params = document.get("Params") or {}
        url = str(params.get("URL") or params.get("PreSignedURL") or "")
        url = url if url.startswith(HTTP) else ""
        maker = str(params.get("ExecutionID") or "")
        size, partition = params.get("Size"), params.get("PartitionIndex")
        digest = str(params.get("Digest") or "")
        left = document.get("Type") == LEFT_ON_NODE
        return cls(
            url=url,
            execution_id=maker or unquote(urlsplit(url).path.rsplit("/", 1)[-1]).removesuffix(".tar.gz"),
            partition=int(partition or 0),
            size=size if isinstance(size, int) and size >= 0 else None,
            digest=digest if digest.startswith("sha256:") else "",
            kept_until=str(params.get("KeptUntil") or ""),
            task=str(params.get("Task") or ""),
            node_id=str(params.get("NodeID") or ""),
            node_name=str(params.get("NodeName") or ""),
            kind=str(document.get("Type") or ""),
            left_at=str(params.get("Path") or "") if left else "",
            left_bytes=int(params.get("Bytes") or 0) if left else 0,
            whole=Whole.parse(params.get("Archive")) if left else None,
            paths=tuple(str(each) for each in params.get("ResultPaths") or ()),
            numbered=partition is not None,
            document=document,
        )


def holding(found: Sequence[Result], inside: str) -> list[Result]:
    """Return those results that can hold a path: of one whose paths went to several places the one that has it."""
    top = inside.partition("/")[0]
    apart = {(one.execution_id, path) for one in found for path in one.paths}
    return [
        one for one in found if not top or top in one.paths or (not one.paths and (one.execution_id, top) not in apart)
    ]
