"""What leader and node say to each other about an input that is to be listed before its job is placed.

Asked again, a node answers the same: it lists once for a version of a job. Nobody keeps these messages; what gets lost
is asked again, and a job that nobody has listed in time is placed without.
"""

from typing import Any, Literal

from pydantic import Field

from skrei_domain.messages import MOST_PARTS, ManifestRef, Message, Problem


class InputWanted(Message):
    """Leader to node: list this input for all `partitions`, and bring the list to the result store.

    The token opens the store's door for one list.
    """

    type: Literal["skrei.input.wanted.v1"] = "skrei.input.wanted.v1"
    request_id: str
    job_id: str
    job_version: int
    source_type: str
    params: dict[str, Any]
    target: str = ""
    partitions: int = Field(default=1, ge=1, le=MOST_PARTS)
    token: str


class InputListed(Message):
    """Node to leader: so many files so far; in the end the list, or why there is none."""

    type: Literal["skrei.input.listed.v1"] = "skrei.input.listed.v1"
    request_id: str
    files: int = Field(default=0, ge=0, le=2**63 - 1)
    manifest: ManifestRef | None = None
    problem: Problem | None = None
