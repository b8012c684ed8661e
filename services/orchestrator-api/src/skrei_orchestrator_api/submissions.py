"""Intent, written: submissions in groups, stops one by one, and a hint to the scheduler after each commit."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from skrei_domain import ids, subjects
from skrei_domain.envelope import wrap
from skrei_domain.feed import JOB, Change
from skrei_domain.messages import EvaluationHint, HintedEvaluation
from skrei_kit.bus import Bus, offer
from skrei_kit.feed_post import FeedPost
from skrei_kit.observability import get_logger
from skrei_kit.supervisor import run_until_stopped
from skrei_orchestrator_api.early import EarlyHints
from skrei_orchestrator_api.figures import ApiFigures
from skrei_orchestrator_api.group_commit import GroupCommit
from skrei_orchestrator_api.origin import with_origin
from skrei_orchestrator_api.publishing import Destinations
from skrei_orchestrator_api.record import Record
from skrei_orchestrator_api.schemas import dump
from skrei_orchestrator_api.settings import Settings
from skrei_orchestrator_api.submit import Asked, Bodies, check_retention, digest, read_asked, to_store, traceparent
from skrei_store.submission import Submission, Submitted

if TYPE_CHECKING:
    from skrei_orchestrator_api.traces import ApiTraces

log = get_logger()

SOURCE = "skrei/api"


class _Way(NamedTuple):
    """A submission on its way: its job's id, the trace that it belongs to, and who hears that it asks for a commit."""

    job_id: str
    traceparent: str
    asks: Callable[[], None] = lambda: None


def _answered(done: dict[str, object] | BaseException) -> dict[str, object] | Exception:
    if isinstance(done, BaseException) and not isinstance(done, Exception):
        raise done
    return done


class Submissions:
    """Takes jobs and stops; each is answered once it has committed."""

    def __init__(
        self,
        record: Record,
        bus: Bus,
        settings: Settings,
        destinations: Destinations | None = None,
        *,
        figures: ApiFigures | None = None,
        traces: "ApiTraces | None" = None,
    ) -> None:
        self._traces = traces
        self._record = record
        self._bus = bus
        self._hint_bytes = settings.hint_bytes
        self._policy = settings.policy
        self._hints: set[asyncio.Task[None]] = set()
        self._bodies = Bodies()
        self._destinations = destinations
        self._feed = FeedPost.on(bus, SOURCE)
        self._early = EarlyHints(self._send_early)
        self._group: GroupCommit[Submission, Submitted] = GroupCommit(
            self._commit,
            batch_items=settings.batch_items,
            batch_bytes=settings.batch_bytes,
            waiting_bytes=settings.waiting_bytes,
            after=self._after,
            told=(figures or ApiFigures()).committed,
        )

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of submissions wait for their commit."""
        return self._group.waiting_bytes

    async def run(self) -> None:
        """Commit what comes, until cancelled."""
        try:
            await run_until_stopped(asyncio.Event(), group_commit=self._group.run(), feed=self._feed.run())
        finally:
            await asyncio.gather(*self._hints, return_exceptions=True)

    async def submit(
        self, raw: bytes, headers: Mapping[str, str], actor: str, *, namespace: str = ""
    ) -> dict[str, object]:
        """Return the answer to a submission's body. Raises SkreiError or HttpProblem, naming what is wrong."""
        return await self._store(self._bodies.read(raw, namespace), len(raw), headers, actor)

    async def submit_all(
        self, bodies: Sequence[object], headers: Mapping[str, str], actor: str
    ) -> list[dict[str, object] | Exception]:
        """Return, in order, the answer to each of many submissions or why it is refused; one is no matter of another.

        They share as few commits as their sizes allow.
        """
        told = []
        for body in bodies:
            told.append(asyncio.ensure_future(self._store_one(body, headers, actor)))
            await asyncio.sleep(0)  # reading one takes half a millisecond: others have their turn between
        return [_answered(done) for done in await asyncio.gather(*told, return_exceptions=True)]

    async def _store_one(self, body: object, headers: Mapping[str, str], actor: str) -> dict[str, object]:
        return await self._store(read_asked(body), len(dump(body)), headers, actor)

    async def _store(self, asked: Asked, size: int, headers: Mapping[str, str], actor: str) -> dict[str, object]:
        trace = traceparent(headers.get("traceparent", ""))
        if self._traces is None:
            return await self._stored(asked, size, headers, actor, _Way(ids.new_job_id(), trace))
        job_id, submitting = ids.new_job_id(), self._traces.submitting(trace)
        try:
            way = _Way(job_id, submitting.context.header, submitting.asks)
            answer = await self._stored(asked, size, headers, actor, way)
        except Exception as error:
            self._traces.submitted(submitting, job_id, str(error))
            raise
        self._traces.submitted(submitting, str(answer["JobID"]))
        return answer

    async def _stored(
        self, asked: Asked, size: int, headers: Mapping[str, str], actor: str, way: "_Way"
    ) -> dict[str, object]:
        spec, warnings, token, force, digest = asked
        check_retention(spec, self._policy)
        if self._destinations is not None:
            await self._destinations.check(spec)
        spec = with_origin(spec, headers, await self._record.installation_id())
        cut, text, blobs = to_store(spec, way.job_id)
        submission = Submission(
            job_id=way.job_id,
            evaluation_id=ids.new_evaluation_id(),
            spec=cut,
            spec_json=text,
            blobs=blobs,
            token=token,
            digest=digest,
            traceparent=way.traceparent,
            actor=actor,
            force=force,
        )
        way.asks()
        done = await self._group.submit(submission, size)
        return {"JobID": done.job_id, "EvaluationID": done.evaluation_id, "Warnings": list(warnings) or None}

    async def stop(self, key: str, namespace: str, reason: str, actor: str) -> str:
        """Stop the job that `key` names; return the evaluation's id, empty where it was stopped before."""
        job = await self._record.find_job(key, namespace)
        evaluation = await self._record.stop_job(job.id, reason=reason, actor=actor)
        if evaluation is None:
            return ""
        if self._traces is not None:
            self._traces.stopped(evaluation)
        log.info("job_ended", job_id=job.id, state="Stopped", reason=reason)
        self._hint([evaluation], ended=True)
        return evaluation.evaluation_id

    async def rerun(
        self,
        key: str,
        namespace: str,
        *,
        version: int,
        reason: str,
        headers: Mapping[str, str],
        actor: str,
        token: str = "",
        same_inputs: bool = False,
    ) -> dict[str, object]:
        """Run a version (0: the current one) of the job that `key` names once more; return the answer."""
        job = await self._record.find_job(key, namespace)
        done = await self._record.rerun_job(
            job.id,
            version=version,
            reason=reason,
            actor=actor,
            traceparent=traceparent(headers.get("traceparent", "")),
            token=token,
            digest=digest(["rerun", job.id, version, reason, *(["same"] if same_inputs else [])]) if token else "",
            same_inputs=same_inputs,
        )
        if done.hinted is not None:
            self._hint([done.hinted], read=same_inputs)
        return {
            "EvaluationID": done.evaluation_id,
            "JobID": done.job_id,
            "JobVersion": done.version,
            "Warnings": None,
        }

    async def _commit(self, batch: Sequence[Submission]) -> Sequence[Submitted | Exception]:
        began = asyncio.get_running_loop().time()
        meanwhile = self._early.hint if self._early.pays(batch) else None
        results = await self._record.submit_many(batch, meanwhile=meanwhile)
        self._early.committed(batch, results, began)
        return results

    def _after(self, items: Sequence[Submission], results: Sequence[Submitted | Exception]) -> None:
        done = [result.hinted for result in results if isinstance(result, Submitted) and result.hinted is not None]
        if len(done) == 1 and self._early.said(done[0].evaluation_id):
            self._tell(done)
        else:
            self._hint(done)

    def hint_to_look(self) -> None:
        """Tell the scheduler that the record holds something new for it."""
        self._send(EvaluationHint(), ids.new_evaluation_id())

    def hint_to_collect(self) -> None:
        """Tell the scheduler that what may go is to go now."""
        self._send(EvaluationHint(collect=True), ids.new_evaluation_id())

    def _hint(self, evaluations: Sequence[HintedEvaluation], *, ended: bool = False, read: bool = False) -> None:
        """Tell the scheduler to look now; nobody waits for it, and its own sweep covers the loss of a hint.

        `ended`: these jobs have ended by it, so that whoever listens waits for no more. `read`: the record says more of
        them than a hint does, and is to be read.
        """
        if not evaluations:
            return
        size = sum(len(evaluation.spec_json) + 512 for evaluation in evaluations)
        hint = EvaluationHint(evaluations=tuple(evaluations) if size <= self._hint_bytes and not read else ())
        self._send(hint, evaluations[0].evaluation_id)
        self._tell(evaluations, ended=ended)

    def _tell(self, evaluations: Sequence[HintedEvaluation], *, ended: bool = False) -> None:
        told = [Change(each.namespace, JOB, each.job_id, each.history_seq) for each in evaluations]
        self._feed.add(told, at_once=ended)

    def _send_early(self, evaluation: HintedEvaluation) -> bool:
        hint = EvaluationHint(evaluations=(evaluation,))
        payload = wrap(hint, type_=hint.type, source=SOURCE, id_=evaluation.evaluation_id)
        return len(payload) <= self._hint_bytes and self._bus.publish_now((subjects.HINT_EVALUATION, payload))

    def _send(self, hint: EvaluationHint, id_: str) -> None:
        payload = wrap(hint, type_=hint.type, source=SOURCE, id_=id_)
        if self._bus.publish_now((subjects.HINT_EVALUATION, payload)):
            return
        task = asyncio.create_task(offer(self._bus, subjects.HINT_EVALUATION, payload))
        self._hints.add(task)  # a task that nobody holds may be collected before it has run
        task.add_done_callback(self._hints.discard)
