"""What a node is told of the results of earlier tasks: where each lies, and how to know it."""

from pydantic import BaseModel, ConfigDict, Field

PAGE = 64
"""Results told at once: each address is signed, and good for an hour, in which they are to be fetched."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ResultAddress(_Told):
    """Where what one partition left can be fetched for a while; `digest` is that of the tar.gz."""

    partition: int = Field(ge=0)
    url: str
    digest: str
    size: int


class Standing(_Told):
    """Whether what an execution left counts for its unit; None while that is not decided."""

    counts: bool | None = None


class ResultPage(_Told):
    """Some of the results that an execution may read of one task, in the order of partitions.

    `apart`: there may be several, each in a folder of its own. `next`: the partition to go on from, None at the end.
    """

    apart: bool
    results: tuple[ResultAddress, ...]
    next: int | None = None
