"""The contract of publishers: where results go that are too large for a fact.

An upload is planned, carried out by the node, staged (whole, verified, durable), and only once its execution has won
its unit finalised; what never wins is aborted, or kept beside it. A node that was cut off repeats every step, and so
does a control plane that was not heard: each one is idempotent. Publishers run in the publisher's process alone, the
only holder of a destination's credentials.

Most destinations need less: a `Forwarder` is handed a whole, verified file once it has won, and brings it there; what
comes before that is done by the publisher's process, in its own staging.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from skrei_domain.errors import SkreiError
from skrei_domain.uploads import Parcel, UploadPlan
from skrei_plugin_api.plugin import Params, Plugin

NOTHING: Params = MappingProxyType[str, Any]({})
"""The params of who says nothing."""


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


class DestinationAway(PublishError):
    """The destination cannot be reached, or has no time; it is tried again."""

    code = "destination-away"
    retryable = True


class NotReadable(PublishError):
    """A result cannot be read through Skrei: it is where it was published, or not there any more."""

    code = "not-readable"


class StagedGone(PublishError):
    """What was staged is not there any more: it was dropped after its time, or lost."""

    code = "staged-gone"


@dataclass(frozen=True, slots=True)
class Published:
    """Where a final result lies: the params of its execution's `PublishedResult`, whose type is the publisher's name.

    At most 4 KiB as JSON; nothing secret, since whoever may see the job may see it.
    """

    params: Params


@dataclass(frozen=True, slots=True)
class Opened:
    """Where a finalised result can be read: a file of this machine, an address to send readers to, or itself."""

    path: Path | None = None
    url: str = ""
    data: bytes | None = None


class Publisher(Plugin):
    """Takes results. Many uploads go on at once; what is heavy runs in threads.

    `params` are what the job says of its destination, with the words in braces replaced (`{jobID}`): the control
    plane's word, `validate`d before they are used.
    """

    keeps: ClassVar[bool] = False
    """Whether results that never count (failed, stopped, beaten) are kept for reading; else they are aborted."""

    async def start(self) -> None:
        """Get ready, and find what an earlier process had begun: awaited once, before any other step."""
        return

    def at(self, params: Params) -> str:
        """Return what people call the place that `params` name, without its key: `s3://results at https://s3.example`.

        Results with the same words wait for each other, and for nobody else's: so it names the server, where that may
        be away while others are not. It is shown to whoever may see the job. Pure.
        """
        return self.name

    def forwards(self, params: Params) -> bool:
        """Whether results for `params` come to the process's own staging, and are brought on by `forward`. Pure."""
        return False

    async def reach(self, params: Params) -> None:
        """Return where results can be brought to `params`, as far as that is quickly told: asked before any is sent.

        Raises PublishDenied with the cause, or DestinationAway.
        """
        return

    async def forward(self, parcel: Parcel, content: Path, params: Params) -> Published:
        """Bring a result that has won to where `params` say, in place of what lies there; return where that is.

        `content` is its tar.gz, verified. An earlier try may have brought some or all of it. The process keeps a copy
        for a while, for `skrei job get` and for tasks that read it, as long as nobody needs its room.
        Raises PublishDenied for a final no; anything else is tried again.
        """
        raise PublishDenied("this publisher forwards nothing")

    takes_portions: ClassVar[bool] = False
    """Whether `take` works: portions of results, which go to several places, may go to this one."""

    async def take(self, parcel: Parcel, content: Path, params: Params) -> str:
        """Bring a portion of a result that has won to where `params` say, unseen; return its place for `finalise`.

        `content` is its tar.gz, of this machine. An earlier try may have brought some or all of it; `abort` drops it.
        Raises PublishDenied for a final no; anything else is tried again.
        """
        raise PublishDenied("this publisher takes whole results alone")

    @abstractmethod
    async def plan(
        self, parcel: Parcel, headers: Mapping[str, str], *, node_id: str = "", params: Params = NOTHING
    ) -> UploadPlan:
        """Return what is still to be sent of a parcel; nothing when all of it has come.

        Requests for the publisher's own door have a relative address, `uploads/<execution>/parts/<number>`, and carry
        `headers`. A parcel with another digest replaces what had come for its execution before. `node_id` is whose
        upload it is: where nodes share a limit none may take all of it. Raises StoreFull, TooManyUploads,
        DestinationAway or PublishDenied.
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
    async def finalise(self, parcel: Parcel, place: str) -> Published | None:
        """Make what was staged the result of its execution: whoever opens it from now on gets it.

        Returns where it lies; None for Skrei's own store. Raises StagedGone, or PublishDenied; anything else,
        retryable, is tried again.
        """

    @abstractmethod
    async def abort(self, execution_id: str) -> None:
        """Drop what had come for, or is staged of, an execution; never what is final. Nothing there is fine."""

    @abstractmethod
    async def open(self, execution_id: str, params: Params = NOTHING) -> Opened | None:
        """Return where the finalised result of an execution is read; None where there is none.

        `params` are those of its `Published`. An address is good for whoever has it, for a while.
        """

    def read(
        self, execution_id: str, params: Params, *, first: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the tar.gz of a finalised result from byte `first` on, for whoever may not reach where it lies.

        `params` are those of its `Published`. Raises NotReadable, DestinationAway or PublishDenied.
        """
        raise NotReadable(f"it was published to {self.name}, and is read there", execution_id=execution_id)

    def repacks(self, params: Params) -> bool:
        """Whether `read` packs again what lies there as files: where another library packs them, its bytes and their
        number may be others than of what came. Pure.
        """
        return False

    def read_part(
        self, execution_id: str, params: Params, path: str
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]] | None:
        """Open a tar.gz of what lies at or below a path of a finalised result; None where all of it has to be read.

        Nothing there is an empty archive. Raises as `read`.
        """
        return None

    async def tidy(self, *, older_than_seconds: float) -> None:
        """Drop uploads that nobody has gone on with, or made final, for so long. Called every few minutes."""
        return


class Forwarder(Publisher):
    """A publisher that is handed each result whole, once it has won: only `forward` (and `open`) is its own."""

    def forwards(self, params: Params) -> bool:
        """All of them."""
        return True

    async def plan(
        self, parcel: Parcel, headers: Mapping[str, str], *, node_id: str = "", params: Params = NOTHING
    ) -> UploadPlan:
        """Raise UploadUnknown: nothing is sent to it."""
        raise UploadUnknown("results come to the publisher's own staging", execution_id=parcel.execution_id)

    async def stage(self, parcel: Parcel) -> str:
        """Raise UploadUnknown."""
        raise UploadUnknown("results come to the publisher's own staging", execution_id=parcel.execution_id)

    async def finalise(self, parcel: Parcel, place: str) -> Published | None:
        """Raise StagedGone."""
        raise StagedGone("results come to the publisher's own staging", execution_id=parcel.execution_id)

    async def abort(self, execution_id: str) -> None:
        """Nothing is staged here."""

    async def open(self, execution_id: str, params: Params = NOTHING) -> Opened | None:
        """Nobody reads it through Skrei, unless a publisher says how."""
        return None
