"""A job on its way into the record, and what became of it."""

from dataclasses import dataclass

from skrei_domain.job import Blob, JobSpec
from skrei_domain.messages import HintedEvaluation


@dataclass(frozen=True, slots=True)
class Submission:
    """A job on its way into the record. `digest` is that of the body that came with `token`."""

    job_id: str
    evaluation_id: str
    spec: JobSpec
    spec_json: str
    blobs: tuple[Blob, ...] = ()
    token: str = ""
    digest: str = ""
    traceparent: str = ""
    actor: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What its token is unique within."""
        return (self.spec.namespace, self.actor, self.token)


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission; `hinted` is None for one that was stored before, under the same token."""

    job_id: str
    evaluation_id: str
    hinted: HintedEvaluation | None
