"""What facts do to the record: wins, losers, late ends, repeats, and the return of silent nodes."""

from dataclasses import replace

import pytest

from skrei_domain.lifecycle import Connection, ExecutionState, JobState, Want
from skrei_domain.messages import ExecutionObserved, ResultRef
from skrei_scheduling import texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, Place
from skrei_scheduling.membership import (
    disconnect_into,
    half_silent,
    live_on,
    lose,
    quiet_into,
    revive,
    silence,
    unanswered,
)
from skrei_scheduling.rows import ExecutionRow, JobRow, Offline, OnReturn
from skrei_scheduling.settle import jobs_of, settle, settle_into
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_fact, a_job, a_node, an_execution, counting_ids, locked

S = ExecutionState


def a_view(job: JobRow, *rows: ExecutionRow) -> ClusterView:
    return ClusterView.load([a_node("n-1"), a_node("n-2")], [job], rows)


def settled(
    view: ClusterView, *facts: ExecutionObserved, job: JobRow | None = None, late: tuple[ExecutionRow, ...] = ()
) -> Changes:
    known = {row.id: row for row in late}
    pairs = [((view.executions.get(f.execution_id) or known[f.execution_id]).node_id, f) for f in facts]
    return settle(view, pairs, locked(job or view.jobs["j-1"]), counting_ids(), late=known)


def running(**more: object) -> JobRow:
    return a_job(state=JobState.RUNNING, **more)  # type: ignore[arg-type]


# ---------------------------------------------------------------- winning


@pytest.mark.row("2.8/batch-end", "4.6/results")
def test_the_last_win_completes_the_job_in_the_same_commit() -> None:
    job = running(count=2)
    view = a_view(job, an_execution("e-0", job=job), an_execution("e-1", job=job, partition=1))
    first = settled(view, a_fact("e-0"))
    assert (first.jobs[0].state, first.jobs[0].won) == (None, (("main", 0),))
    view.apply(first)
    last = settled(view, a_fact("e-1"))
    assert (last.jobs[0].state, last.jobs[0].message) == (JobState.COMPLETED, "")
    assert [entry.message for entry in last.history] == ["Running", "Completed successfully", "Completed"]
    assert [result.committed for result in last.results] == [True]
    view.apply(last)
    assert not view.jobs
    assert not view.executions


def test_a_non_zero_exit_code_fails_the_job_that_says_so_and_is_not_tried_again() -> None:
    job = replace(running(), fails_on_exit=True)
    view = a_view(job, an_execution(job=job))
    changes = settled(view, a_fact(exit_code=3))
    told = changes.executions[0]
    assert (told.row.state, told.observed and told.observed.exit_code) == (S.FAILED, 3)
    assert told.row.message == "the program ended with exit code 3 (FailOn: exit-code)"
    assert [(each.trigger, each.delay_seconds) for each in changes.evaluations_new] == [("exec-failure", 0)]
    assert [result.committed for result in changes.results] == [False]
    view = a_view(job, an_execution(job=job))
    assert settled(view, a_fact(exit_code=0)).executions[0].row.state is S.COMPLETED


def test_a_non_zero_exit_code_completes() -> None:
    job = running()
    changes = settled(a_view(job, an_execution(job=job)), a_fact(exit_code=3))
    assert changes.jobs[0].state is JobState.COMPLETED
    assert changes.executions[0].observed is not None
    assert changes.executions[0].observed.exit_code == 3


@pytest.mark.row("4.2/one-winner")
def test_a_winner_revokes_the_other_executions_of_its_unit() -> None:
    job = running()
    original = an_execution("e-0", job=job, state=S.UNKNOWN, observed=S.RUNNING)
    view = a_view(job, original, an_execution("e-1", job=job, node_id="n-2", attempt=2, state=S.RUNNING))
    changes = settled(view, a_fact("e-1"))
    rows = {change.row.id: change.row for change in changes.executions}
    assert (rows["e-0"].state, rows["e-0"].want, rows["e-0"].revoked) == (S.LOST, Want.STOP, True)
    assert rows["e-0"].holds
    assert changes.jobs[0].state is JobState.COMPLETED


def test_two_wins_of_one_unit_in_one_batch_count_once() -> None:
    job = running(count=2)
    view = a_view(
        job,
        an_execution("e-0", job=job, state=S.UNKNOWN, observed=S.RUNNING),
        an_execution("e-1", job=job, node_id="n-2", state=S.RUNNING),
    )
    changes = settled(view, a_fact("e-0"), a_fact("e-1"))
    assert [(each.execution_id, each.committed) for each in changes.results] == [("e-0", True), ("e-1", False)]
    assert changes.jobs[0].won == (("main", 0),)
    assert {change.row.id: change.row.state for change in changes.executions} == {"e-0": S.COMPLETED, "e-1": S.STOPPED}


@pytest.mark.row("3.2/late", "4.7/late-results")
def test_a_revoked_execution_never_wins_and_its_late_end_is_history() -> None:
    job = running()
    view = a_view(job, an_execution(job=job, state=S.RUNNING, revoked=True, want=Want.STOP, revision=2))
    changes = settled(view, a_fact())
    row = changes.executions[0].row
    assert (row.state, row.observed, row.holds, row.seen_revision) == (S.STOPPED, S.COMPLETED, False, 2)
    assert [result.committed for result in changes.results] == [False]
    assert changes.history[-1].message == "Completed after it was revoked: not counted"
    assert changes.history[-1].details["Late"] == "true"
    assert not changes.jobs[0].won
    (entry,) = changes.audit
    assert (entry.actor, entry.action, entry.object) == ("n-1", "execution.late", "e-1")
    assert (entry.details["job_id"], entry.details["state"]) == ("j-1", "completed")


def test_the_late_end_of_a_lost_execution_is_audited_once_and_a_stop_that_was_asked_for_is_not() -> None:
    job = running(count=2)
    stopping = an_execution("e-0", job=job, state=S.RUNNING, revoked=True, want=Want.STOP, revision=2)
    lost = an_execution("e-1", job=job, partition=1, state=S.LOST, observed=S.RUNNING, revoked=True, want=Want.STOP)
    view = a_view(job, stopping, lost)
    changes = settled(view, a_fact("e-0", state=S.STOPPED), a_fact("e-1"), a_fact("e-1"))
    assert [(entry.object, entry.details["state"]) for entry in changes.audit] == [("e-1", "completed")]


def test_a_result_for_a_job_that_was_stopped_under_the_lock_does_not_count() -> None:
    job = running()
    view = a_view(job, an_execution(job=job, state=S.RUNNING))
    changes = settled(view, a_fact(), job=replace(job, state=JobState.STOPPED, generation=2))
    assert changes.executions[0].row.state is S.COMPLETED
    assert [result.committed for result in changes.results] == [False]
    assert changes.jobs[0].state is None
    assert "not counted" in changes.history[-1].message


def test_an_upload_for_a_job_that_moved_on_under_the_lock_is_kept_and_its_execution_not_completed() -> None:
    job = running()
    fact = a_fact().model_copy(update={"result": ResultRef(digest="sha256:0", size=10**6, receipt="signed")})
    for moved in (replace(job, state=JobState.STOPPED, generation=2), replace(job, version=2, generation=2)):
        view = a_view(job, an_execution(job=job, state=S.RUNNING))
        places = {("n-1", "e-1"): Place("store", "there")}
        changes = settle(view, [("n-1", fact)], locked(moved), counting_ids(), places=places)
        row = changes.executions[0].row
        assert (row.state, row.staged, row.message) == (S.STOPPED, False, texts.NOT_COUNTED)
        assert [(result.committed, result.staged is not None) for result in changes.results] == [(False, True)]
        assert not changes.evaluations_new


def test_a_result_of_an_older_version_does_not_count() -> None:
    job = running()
    view = a_view(job, an_execution(job=job, state=S.RUNNING))
    changes = settled(view, a_fact(), job=replace(job, version=2, generation=2))
    assert [result.committed for result in changes.results] == [False]


# ---------------------------------------------------------------- progress


@pytest.mark.row("3.5/execution", "12/truth")
def test_each_step_is_told_once() -> None:
    job = running()
    view = a_view(job, an_execution(job=job))
    first = settled(view, a_fact(state=S.RUNNING), a_fact(state=S.RUNNING))
    assert [entry.message for entry in first.history] == ["Running"]
    assert first.history[0].node_time == NOW
    view.apply(first)
    assert [entry.message for entry in settled(view, a_fact()).history] == ["Completed successfully", "Completed"]


def test_an_older_fact_changes_nothing_and_a_repeat_writes_nothing() -> None:
    job = running()
    view = a_view(job, an_execution(job=job, state=S.PUBLISHING, seen_revision=1))
    view.apply(settled(view, a_fact(state=S.PUBLISHING)))
    assert settled(view, a_fact(state=S.RUNNING), a_fact(state=S.PUBLISHING)).empty


@pytest.mark.row("12/sequences")
def test_a_fact_moves_the_seen_revision_and_never_back() -> None:
    job = running()
    view = a_view(job, an_execution(job=job, revision=3, seen_revision=2, want=Want.STOP, revoked=True))
    assert settled(view, a_fact(state=S.RUNNING, revision=1)).executions[0].row.seen_revision == 2
    assert settled(view, a_fact(state=S.RUNNING, revision=3)).executions[0].row.seen_revision == 3


@pytest.mark.row("3.5/restart")
def test_a_local_restart_is_told() -> None:
    job = running()
    view = a_view(job, an_execution(job=job, state=S.RUNNING))
    changes = settled(view, a_fact(state=S.RUNNING, starts=2))
    assert [entry.topic for entry in changes.history] == ["Restart"]
    assert changes.executions[0].row.starts == 2


def test_a_fact_about_what_nobody_knows_or_another_nodes_execution_is_counted_and_skipped() -> None:
    job = running()
    view = a_view(job, an_execution(job=job))
    builder = ChangesBuilder(view, locked(job), counting_ids())
    settle_into(builder, [("n-1", a_fact("e-unknown")), ("n-2", a_fact("e-1"))])
    assert builder.skipped == 2
    assert builder.build().empty


# ---------------------------------------------------------------- bad ends


def test_an_interrupted_attempt_is_tried_again_and_a_trap_is_not() -> None:
    job = running()
    for problem, trigger in (("interrupted", "exec-retry"), ("lost", "exec-retry"), ("trap", "exec-failure")):
        changes = settled(a_view(job, an_execution(job=job, attempt=3)), a_fact(state=S.FAILED, problem=problem))
        assert [each.trigger for each in changes.evaluations_new] == [trigger]
        assert changes.evaluations_new[0].delay_seconds == (4.0 if trigger == "exec-retry" else 0.0)
        assert changes.history[-1].details == {"IsError": "true", "ErrorCode": problem}
        assert not changes.executions[0].row.holds


@pytest.mark.row("4.6/results", "3.5/refusals")
def test_a_bad_end_of_an_execution_that_counts_no_more_asks_for_nothing() -> None:
    job = running()
    stopped = replace(job, state=JobState.STOPPED, generation=2)
    view = a_view(job, an_execution(job=job))
    assert not settled(view, a_fact(state=S.FAILED, problem="trap"), job=stopped).evaluations_new


@pytest.mark.row("3.2/late")
def test_leaving_a_terminal_state_is_refused_and_written_as_late() -> None:
    job = running()
    ended = an_execution(job=job, state=S.FAILED, holds=False, seen_revision=1)
    view = a_view(job)
    changes = settled(view, a_fact(), a_fact(), late=(ended,))
    assert [change.row.state for change in changes.executions] == [S.FAILED]
    assert [entry.message for entry in changes.history] == ["Completed after it was already failed: not counted"]
    assert not changes.results
    assert jobs_of(view, ["e-1", "e-2"], {"e-1": ended}) == ("j-1",)


def test_an_end_that_comes_twice_writes_nothing_the_second_time() -> None:
    job = running()
    ended = an_execution(job=job, state=S.COMPLETED, observed=S.COMPLETED, holds=False, seen_revision=1)
    assert settled(a_view(job), a_fact(), late=(ended,)).empty


def test_a_lost_execution_that_turns_up_frees_its_room_and_stays_lost() -> None:
    job = running()
    lost = an_execution(job=job, state=S.LOST, observed=S.RUNNING, revoked=True, want=Want.STOP, revision=2)
    view = a_view(job, lost)
    changes = settled(view, a_fact())
    row = changes.executions[0].row
    assert (row.state, row.holds, row.seen_revision) == (S.LOST, False, 2)
    assert [result.committed for result in changes.results] == [False]
    before = view.matrix.room("n-1").cpu_milli
    view.apply(changes)
    assert view.matrix.room("n-1").cpu_milli > before


# ---------------------------------------------------------------- silence and return


@pytest.mark.row("4.7/rejoin")
def test_an_unknown_execution_returns_to_what_its_facts_tell() -> None:
    job = running()
    view = a_view(job, an_execution(job=job, state=S.UNKNOWN, observed=S.OFFERED))
    assert settled(view, a_fact(state=S.RUNNING)).executions[0].row.state is S.RUNNING


def test_a_returned_original_stays_unknown_while_its_replacement_lives() -> None:
    job = running()
    view = a_view(
        job,
        an_execution("e-0", job=job, state=S.UNKNOWN, observed=S.STAGING),
        an_execution("e-1", job=job, node_id="n-2", state=S.RUNNING),
    )
    row = settled(view, a_fact("e-0", S.RUNNING)).executions[0].row
    assert (row.state, row.observed) == (S.UNKNOWN, S.RUNNING)


def returned(on_return: OnReturn) -> dict[str, ExecutionRow]:
    job = running(offline=Offline(on_return=on_return))
    view = a_view(
        job,
        an_execution("e-0", job=job, state=S.UNKNOWN, observed=S.RUNNING),
        an_execution("e-1", job=job, node_id="n-2", state=S.RUNNING, attempt=2),
    )
    view.nodes["n-1"] = a_node("n-1", connected=False)
    changes = revive(view, a_node("n-1"), {"e-0": (S.RUNNING, 1)}, locked(job), counting_ids())
    view.apply(changes)
    return view.executions


@pytest.mark.row("4.10/long-silence")
def test_keep_first_lets_both_run_until_one_wins() -> None:
    rows = returned(OnReturn.KEEP_FIRST)
    assert not rows["e-0"].revoked
    assert not rows["e-1"].revoked


@pytest.mark.row("4.7/rejoin")
def test_keep_original_revokes_the_replacement_when_the_original_returns() -> None:
    rows = returned(OnReturn.KEEP_ORIGINAL)
    assert (rows["e-1"].revoked, rows["e-1"].want) == (True, Want.STOP)
    assert not rows["e-0"].revoked


def test_a_hello_that_lists_an_ended_execution_no_more_frees_its_room() -> None:
    job = running()
    lost = an_execution(job=job, state=S.LOST, revoked=True, want=Want.STOP, revision=2, seen_revision=2)
    changes = revive(a_view(job, lost), a_node("n-1"), {}, locked(job), counting_ids())
    assert not changes.executions[0].row.holds


def test_room_is_kept_while_the_stop_of_an_unanswered_offer_is_on_its_way() -> None:
    job = running()
    view = a_view(job, an_execution(job=job))
    given_up = unanswered(view, ["e-1"], locked(job), counting_ids())
    row = given_up.executions[0].row
    assert (row.state, row.revoked, row.want, row.revision, row.holds) == (S.LOST, True, Want.STOP, 2, True)
    assert [each.trigger for each in given_up.evaluations_new] == ["exec-retry"]
    view.apply(given_up)
    assert not revive(view, a_node("n-1"), {}, locked(job), counting_ids()).executions
    stopped = settled(view, a_fact(state=S.STOPPED, revision=2))
    assert not stopped.executions[0].row.holds
    assert [entry.message for entry in stopped.history] == ["Stopped"]


def test_what_a_journal_lost_is_tried_again_and_what_was_revoked_ends_stopped() -> None:
    job = running(count=2)
    view = a_view(
        job,
        an_execution("e-0", job=job, state=S.RUNNING),
        an_execution("e-1", job=job, partition=1, state=S.RUNNING, revoked=True, want=Want.STOP, revision=2),
    )
    changes = lose(view, ["e-0", "e-1"], "gone from its node's journal", locked(job), counting_ids())
    assert [(each.row.state, each.row.holds) for each in changes.executions] == [(S.LOST, False), (S.STOPPED, False)]
    assert [(each.trigger, each.unit) for each in changes.evaluations_new] == [("exec-retry", ("main", 0))]
    assert [entry.message for entry in changes.history] == ["Lost: gone from its node's journal", "Stopped"]


def test_silence_leaves_what_has_ended_alone_and_asks_once_for_each_job() -> None:
    job = running(count=2)
    rows = [an_execution(f"e-{n}", job=job, partition=n, state=S.RUNNING) for n in (0, 1)]
    lost = an_execution("e-2", job=job, partition=1, state=S.LOST, revoked=True)
    changes = silence(a_view(job, *rows, lost), ["n-1"], locked(job), counting_ids())
    assert [change.row.id for change in changes.executions] == ["e-0", "e-1"]
    assert len(changes.evaluations_new) == 1
    assert changes.nodes[0].connection is Connection.DISCONNECTED


def test_silence_of_a_full_node_is_told_commit_by_commit_and_its_node_disconnected_by_the_first() -> None:
    job, gone = running(count=5), an_execution("e-u", job_id="j-2", partition=9, state=S.UNKNOWN)
    other = a_job("j-2", state=JobState.RUNNING)
    rows = [an_execution(f"e-{n}", job=job, partition=n, state=S.RUNNING) for n in range(5)]
    view = ClusterView.load([a_node("n-1")], [job, other], [*rows, gone])
    told, asked = [], []
    names = live_on(view, "n-1")
    for some in (names[:3], names[3:5], names[5:]):
        builder = ChangesBuilder(view, locked(job, other), counting_ids())
        disconnect_into(builder, ["n-1"], error="heartbeat timeout")
        quiet_into(builder, some)
        changes = builder.build()
        view.apply(changes)
        told.append([change.row.id for change in changes.executions])
        waits = [each for each in changes.evaluations_new if each.trigger == texts.TRIGGER_NODE_LOST]
        asked.append([each.job_id for each in waits])
        assert view.nodes["n-1"].connection is Connection.DISCONNECTED
        left = [row.id for row in view.of_node("n-1") if row.state is not S.UNKNOWN]
        assert half_silent(view) == ({"n-1": left} if left else {})
    assert told == [["e-0", "e-1", "e-2"], ["e-3", "e-4"], []]
    assert asked == [["j-1"], ["j-1"], ["j-2"]]


def test_an_original_steps_in_only_after_the_commit_in_which_its_rival_stepped_out() -> None:
    job = running()
    view = a_view(
        job,
        an_execution("e-0", job=job, state=S.UNKNOWN, observed=S.STAGING),
        an_execution("e-1", job=job, node_id="n-2", state=S.RUNNING),
    )
    facts = (a_fact("e-1", S.REFUSED, problem="refused"), a_fact("e-0", S.RUNNING))
    changes = settled(view, *facts)
    assert {each.row.id: each.row.state for each in changes.executions} == {"e-1": S.REFUSED, "e-0": S.UNKNOWN}
    view.apply(changes)
    assert settled(view, a_fact("e-0", S.PUBLISHING)).executions[0].row.state is S.PUBLISHING


def test_a_unit_that_is_won_is_not_won_again_even_by_one_that_nobody_revoked() -> None:
    job = running(count=2, won=[("main", 0)])
    changes = settled(a_view(job, an_execution(job=job, state=S.RUNNING)), a_fact())
    assert [result.committed for result in changes.results] == [False]
    assert not any(change.won or change.state for change in changes.jobs)


# ---------------------------------------------------------------- how far a preparation is


def a_note(text: str | None, state: S = S.STAGING) -> ExecutionObserved:
    return ExecutionObserved(execution_id="e-1", revision=1, state=state, note=text)


@pytest.mark.row("3.2/messages", "3.5/stages")
def test_while_it_stages_a_note_is_an_executions_message_and_no_history() -> None:
    job = running()
    view = a_view(job, an_execution(job=job))
    for text in ("pulling: 1 of 2 MB", "pulling: 2 of 2 MB"):
        changes = settled(view, a_note(text))
        assert [(change.row.state, change.row.message) for change in changes.executions] == [(S.STAGING, text)]
        assert changes.history == ()
        view.apply(changes)
    assert settled(view, a_note("pulling: 2 of 2 MB")).executions == (), "a repeat changes nothing"
    assert settled(view, a_note(None)).executions == ()
    view.apply(settled(view, a_note(None, S.RUNNING)))
    assert (view.executions["e-1"].state, view.executions["e-1"].message) == (S.RUNNING, "")
    assert settled(view, a_note("pulling: late")).executions == (), "an older fact takes nothing back"


def test_while_it_runs_a_note_says_why_it_is_not_ready_until_it_is() -> None:
    job = running()
    view = a_view(job, an_execution(job=job, state=S.RUNNING, observed=S.RUNNING))
    view.apply(settled(view, a_note("not ready: nothing listens on port 80", S.RUNNING)))
    assert view.executions["e-1"].message == "not ready: nothing listens on port 80"
    assert settled(view, a_note(None, S.RUNNING)).executions == (), "a fact that says nothing of it changes nothing"
    view.apply(settled(view, a_note("", S.RUNNING)))
    assert view.executions["e-1"].message == ""


def test_a_note_does_not_hide_why_an_execution_is_revoked() -> None:
    job = running()
    row = an_execution(job=job, state=S.STAGING, observed=S.STAGING, revoked=True, want=Want.STOP)
    changes = settled(a_view(job, replace(row, message="stopped")), a_note("pulling"))
    assert [change.row.message for change in changes.executions] == ["stopped"]
