"""The contract of publishers: where results go that are too large for a fact.

An upload is planned, carried out by the node, staged (whole, verified, durable), and only once its execution has won
its unit finalised; what never wins is aborted, or kept beside it. A node that was cut off repeats every step, and so
does a control plane that was not heard: each one is idempotent. Publishers run in the publisher's process alone, the
only holder of a destination's credentials.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from skrei_domain.errors import SkreiError
from skrei_domain.uploads import Parcel, UploadPlan
from skrei_plugin_api.plugin import Plugin


class PublishError(SkreiError):
    """A step of an upload did not go well; `retryable` says whether it may later."""

    code = "publish"


class StoreFull(PublishError):
    """There is no room at the destination, for now."""

    code = "store-full"
    retryable = True


class TooManyUploads(PublishError):
    """The publisher has as many uploads open as it takes."""

    code = "too-many-uploads"
    retryable = True


class PublishDenied(PublishError):
    """The destination's final no: denied, no such bucket."""

    code = "publish-denied"


class UploadUnknown(PublishError):
    """Nothing is known of that upload (any more): ask for a plan again."""

    code = "upload-unknown"


class UploadIncomplete(PublishError):
    """Parts are missing: ask for a plan again."""

    code = "upload-incomplete"


class DigestDiffers(PublishError):
    """What came is not what was announced; all of it is dropped."""

    code = "digest-differs"


class StagedGone(PublishError):
    """What was staged is not there any more: it was dropped after its time, or lost."""

    code = "staged-gone"


@dataclass(frozen=True, slots=True)
class Opened:
    """Where a finalised result can be read: a file of this machine, an address to send readers to, or itself."""

    path: Path | None = None
    url: str = ""
    data: bytes | None = None


class Publisher(Plugin):
    """Takes results. Many uploads go on at once; what is heavy runs in threads."""

    keeps: ClassVar[bool] = False
    """Whether results that never count (failed, stopped, beaten) are kept for reading; else they are aborted."""

    async def start(self) -> None:
        """Get ready, and find what an earlier process had begun: awaited once, before any other step."""
        return

    @abstractmethod
    async def plan(self, parcel: Parcel, headers: Mapping[str, str], *, node_id: str = "") -> UploadPlan:
        """Return what is still to be sent of a parcel; nothing when all of it has come.

        Requests for the publisher's own door have a relative address, `uploads/<execution>/parts/<number>`, and carry
        `headers`. A parcel with another digest replaces what had come for its execution before. `node_id` is whose
        upload it is: where nodes share a limit none may take all of it. Raises StoreFull, TooManyUploads or
        PublishDenied.
        """

    async def receive(self, execution_id: str, number: int, size: int, content: AsyncIterator[bytes]) -> None:
        """Take one part (numbered from 0) that was sent to the publisher's own door.

        Raises UploadUnknown, UploadIncomplete when fewer or more bytes came than belong to it, StoreFull.
        """
        raise UploadUnknown("this publisher takes no parts at its own door", execution_id=execution_id)

    @abstractmethod
    async def stage(self, parcel: Parcel) -> str:
        """Return the place of a parcel whose parts have all come, once it is verified and durable.

        Raises UploadUnknown, UploadIncomplete, DigestDiffers, StoreFull.
        """

    @abstractmethod
    async def finalise(self, parcel: Parcel, place: str) -> None:
        """Make what was staged the result of its execution: whoever opens it from now on gets it.

        Raises StagedGone, or PublishDenied; anything else, retryable, is tried again.
        """

    @abstractmethod
    async def abort(self, execution_id: str) -> None:
        """Drop what had come for, or is staged of, an execution; never what is final. Nothing there is fine."""

    @abstractmethod
    async def open(self, execution_id: str) -> Opened | None:
        """Return where the finalised result of an execution is read; None where there is none."""
