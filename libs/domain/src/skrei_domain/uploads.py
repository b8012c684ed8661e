"""What agent and publisher say to each other about a result that is too large for a fact: parcel, plan, receipt.

A plan is data: requests with address, headers and byte range. Who carries it out needs to know nothing of where the
bytes go, so that a publisher may take them at its own door or hand out addresses of an object store.
"""

from pydantic import Field

from skrei_domain.messages import Message


class Parcel(Message):
    """What is to be uploaded: one execution's result, named by its digest (`sha256:<hex>`), size in bytes."""

    execution_id: str
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(gt=0)


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

    `more`: there is more to be sent than these; ask again when they are done.
    """

    requests: tuple[UploadRequest, ...] = ()
    parallel: int = Field(default=4, ge=1)
    more: bool = False


class UploadAnswer(Message):
    """The door's answer to a parcel: a plan for what is missing, or the receipt when nothing is."""

    plan: UploadPlan | None = None
    receipt: str = ""
