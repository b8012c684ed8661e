"""The record as the API reads and writes it: every call is one short transaction, and returns values."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from skrei_domain.constraints import Constraint
from skrei_domain.job import Blob, JobSpec
from skrei_domain.lifecycle import Connection, ExecutionState, JobState, Want
from skrei_domain.messages import HintedEvaluation, RunOutput
from skrei_domain.resources import Resources
from skrei_orchestrator_api import schemas
from skrei_orchestrator_api.settings import Settings


@dataclass(frozen=True, slots=True)
class Submission:
    """A job on its way into the record."""

    job_id: str
    evaluation_id: str
    spec: JobSpec
    spec_json: str
    blobs: tuple[Blob, ...]
    token: str
    digest: str
    traceparent: str
    actor: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission; `hinted` is None for one that was stored before, under the same token."""

    job_id: str
    evaluation_id: str
    hinted: HintedEvaluation | None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and the spec of its current version."""

    id: str
    namespace: str
    state: JobState
    message: str
    details: Mapping[str, str]
    version: int
    history_seq: int
    created_at: datetime
    modified_at: datetime
    spec_json: str

    @property
    def is_terminal(self) -> bool:
        return self.state.is_terminal

    def json(self, spec_json: str = "") -> str:
        return schemas.job(
            job_id=self.id,
            spec_json=spec_json or self.spec_json,
            state=self.state.value,
            message=self.message,
            details=self.details,
            version=self.version,
            revision=self.history_seq,
            created=self.created_at,
            modified=self.modified_at,
        )


@dataclass(frozen=True, slots=True)
class ExecutionView:
    id: str
    job_id: str
    node_id: str
    state: ExecutionState
    has_result: bool
    output: RunOutput | None

    def document(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True)
class NodeView:
    id: str
    connection: Connection

    def document(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True)
class ResultView:
    execution_id: str
    partition: int


class Record:
    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> "AsyncIterator[Record]":
        yield cls()

    async def submit_many(self, batch: Sequence[Submission]) -> Sequence[Submitted | Exception]:
        raise NotImplementedError

    async def stop_job(self, job_id: str, *, reason: str, actor: str) -> HintedEvaluation | None:
        raise NotImplementedError

    async def find_job(self, key: str, namespace: str) -> JobView:
        raise NotImplementedError

    async def whole_json(self, job: JobView) -> str:
        raise NotImplementedError

    async def list_jobs(
        self,
        *,
        namespace: str,
        labels: tuple[Constraint, ...],
        order: str,
        reverse: bool,
        after: tuple[int, str] | None,
        limit: int,
    ) -> tuple[list[JobView], tuple[int, str] | None]:
        raise NotImplementedError

    async def history(
        self, job_id: str, *, first: int, limit: int, kind: str = "all", execution_id: str = "", since: int = 0
    ) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def execution_is_over(self, job_id: str, execution_id: str) -> bool:
        raise NotImplementedError

    async def find_execution(self, job_id: str, execution_id: str) -> ExecutionView:
        raise NotImplementedError

    async def executions(
        self, job_id: str, *, order: str, reverse: bool, limit: int, version: int | None
    ) -> list[ExecutionView]:
        raise NotImplementedError

    async def results(self, job_id: str, version: int) -> list[ResultView]:
        raise NotImplementedError

    async def inline_result(self, execution_id: str) -> bytes | None:
        raise NotImplementedError

    async def nodes(self) -> list[NodeView]:
        raise NotImplementedError

    async def find_node(self, key: str) -> NodeView:
        raise NotImplementedError

    async def blob(self, digest: str) -> bytes | None:
        raise NotImplementedError
