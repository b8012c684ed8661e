"""What commits end becomes spans whose parents are right, and nothing is told of what nobody wants to see."""

from datetime import timedelta

from skrei_domain.evolving import replace
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import Step
from skrei_kit.tracing import Span, job_span
from skrei_scheduler.traces import Traces, run_context
from skrei_scheduling.changes import Changes, ExecutionChange, JobChange, Observed
from skrei_scheduling.rows import ExecutionRow, JobRow
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_job, a_node, an_execution

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def at(seconds: float):  # type: ignore[no-untyped-def]
    return NOW + timedelta(seconds=seconds)


def steps(*told: tuple[ExecutionState, float, int]) -> Observed:
    return Observed(steps=tuple(Step(state=state, at=at(seconds), start=start) for state, seconds, start in told))


def a_traced_job(flags: str = "01") -> JobRow:
    return replace(a_job(state=JobState.RUNNING), traceparent=f"00-{TRACE}-{PARENT}-{flags}")


def life(traces: Traces, view: ClusterView, row: ExecutionRow) -> list[Span]:
    """Place it, let it run, let it end a second start, and its job with it."""
    spans = traces.committed(Changes(executions_new=(row,)), view, at(1))
    view.apply(Changes(executions_new=(row,)))
    running = steps((ExecutionState.STAGING, 2, 1), (ExecutionState.RUNNING, 3, 1))
    moved = row.evolve(state=ExecutionState.RUNNING)
    spans += traces.committed(Changes(executions=(ExecutionChange(moved, running),)), view, at(4))
    view.apply(Changes(executions=(ExecutionChange(moved, running),)))
    told = (*running.steps, *steps((ExecutionState.RUNNING, 5, 2), (ExecutionState.COMPLETED, 9, 2)).steps)
    ended = ExecutionChange(moved.evolve(state=ExecutionState.COMPLETED), Observed(steps=told, exit_code=0))
    last = Changes(executions=(ended,), jobs=(JobChange(row.job_id, 9, JobState.COMPLETED),))
    spans += traces.committed(last, view, at(10))
    view.apply(last)
    assert traces.committed(last, view, at(11)) == [], "said twice, it counts once"
    return spans


def test_a_job_is_one_tree_of_spans_below_its_callers() -> None:
    job = a_traced_job()
    row = an_execution(job=job)
    spans = life(Traces(0.0), ClusterView.load([a_node()], [job], []), row)
    by_name = {span.name: span for span in spans}
    assert [span.name for span in spans] == ["plan", "execution", "offer", "staging", "run", "run", "job"]
    assert {span.context.trace_id for span in spans} == {TRACE}
    assert len({span.context.span_id for span in spans}) == len(spans)
    own = by_name["job"].context.span_id
    assert (by_name["job"].parent_id, own) == (PARENT, job_span(job.id, 1))
    assert by_name["plan"].parent_id == by_name["execution"].parent_id == own
    below = by_name["execution"].context.span_id
    assert {span.parent_id for span in spans if span.name in ("offer", "staging", "run")} == {below}
    assert run_context(job, row, 0.0).header == f"00-{TRACE}-{below}-01", "a program's spans belong to its execution"
    times = [(span.name, (span.began - NOW).seconds, (span.ended - NOW).seconds) for span in spans]
    assert times == [
        ("plan", 0, 1),
        ("execution", 1, 10),
        ("offer", 1, 2),
        ("staging", 2, 3),
        ("run", 3, 5),
        ("run", 5, 9),
        ("job", 0, 10),
    ]
    assert by_name["execution"].attributes["skrei.exit_code"] == 0
    assert dict(by_name["run"].resource)["service.name"] == "skrei-compute-agent"


def test_nothing_is_told_of_what_the_caller_does_not_trace_nor_of_what_is_not_sampled() -> None:
    job = a_traced_job("00")
    assert life(Traces(1.0), ClusterView.load([a_node()], [job], []), an_execution(job=job)) == []
    job = a_job(state=JobState.RUNNING)
    assert life(Traces(0.0), ClusterView.load([a_node()], [job], []), an_execution(job=job)) == []
    assert life(Traces(1.0), ClusterView.load([a_node()], [job], []), an_execution(job=job)) != []


def test_what_another_leader_placed_begins_with_its_first_step_and_what_failed_says_why() -> None:
    job = a_traced_job()
    row = an_execution(job=job, state=ExecutionState.RUNNING)
    view = ClusterView.load([a_node()], [job], [row])
    failed = replace(row.evolve(state=ExecutionState.LOST), message="its node is gone")
    known = steps((ExecutionState.STAGING, 2, 1), (ExecutionState.RUNNING, 3, 1))
    spans = Traces(1.0).committed(Changes(executions=(ExecutionChange(failed, known),)), view, at(8))
    assert [(span.name, span.error) for span in spans] == [
        ("execution", "its node is gone"),
        ("offer", None),
        ("staging", None),
        ("run", None),
    ]
    assert (spans[0].began, spans[0].ended, spans[3].ended) == (at(2), at(8), at(8))


def test_what_was_told_of_an_upload_is_told_when_it_is_final() -> None:
    job = a_traced_job()
    row = an_execution(job=job, state=ExecutionState.RUNNING)
    view, traces = ClusterView.load([a_node()], [job], [row]), Traces(1.0)
    whole = steps((ExecutionState.RUNNING, 3, 1), (ExecutionState.PUBLISHING, 5, 1), (ExecutionState.COMPLETED, 7, 1))
    staged = ExecutionChange(row.evolve(state=ExecutionState.PUBLISHING, staged=True), whole)
    assert traces.committed(Changes(executions=(staged,)), view, at(7)) == []
    final = ExecutionChange(staged.row.evolve(state=ExecutionState.COMPLETED))
    spans = traces.committed(Changes(executions=(final,)), view, at(8))
    assert [span.name for span in spans] == ["execution", "offer", "run", "publish"]
    assert (spans[3].began, spans[3].ended) == (at(5), at(7))
