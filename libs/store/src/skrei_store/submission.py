"""A job on its way into the record, and what became of it."""

from dataclasses import dataclass
from typing import Protocol

from skrei_domain.job import Blob, JobSpec
from skrei_domain.messages import HintedEvaluation


@dataclass(frozen=True, slots=True)
class Submission:
    """A job on its way into the record, as a new one or as the next version of the one that has its name.

    `digest` is that of the body that came with `token`.
    """

    job_id: str
    evaluation_id: str
    spec: JobSpec
    spec_json: str
    blobs: tuple[Blob, ...] = ()
    token: str = ""
    digest: str = ""
    traceparent: str = ""
    actor: str = ""
    force: bool = False  # a new version, also where nothing has changed

    @property
    def key(self) -> tuple[str, str, str]:
        """What its token is unique within."""
        return (self.spec.namespace, self.actor, self.token)


class Tokened(Protocol):
    """An intent that came with a token, or with none (an empty one)."""

    @property
    def token(self) -> str:
        """What makes a repeat the same."""

    @property
    def digest(self) -> str:
        """That of the body that came with it."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What the token is unique within: namespace, caller, token."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission; `hinted` is None for one that was stored before, under the same token.

    `job_id` is that of the job which has the name, also where another was proposed for it.
    """

    job_id: str
    evaluation_id: str
    hinted: HintedEvaluation | None
    version: int = 1


def units_of(spec: JobSpec) -> int:
    """Return how many units of work a version of the job has."""
    return spec.units
