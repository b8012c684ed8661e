"""What agent and publisher say to each other about a result that is too large for a fact: parcel, plan, receipt.

A plan is data: requests with address, headers and byte range. Who carries it out needs to know nothing of where the
bytes go, so that a publisher may take them at its own door or hand out addresses of an object store.
"""

from pydantic import Field

from skrei_domain.messages import Message


class Parcel(Message):
    """What is to be uploaded: one execution's result, named by its digest (`sha256:<hex>`), size in bytes.

    `counts`: it may become its unit's result; what never can goes to Skrei's own store, whatever destination its job
    names. `pieces` are the digests (base64 of SHA-256) of its pieces of `piece_bytes`, where a plan has asked for them.
    """

    execution_id: str
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(gt=0)
    counts: bool = True
    piece_bytes: int = Field(default=0, ge=0)
    pieces: tuple[str, ...] = ()

    @property
    def whole(self) -> "Parcel":
        """The same without its pieces."""
        return self.model_copy(update={"piece_bytes": 0, "pieces": ()}) if self.pieces or self.piece_bytes else self

    @property
    def plain(self) -> "Parcel":
        """What names it: execution, digest and size alone."""
        return Parcel(execution_id=self.execution_id, digest=self.digest, size=self.size)


class UploadRequest(Message):
    """Send bytes `[first, first + size)` of the parcel there, with these headers; any 2xx is done.

    A relative `url` is resolved against the publisher's door.
    """

    url: str
    method: str = "PUT"
    headers: dict[str, str] = Field(default_factory=dict)
    first: int = Field(ge=0)
    size: int = Field(gt=0)


class UploadPlan(Message):
    """What is still to be sent of a parcel, in any order, at most `parallel` requests at once.

    `more`: there is more to be sent than these; ask again when they are done. With `piece_bytes` there is none yet:
    ask again with the digests of the parcel's pieces of so many bytes. `trusted`: the servers that it names are the
    control plane's owner's; else its node judges them as it judges those of inputs.
    """

    requests: tuple[UploadRequest, ...] = ()
    parallel: int = Field(default=4, ge=1)
    more: bool = False
    piece_bytes: int = Field(default=0, ge=0)
    trusted: bool = False


class UploadAnswer(Message):
    """The door's answer to a parcel: a plan for what is missing, or the receipt when nothing is."""

    plan: UploadPlan | None = None
    receipt: str = ""
