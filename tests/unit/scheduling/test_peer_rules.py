"""What jobs of each kind come to, asked as users of the original would: sections 2.5, 2.8, 3.5 and 4.2 to 4.5.

The rows of docs/COMPATIBILITY.md say where Skrei does it another way, and why.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from skrei_domain.constraints import Constraint
from skrei_domain.job import parse_job
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import Connection, ExecutionState, JobState, Membership
from skrei_domain.node import Absent
from skrei_domain.spec import encode
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import TokenSigner
from skrei_scheduler.specs import SpecCache, order
from skrei_scheduling import texts
from skrei_scheduling.compile import compile_job
from skrei_scheduling.reconcile import UNITS_A_LOOK
from skrei_scheduling.rows import Evaluation, JobRow, NodeRow, Offline
from skrei_scheduling.schedule import schedule
from skrei_scheduling.view import ClusterView
from tests.support.builders import (
    NOW,
    a_fact,
    a_job,
    a_node,
    a_requirement,
    a_task_plan,
    an_evaluation,
    an_execution,
    counting_ids,
    locked,
)
from tests.unit.scheduling.test_kinds import EU, Cluster, everywhere, three

EIGHT = [a_node(f"n-{number}", cpu="8") for number in range(8)]


def one(kind: str, **more: Any) -> JobRow:
    """A job of one partition, or of the nodes that there are."""
    return a_job(type=kind, count=0 if Kind(kind).per_node else 1, **more)


def compiled(**spec: Any) -> JobRow:
    """The planner's row of a job as it is sent."""
    read, _ = parse_job(spec)
    return compile_job(
        read, id="j-1", namespace="default", name="x", generation=1, version=1, state=JobState.PENDING, created_at=NOW
    )


def waits(requirement: Any, *nodes: NodeRow) -> str:
    """Why a job of that class waits or fails on these nodes."""
    job = a_job(requirement=requirement)
    view = ClusterView.load(nodes, [], [])
    plan = schedule(view, [an_evaluation(job)], NOW, 0, counting_ids())
    return plan.decide(locked(job, evaluations=plan.evaluations)).jobs[0].message or ""


# ---------------------------------------------------------------- 2.5 and 2.8: kinds


@pytest.mark.row("2.5/endless", "4.3/timeouts", "4.4/no-end")
@pytest.mark.parametrize(("kind", "timed"), [("batch", True), ("ops", True), ("service", False), ("daemon", False)])
def test_timeouts_end_what_has_an_end_and_nothing_else(kind: str, timed: bool) -> None:
    timeouts = {"ExecutionTimeout": 5, "TotalTimeout": 60}
    task = {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "a"}}, "Timeouts": timeouts}
    spec, _ = parse_job({"Type": kind, "Tasks": [task]})
    job = compiled(Type=kind, Tasks=[task])
    cache = SpecCache()
    private, _ = new_key()
    told = order(
        an_execution(job=job), job, cache.put("j-1", 1, encode(spec)), signer=TokenSigner(private), now=NOW,
        token=timedelta(hours=1),
    )  # fmt: skip
    assert (told.execution_timeout_seconds, told.total_timeout_seconds) == ((5.0, 60.0) if timed else (None, None))


@pytest.mark.row("2.7/partition-count")
@pytest.mark.parametrize(("kind", "count"), [("batch", 3), ("service", 3), ("ops", 0), ("daemon", 0)])
def test_a_program_is_told_the_count_of_its_job_and_0_where_nodes_say_it(kind: str, count: int) -> None:
    spec, _ = parse_job(
        {"Type": kind, "Count": count, "Tasks": [{"Name": "main", "Engine": {"Type": "wasm",
         "Params": {"EntryModule": "m"}}}]}
    )  # fmt: skip
    job = a_job(type=kind, tasks=(a_task_plan("main", count=spec.count),))
    private, _ = new_key()
    text = SpecCache().put("j-1", 1, encode(spec))
    told = order(an_execution(job=job), job, text, signer=TokenSigner(private), now=NOW, token=timedelta(hours=1))
    assert (told.partition_count, told.job_type) == (count, kind)


@pytest.mark.row("6.1/s3-count")
@pytest.mark.parametrize(
    ("kind", "shares"), [("batch", None), ("service", None), ("ops", 2), ("daemon", None)]
)  # None: as the count of partitions says, which is 0 for a daemon: everything for each
def test_inputs_of_ops_are_dealt_out_among_the_nodes_that_are_its_targets(kind: str, shares: int | None) -> None:
    task = {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "a"}}}
    spec, _ = parse_job({"Type": kind, "Tasks": [task]})
    targets = {"n-7": 0, "n-3": 1} if kind in ("ops", "daemon") else None
    job = a_job(type=kind, tasks=(a_task_plan("main", count=spec.count),), targets=targets)
    private, _ = new_key()
    text = SpecCache().put("j-1", 1, encode(spec))
    told = order(an_execution(job=job), job, text, signer=TokenSigner(private), now=NOW, token=timedelta(hours=1))
    assert told.shares == shares


@pytest.mark.row("2.8/batch-end", "3.1/completed", "3.5/state-update")
def test_a_batch_completes_once_each_of_its_partitions_has_and_not_before() -> None:
    cluster = Cluster(a_node("n-1"), a_node("n-2"))
    cluster.submit(a_job(count=2))
    first, second = (row.id for row in list(cluster.view.of_job("j-1")))
    cluster.says(a_fact(first, exit_code=3))
    assert cluster.job.state is JobState.RUNNING
    changes = cluster.says(a_fact(second))
    assert cluster.job.state is JobState.COMPLETED
    assert (changes.history[-1].topic, changes.history[-1].message) == ("State Update", "Completed")
    assert changes.history[-1].details == {"NewState": "Completed"}


@pytest.mark.row("2.8/batch-nodes")
def test_partitions_share_a_node_where_there_are_fewer_nodes() -> None:
    cluster = Cluster(a_node("n-1"))
    cluster.submit(a_job(count=3))
    assert [row.node_id for row in cluster.view.of_job("j-1")] == ["n-1"] * 3
    assert cluster.job.state is JobState.RUNNING


@pytest.mark.row("2.8/batch-retries", "4.2/retries")
def test_what_its_node_lost_is_tried_again_on_one_node_and_what_failed_by_itself_is_not() -> None:
    cluster = Cluster(a_node("n-1"))
    cluster.submit(a_job())
    for attempt in range(1, 4):
        cluster.says(a_fact(cluster.id_on("n-1"), ExecutionState.FAILED, problem="interrupted"))
        cluster.passes(60)
        cluster.plan()
        assert cluster.view.executions[cluster.id_on("n-1")].attempt == attempt + 1, "more than two on one node"
    cluster.says(a_fact(cluster.id_on("n-1"), ExecutionState.FAILED, problem="trap"))
    cluster.plan()
    assert (cluster.job.state, cluster.where()) == (JobState.FAILED, [])


@pytest.mark.row("2.8/endless-run", "3.2/completed-unexpectedly")
@pytest.mark.parametrize("kind", ["service", "daemon"])
def test_a_program_that_may_not_end_has_failed_whatever_its_exit_code(kind: str) -> None:
    for code, told in ((0, "execution completed unexpectedly"), (7, "execution completed unexpectedly (exit code 7)")):
        cluster = Cluster(a_node("n-1"))
        cluster.submit(one(kind))
        changes = cluster.says(a_fact(cluster.id_on("n-1"), exit_code=code))
        assert changes.executions[-1].row.message == told
        assert cluster.job.state is JobState.RUNNING, "and the job goes on"


@pytest.mark.row("2.8/ops-end", "4.3/end")
def test_an_ops_job_fails_for_what_failed_and_not_for_what_was_refused_first() -> None:
    cluster = three()
    cluster.submit(everywhere("ops"))
    cluster.says(a_fact(cluster.id_on("n-1"), ExecutionState.REFUSED, problem="refused"))
    cluster.passes(2)
    cluster.plan()
    for node in ("n-1", "n-2"):
        cluster.says(a_fact(cluster.id_on(node)))
    assert cluster.job.state is JobState.COMPLETED


@pytest.mark.row("4.3/rerun", "12/ops-rerun")
def test_a_failed_ops_job_that_is_run_again_is_judged_by_its_new_version_alone() -> None:
    cluster = three()
    cluster.submit(everywhere("ops"))
    cluster.says(a_fact(cluster.id_on("n-1"), ExecutionState.FAILED, problem="trap"))
    cluster.says(a_fact(cluster.id_on("n-2")))
    assert cluster.job.state is JobState.FAILED
    again = Cluster(*cluster.ledger.nodes.values())
    again.submit(everywhere("ops", version=2, generation=2))
    for node in ("n-1", "n-2"):
        again.says(a_fact(again.id_on(node)))
    assert again.job.state is JobState.COMPLETED


@pytest.mark.row("4.3/direct", "4.4/direct", "3.2/direct")
@pytest.mark.parametrize("kind", ["batch", "service", "ops", "daemon"])
def test_an_execution_is_wanted_to_run_from_its_first_row_on_without_bids(kind: str) -> None:
    cluster = Cluster(a_node("n-1"))
    changes = cluster.submit(one(kind))
    (row,) = changes.executions_new
    assert (row.state, row.want.value, row.revision) == (ExecutionState.OFFERED, "run", 1)
    assert cluster.job.state is JobState.RUNNING


@pytest.mark.row("2.8/daemon-running", "4.4/state", "4.4/no-end")
def test_a_daemon_is_running_with_its_first_execution_and_never_ends() -> None:
    cluster = three()
    cluster.submit(everywhere("daemon"))
    assert cluster.job.state is JobState.RUNNING
    for node in ("n-1", "n-2"):
        cluster.says(a_fact(cluster.id_on(node), ExecutionState.FAILED, problem="trap"))
    cluster.passes(60)
    cluster.plan()
    assert (cluster.job.state, cluster.where()) == (JobState.RUNNING, ["n-1", "n-2"])


# ---------------------------------------------------------------- 4.2: one look


@pytest.mark.row("4.2/a-look")
def test_a_look_makes_so_many_executions_and_asks_for_the_next_at_once() -> None:
    assert UNITS_A_LOOK > 20
    job = a_job(count=UNITS_A_LOOK + 1, requirement=a_requirement(cpu="0", memory="0"))
    view = ClusterView.load([a_node(cpu="64")], [], [])
    plan = schedule(view, [an_evaluation(job)], NOW, 0, counting_ids())
    changes = plan.decide(locked(job, evaluations=plan.evaluations))
    assert [row.partition for row in changes.executions_new] == list(range(UNITS_A_LOOK))
    assert [(each.trigger, each.delay_seconds) for each in changes.evaluations_new] == [("job-continue", 0.0)]


@pytest.mark.row("4.2/more-than-fit", "3.1/queued", "2.8/queueing")
def test_what_fits_runs_and_the_rest_begins_when_there_is_room_not_each_minute() -> None:
    cluster = Cluster(a_node("n-1", cpu="1"))
    cluster.submit(a_job(count=2, requirement=a_requirement(cpu="1")))
    assert (cluster.where(), cluster.job.state) == (["n-1"], JobState.RUNNING)
    cluster.says(a_fact(cluster.id_on("n-1")))
    assert cluster.woken == ["j-1"]
    cluster.plan("j-1")
    assert cluster.where() == ["n-1"]
    cluster.says(a_fact(cluster.id_on("n-1")))
    assert cluster.job.state is JobState.COMPLETED


@pytest.mark.row("4.2/node-gone", "4.10/long-silence")
def test_executions_of_a_node_that_is_away_are_replaced_after_the_wait_and_fail_nothing() -> None:
    cluster = Cluster(a_node("n-1"), a_node("n-2"))
    cluster.submit(a_job(offline=Offline(wait=timedelta(seconds=30))))
    (first,) = cluster.where()
    cluster.silent(first)
    assert cluster.view.executions[cluster.id_on(first)].state is ExecutionState.UNKNOWN
    cluster.passes(30)
    cluster.plan()
    assert (cluster.where(), cluster.job.state) == (["n-1", "n-2"], JobState.RUNNING)


# ---------------------------------------------------------------- 4.5: which node


@pytest.mark.row("4.5/candidates")
@pytest.mark.parametrize(
    "node",
    [
        a_node("n-2", membership=Membership.PENDING),
        a_node("n-2", membership=Membership.REJECTED),
        replace(a_node("n-2"), connection=Connection.DISCONNECTED),
    ],
)
def test_only_nodes_that_are_approved_and_connected_are_given_work(node: NodeRow) -> None:
    cluster = Cluster(node)
    cluster.submit(a_job())
    assert cluster.where() == []
    cluster.joins(a_node("n-1"))
    cluster.plan("j-1")
    assert cluster.where() == ["n-1"]


@pytest.mark.row(
    "4.5/support",
    "6.1/not-here",
    "2.2/unknown-engine",
    "6.1/s3",
)
@pytest.mark.parametrize(
    ("requirement", "told"),
    [
        (a_requirement("docker"), "does not support docker, only noop, wasm"),
        (a_requirement("No-Such-Engine"), "does not support No-Such-Engine, only noop, wasm"),
        (a_requirement(storages=["s3"]), "does not support s3"),
        (a_requirement(storages=["ipfs"]), "does not support ipfs"),
        (a_requirement(publisher="localdirectory"), "does not support localdirectory, only local"),
        (a_requirement(publisher="localdirectory:paths"), "of an earlier version"),
    ],
)
def test_what_no_node_has_is_named_with_what_there_is(requirement: Any, told: str) -> None:
    assert told in waits(requirement, a_node("n-1"))


def test_what_is_installed_and_does_not_work_is_told_with_its_node_s_own_reason() -> None:
    absent = (
        Absent(kind="engine", name="docker", reason="no daemon answers"),
        Absent(kind="storage", name="s3", reason="there are no credentials"),
        Absent(kind="storage", name="ipfs", reason="another matter"),
    )
    node = a_node("n-1")
    node = replace(node, info=node.info.model_copy(update={"absent": absent}))
    assert "does not support Docker, only noop, wasm: no daemon answers" in waits(a_requirement("Docker"), node)
    assert "does not support s3, only inline, local: there are no credentials" in waits(
        a_requirement(storages=["s3"]), node
    )


@pytest.mark.row("6.2/none", "6.2/local", "6.2/s3managed")
@pytest.mark.parametrize("name", ["", "noop", "local", "Local", "s3managed", "S3Managed", "s3", "ipfs", "anything"])
def test_publishers_that_need_nothing_of_a_node_are_taken_by_every_node(name: str) -> None:
    task = {"Name": "main", "Engine": {"Type": "wasm", "Params": {"EntryModule": "m"}}, "Publisher": {"Type": name}}
    cluster = Cluster(a_node("n-1", publishers=()))
    cluster.submit(compiled(Type="batch", Tasks=[task]))
    assert cluster.where() == ["n-1"]


@pytest.mark.row("4.5/any-case")
def test_names_of_engines_match_in_any_case() -> None:
    cluster = Cluster(a_node("n-1"))
    engine = {"Type": "WASM", "Params": {"EntryModule": "m"}}
    (task,) = compiled(Type="batch", Tasks=[{"Name": "main", "Engine": engine}]).tasks
    cluster.submit(a_job(requirement=task.requirement))
    assert cluster.where() == ["n-1"]


@pytest.mark.row("4.5/labels")
def test_labels_that_do_not_match_name_what_was_asked_for() -> None:
    wanted = a_requirement(constraints=[Constraint("region", "=", ("us",))])
    assert "labels do not match region=us" in waits(wanted, a_node("n-1", labels=EU))


@pytest.mark.row("4.5/size")
def test_work_that_is_larger_than_a_node_says_what_of_it_and_how_much() -> None:
    told = waits(a_requirement(cpu="16", memory="1Ti"), a_node("n-1", cpu="2"))
    assert "job requires more CPU (16) than the maximum available (2) and memory (1 TiB) than" in told


@pytest.mark.row("4.5/busy")
def test_a_node_is_never_given_more_than_it_has() -> None:
    cluster = Cluster(a_node("n-1", cpu="2"))
    cluster.submit(a_job("j-0", count=3, requirement=a_requirement(cpu="1")))
    assert len(cluster.where("j-0")) == 2, "the original would give it half as much again"
    assert "node is busy: job requires more CPU (1) than is free (0)" in cluster.ledger.messages["j-0"]


@pytest.mark.row("4.5/room")
def test_the_node_with_more_room_is_taken_and_of_equal_ones_not_always_the_same() -> None:
    full = an_execution(job_id="j-0", node_id="n-1", reserved=a_requirement(cpu="1").resources)
    view = ClusterView.load([a_node("n-1"), a_node("n-2")], [a_job("j-0", state=JobState.RUNNING)], [full])
    equal = ClusterView.load(EIGHT, [], [])
    taken = set()
    for seed in range(32):
        told = [an_evaluation(a_job())]
        assert [row.node_id for row in schedule(view, told, NOW, seed, counting_ids()).placements] == ["n-2"]
        taken |= {row.node_id for row in schedule(equal, told, NOW, seed, counting_ids()).placements}
    assert len(taken) > 4


# ---------------------------------------------------------------- 3.5: the words of history


@pytest.mark.row("3.5/not-enough-nodes")
def test_not_enough_nodes_is_told_with_numbers_and_reasons_line_by_line() -> None:
    assert waits(a_requirement()) == "not enough nodes to run job. requested: 1, available: 0, suitable: 0."
    two = [a_node("n-1a2b3c4d-0000"), a_node("n-2a2b3c4d-0000")]
    head = "not enough nodes to run job. requested: 1, available: {}, suitable: 0."
    reason = "does not support docker, only noop, wasm"
    assert waits(a_requirement("docker"), *two) == f"{head.format(2)}\n• 2 of 2 nodes: {reason}"
    assert waits(a_requirement("docker"), two[0]) == f"{head.format(1)}\n• Node n-1a2b3c4d: {reason}"


@pytest.mark.row("3.5/not-enough-nodes", "4.3/no-nodes", "3.5/details")
def test_ops_without_a_node_are_told_out_of_how_many() -> None:
    cluster = Cluster(a_node("n-1a2b3c4d-0000"))
    changes = cluster.submit(everywhere("ops"))
    assert cluster.job.state is JobState.FAILED
    told = changes.history[-1]
    assert told.message.startswith("not matching nodes to run job out of 1 available nodes.\n• Node n-1a2b3c4d: ")
    assert (told.details["IsError"], told.details["NodesAvailable"]) == ("true", "1")


@pytest.mark.row("3.5/exec-timeout")
@pytest.mark.parametrize("code", ["execution-timeout", "timeout"])
def test_an_execution_that_took_too_long_has_the_topic_and_the_hint_that_clients_know(code: str) -> None:
    cluster = Cluster(a_node("n-1"))
    cluster.submit(a_job())
    fact = a_fact(cluster.id_on("n-1"), ExecutionState.FAILED, problem=code)
    told = cluster.says(fact).history[0]
    assert (told.topic, told.message) == ("Exec Timeout", f"it was {code}")
    assert told.details == {
        "IsError": "true",
        "ErrorCode": code,
        "Hint": "Increase the task timeout or allocate more resources",
    }


@pytest.mark.row("3.5/details", "3.5/state-update", "3.5/requested")
def test_details_of_history_have_the_keys_that_clients_know() -> None:
    cluster = Cluster(a_node("n-1"))
    changes = cluster.submit(a_job())
    assert changes.history[0].details == {"NodeID": "n-1"}
    assert changes.history[-1].details == {"NewState": "Running"}
    failed = cluster.says(a_fact(cluster.id_on("n-1"), ExecutionState.FAILED, problem="trap")).history[0]
    assert failed.details == {"IsError": "true", "ErrorCode": "trap"}


@pytest.mark.row("3.5/stops")
def test_why_an_execution_is_stopped_is_said_in_the_words_that_clients_know() -> None:
    assert texts.STOP_JOB_STOPPED == "Execution stop requested because job has been stopped"
    assert texts.STOP_NODE_REJECTED == "Execution stop requested because node has been rejected"
    assert texts.STOP_NOT_NEEDED == "Execution stop requested because there are more executions than needed"
    assert texts.STOP_JOB_FAILED == "Execution stopped due to job failure"
    assert texts.STOP_JOB_UPDATED == "Execution stopped for job update"
    cluster = Cluster(a_node("n-1"))
    cluster.submit(a_job())
    cluster.ledger.stop("j-1", cluster.ids("v"))
    told = [(each.topic, each.message) for each in cluster.plan().history]
    assert told == [("Scheduling", texts.STOP_JOB_STOPPED)]


@pytest.mark.row("4.1/one-at-a-time")
def test_evaluations_of_one_job_are_answered_together() -> None:
    job = a_job()
    view = ClusterView.load([a_node()], [], [])
    asked = [an_evaluation(job, id="v-1"), Evaluation("v-2", job.id, "job-update"), Evaluation("v-3", job.id, "room")]
    plan = schedule(view, asked, NOW, 0, counting_ids())
    assert (len(plan.decisions), len(plan.placements), plan.evaluations) == (1, 1, ("v-1", "v-2", "v-3"))
