"""The contract of storages: what brings one input of a task onto the node, as a file or directory to mount."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skrei_domain.errors import SkreiError
from skrei_domain.node import NearServer
from skrei_plugin_api.engine import Mount
from skrei_plugin_api.plugin import Params, Plugin

if TYPE_CHECKING:
    from skrei_plugin_api.pieces import Bring, Entry, Listed, Piece


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One input as the task names it; `owner_reads`: the node's owner submitted it, and may read what it names.

    It is for `partition` of `partitions`, which a storage that can be parted deals its files out to; one of one where
    everybody reads everything.
    """

    type: str
    params: Params = field(default_factory=dict)
    target: str = ""
    alias: str = ""
    owner_reads: bool = False
    partition: int = 0
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class StageLimits:
    """How much one input may bring onto the node's disk."""

    max_bytes: int = 10 * 1024**3
    """So that one input cannot fill the disk."""
    max_files: int = 100_000
    """So that an archive of empty files cannot use up the inodes."""
    max_listed: int = 5_000_000
    """Of one listing, for all partitions together: five thousand requests of a bucket, which take minutes."""
    max_ratio: int = 200
    """Bytes unpacked for each packed byte, beyond a free first MiB: gzip reaches 1,000 only on a bomb."""


class StageProblem(StrEnum):
    """Why an input cannot be had."""

    DENIED = "input-denied"
    """The node's owner does not allow it."""
    MISSING = "input-missing"
    INVALID = "input-invalid"
    """It is not what it says it is."""
    TOO_LARGE = "input-too-large"
    BEYOND_DISK = "input-beyond-disk"
    """The node's disk will never have the room for it, whatever else goes; another node's may."""
    HOST_UNKNOWN = "input-host-unknown"
    """The node knows no server of that name; another one may, of a network of its own."""


class StageFailed(SkreiError):
    """An input cannot be had, and will not be had by trying again here."""

    code = StageProblem.INVALID

    def __init__(self, problem: StageProblem, message: str, *, hint: str = "", **details: str) -> None:
        super().__init__(message, hint=hint, **details)
        self.code = problem  # type: ignore[misc]  # each object its own: callers read `code` of any SkreiError


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What one partition of an earlier task left: a tar.gz, to be read only.

    `folder` is the name of its own place in the input; empty where it is all that the input consists of.
    """

    archive: Path
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Near:
    """What of elsewhere is near a node: servers that inputs come from, and inputs that another program of the machine
    has, by their keys (`skrei_domain.source_keys`).
    """

    servers: tuple[NearServer, ...] = ()
    holds: tuple[str, ...] = ()


class BlobReader(Protocol):
    """Brings what belongs to the job itself (bytes that were cut out of its spec, results of its earlier tasks), and
    keeps what storages fetch."""

    async def fetch(self, digest: str) -> Path:
        """Return a file with exactly the bytes of `digest` (`sha256:<hex>`), to be read only.

        Raises SkreiError when they cannot be had.
        """

    def keep(self, data: bytes) -> Path:
        """Return a file with exactly these bytes, to be read only: one for all who bring the same. For small ones."""

    def results(self, task: str) -> AsyncIterator[TaskResult]:
        """Yield what the partitions of a task left that this execution waits for, in order.

        An archive is there until the next one is asked for. Raises SkreiError when one cannot be had.
        """

    async def listed(self, storage: "Storage", source: SourceSpec, limits: StageLimits) -> "Listed | None":
        """Return what the partition of `source` gets of a listing (`Storage.resolve`) that all partitions share.

        None where nobody lists it, or where each execution is to see it as it is now: it then asks for its own part.
        Raises what listing raises; the part is checked against `limits` when it is loaded.
        """

    async def gather(self, pieces: "Sequence[Piece] | Listed", bring: "Bring") -> Path:
        """Return a directory with all pieces at their paths, or the file of the one that has no path; read-only.

        Each is brought unless it is here; directory and files are shared with whoever asks for the same, and stay as
        they are while this execution needs them. Raises what `bring` raises, and StageFailed where the disk has no
        room.
        """


class Storage(Plugin):
    """Stages inputs of one type."""

    @abstractmethod
    async def size(self, source: SourceSpec) -> int | None:
        """Return how many bytes staging would bring, or None where that cannot be known beforehand."""

    @abstractmethod
    async def stage(self, source: SourceSpec, folder: Path, limits: StageLimits, blobs: BlobReader) -> Mount:
        """Make the input available and return where it lies and where it belongs.

        `folder` is the input's own and not there yet: what is made is it or lies below it, and the caller removes it;
        making it is left to whoever needs it, since most of a small job's start are folders. What the mount
        names is not changed by anyone while the task runs, unless it is read-write. Raises StageFailed.
        """

    def resolve(self, source: SourceSpec, limits: StageLimits) -> "AsyncGenerator[Entry, None] | None":
        """Yield every file of the input as it is now, for all `source.partitions`, with the one that gets it.

        Which partition `source` itself is for does not matter. Either all files go to one partition each, or all of
        them to all. None (as here): it cannot be listed, and each execution finds out for itself what it gets. Raises
        StageFailed, and SkreiErrors that are retryable where another try may succeed, while it is read.
        """
        del source, limits
        return None

    async def near(self) -> Near:
        """Return what is near now, measured for it. Asked every ten minutes or so, beside everything else.

        It is cut off after half a minute, and then counts as nothing. Raises nothing for what cannot be reached.
        """
        return Near()

    async def local_bytes(self, source: SourceSpec) -> int:
        """Return how many bytes of the input are on this node already, whatever runs here."""
        del source
        return 0
