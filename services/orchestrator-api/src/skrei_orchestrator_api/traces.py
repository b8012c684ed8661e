"""What the API did for a job, as spans: the submission, its commit, and the end of a job that was stopped."""

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from skrei_domain.messages import HintedEvaluation
from skrei_kit import tracing
from skrei_kit.otlp import Exporter
from skrei_kit.tracing import Context, Span, id_of, job_span

API = (("service.name", "skrei-orchestrator-api"),)


class Submitting:
    """One submission on its way. `context` goes with the job: whatever becomes of it belongs below this."""

    def __init__(self, given: str, share: float) -> None:
        above = tracing.read(given)
        self._parent = above.span_id if above is not None else ""
        self.context: Context = (above or tracing.fresh(share)).child(secrets.token_hex(8))
        self._began = self._asked = datetime.now(UTC)

    def asks(self) -> None:
        """It has been read, and waits for its commit."""
        self._asked = datetime.now(UTC)

    def ended(self, job_id: str, error: str | None = None) -> Iterable[Span]:
        """Return its spans; none where nobody wants to see them."""
        if not self.context.sampled:
            return ()
        now, told = datetime.now(UTC), {"skrei.job.id": job_id}
        commit = self.context.child(id_of(self.context.span_id, "commit"))
        return (
            Span("submit", self.context, self._parent, self._began, now, tracing.SERVER, API, told, error),
            Span("commit", commit, self.context.span_id, self._asked, now, resource=API, attributes=told, error=error),
        )


class ApiTraces:
    """Sends the API's spans; made where a collector is named."""

    def __init__(self, exporter: Exporter, share: float) -> None:
        self._exporter = exporter
        self._share = share

    def submitting(self, given: str) -> Submitting:
        """Begin a submission that came with this `traceparent`, or with none (empty)."""
        return Submitting(given, self._share)

    def submitted(self, one: Submitting, job_id: str, error: str | None = None) -> None:
        """It has ended, well or not."""
        self._exporter.add(one.ended(job_id, error))

    def stopped(self, evaluation: HintedEvaluation) -> None:
        """A job was stopped, by the commit that made this: no leader's commit ends it."""
        context = tracing.of_job(evaluation.traceparent, evaluation.job_id, self._share)
        if context.sampled:
            told = {"skrei.job.id": evaluation.job_id, "skrei.job.name": evaluation.job_name, "skrei.state": "Stopped"}
            own = context.child(job_span(evaluation.job_id, evaluation.version))
            began = evaluation.asked_at or evaluation.created_at
            span = Span("job", own, context.span_id, began, datetime.now(UTC), resource=API, attributes=told)
            self._exporter.add((span,))
