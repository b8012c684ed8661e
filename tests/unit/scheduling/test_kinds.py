"""What ops, daemon and service jobs come to: on which nodes they run, what restarts, and how they end."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from skrei_domain.lifecycle import Connection, ExecutionState, Intake, JobState
from skrei_domain.messages import ExecutionObserved, Step
from skrei_domain.restarts import restart_seconds
from skrei_scheduling import draining, texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, Locked
from skrei_scheduling.membership import lose, revive, silence
from skrei_scheduling.rows import Evaluation, JobRow, NodeRow, Offline
from skrei_scheduling.schedule import schedule
from skrei_scheduling.settle import jobs_of, settle
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_fact, a_job, a_node, a_requirement, counting_ids
from tests.support.ledger import Ledger


class Cluster:
    """A leader over a checked record, moved by hand."""

    def __init__(self, *nodes: NodeRow) -> None:
        self.ledger, self.ids = Ledger(), counting_ids()
        self.ledger.nodes = {node.id: node for node in nodes}
        self.view: ClusterView = self.ledger.view()

    def submit(self, job: JobRow) -> Changes:
        self.ledger.submit(job, self.ids("v"))
        return self.plan()

    def plan(self, *wake: str) -> Changes:
        wakes = [Evaluation("", job_id, "room") for job_id in wake]
        plan = schedule(self.view, [*self.ledger.due(), *wakes], self.ledger.now, 0, self.ids)
        return self.apply(self.ledger.commit(plan.jobs, plan.evaluations, plan.decide))

    def apply(self, changes: Changes) -> Changes:
        self.woken = self.view.apply(changes)
        return changes

    def says(self, fact: ExecutionObserved) -> Changes:
        row = self.ledger.executions[fact.execution_id]
        jobs = jobs_of(self.view, [row.id], {row.id: row})
        return self.apply(
            self.ledger.commit(
                jobs,
                (),
                lambda locked: settle(self.view, [(row.node_id, fact)], locked, self.ids, late={row.id: row}),
            )
        )

    def runs(self, node_id: str, *, ready: bool | None = None) -> Changes:
        """What runs on a node says so, and what its check finds."""
        fact = a_fact(self.id_on(node_id), ExecutionState.RUNNING).model_copy(update={"ready": ready})
        return self.says(fact)

    def silent(self, node_id: str) -> None:
        jobs = jobs_of(self.view, [row.id for row in self.view.of_node(node_id)])
        self.apply(self.ledger.commit(jobs, (), lambda locked: silence(self.view, [node_id], locked, self.ids)))

    def comes_back(self, node_id: str, *, forgot: bool = False) -> None:
        """A silent node says hello, and lists what it has: nothing where its journal is another one."""
        node = replace(self.view.nodes[node_id], connection=Connection.CONNECTED, disconnected_since=None)
        rows = list(self.view.of_node(node_id))
        jobs = sorted({row.job_id for row in rows})
        listed = {row.id: (row.observed, row.seen_revision) for row in rows}
        if forgot:
            gone, listed = list(listed), {}
            node = replace(node, incarnation=node.incarnation + 1)
            self.apply(self.ledger.commit(jobs, (), lambda locked: lose(self.view, gone, "gone", locked, self.ids)))
        self.apply(self.ledger.commit(jobs, (), lambda locked: revive(self.view, node, listed, locked, self.ids)))

    def joins(self, node: NodeRow) -> None:
        self.apply(self.ledger.commit((), (), lambda _: Changes(nodes=(node,))))

    def intake(self, node_id: str, intake: Intake, *, until: datetime | None = None) -> None:
        """What its operator lets onto a node."""
        self.joins(replace(self.view.nodes[node_id], intake=intake, drain_until=until))

    def drains(self, node_id: str, seconds: float | None = None) -> None:
        """A node is to be empty, within so many seconds if at all."""
        until = None if seconds is None else self.ledger.now + timedelta(seconds=seconds)
        self.intake(node_id, Intake.DRAINING, until=until)

    def ends_what_is_due(self) -> None:
        """What the leader does about draining nodes once a second."""
        rows = draining.due(self.view, self.ledger.now)

        def decide(locked: Locked) -> Changes:
            builder = ChangesBuilder(self.view, locked, self.ids)
            draining.end_into(builder, rows)
            return builder.build()

        self.apply(self.ledger.commit(jobs_of(self.view, rows), (), decide))

    def passes(self, seconds: float) -> None:
        self.ledger.at += timedelta(seconds=seconds)

    def where(self, job_id: str = "j-1") -> list[str]:
        """The nodes on which the job is wanted to run."""
        return sorted(r.node_id for r in self.view.of_job(job_id) if r.live and not r.revoked)

    def id_on(self, node_id: str, job_id: str = "j-1") -> str:
        return next(
            r.id for r in self.ledger.executions.values() if (r.job_id, r.node_id, r.live) == (job_id, node_id, True)
        )

    @property
    def job(self) -> JobRow:
        return self.ledger.jobs["j-1"]


EU = {"region": "eu"}


def everywhere(kind: str, **more: object) -> JobRow:
    requirement = a_requirement(cpu="1", constraints="region=eu")
    return a_job(type=kind, count=0, requirement=requirement, **more)  # type: ignore[arg-type]


def three() -> Cluster:
    return Cluster(a_node("n-1", labels=EU), a_node("n-2", labels=EU), a_node("n-3", labels={"region": "us"}))


# ---------------------------------------------------------------- ops


@pytest.mark.row("2.8/ops-nodes", "3.1/completed", "4.3/nodes")
def test_ops_run_once_on_every_node_that_matched_when_it_was_planned() -> None:
    cluster = three()
    cluster.submit(everywhere("ops"))
    assert cluster.where() == ["n-1", "n-2"]
    assert cluster.job.targets == {"n-1": 0, "n-2": 1}

    cluster.joins(a_node("n-4", labels=EU))
    cluster.plan("j-1")
    assert cluster.where() == ["n-1", "n-2"], "none is added later"

    cluster.says(a_fact(cluster.id_on("n-1")))
    assert cluster.job.state is JobState.RUNNING
    cluster.says(a_fact(cluster.id_on("n-2")))
    assert cluster.job.state is JobState.COMPLETED


@pytest.mark.row("2.8/ops-end", "3.5/job-failed")
def test_a_node_that_fails_an_ops_job_lets_the_others_finish() -> None:
    cluster = three()
    cluster.submit(everywhere("ops"))
    cluster.says(a_fact(cluster.id_on("n-1"), ExecutionState.FAILED, problem="trap"))
    assert cluster.job.state is JobState.RUNNING
    cluster.says(a_fact(cluster.id_on("n-2")))
    assert cluster.job.state is JobState.FAILED
    assert cluster.ledger.messages["j-1"] == "1 of 2 nodes failed; on n-1: it was trap"
    assert texts.EXECUTIONS_FAILED in [each.message for each in cluster.ledger.history]
    assert cluster.ledger.won["j-1"] == {("main", 1)}, "what the other node did counts"


@pytest.mark.row("2.8/ops-queueing")
def test_a_busy_target_of_an_ops_job_is_waited_for() -> None:
    cluster = Cluster(a_node("n-1", labels=EU, cpu="1"), a_node("n-2", labels=EU, cpu="1"))
    cluster.submit(a_job("j-0", requirement=a_requirement(cpu="1", constraints="region=eu")))
    (busy,) = cluster.where("j-0")
    cluster.submit(everywhere("ops"))
    assert cluster.where() == [node for node in ("n-1", "n-2") if node != busy]
    assert len(cluster.job.targets) == 2

    cluster.says(a_fact(cluster.id_on(busy, "j-0")))
    assert cluster.woken == ["j-1"]
    cluster.plan("j-1")
    assert cluster.where() == ["n-1", "n-2"]


@pytest.mark.row("2.8/ops-retries")
def test_what_refuses_an_ops_job_for_now_is_asked_again_on_the_same_node() -> None:
    cluster = three()
    cluster.submit(everywhere("ops"))
    cluster.says(a_fact(cluster.id_on("n-1"), ExecutionState.REFUSED, problem="refused"))
    assert cluster.where() == ["n-2"]
    cluster.passes(2)
    cluster.plan()
    assert cluster.where() == ["n-1", "n-2"]


@pytest.mark.parametrize("code", ["interrupted", "trap", "image-unavailable"])
@pytest.mark.row("2.8/ops-retries")
def test_what_ran_on_a_node_is_not_run_there_twice_by_an_ops_job(code: str) -> None:
    cluster = three()
    cluster.submit(everywhere("ops"))
    cluster.says(a_fact(cluster.id_on("n-1"), ExecutionState.FAILED, problem=code))
    cluster.passes(100)
    cluster.plan("j-1")
    assert cluster.where() == ["n-2"]
    assert set(cluster.job.failed) == {("main", 0)}


@pytest.mark.row("4.3/away")
def test_a_target_that_stays_away_is_lost_after_its_wait_and_not_before() -> None:
    cluster = three()
    cluster.submit(everywhere("ops", offline=Offline(wait=timedelta(seconds=30))))
    lost = cluster.id_on("n-1")
    cluster.says(a_fact(cluster.id_on("n-2")))
    cluster.silent("n-1")
    cluster.passes(29)
    cluster.plan("j-1")
    assert cluster.job.state is JobState.RUNNING
    cluster.passes(1)
    changes = cluster.plan()
    assert cluster.job.state is JobState.FAILED
    (told,) = [each for each in changes.executions if each.row.id == lost]
    assert told.row.state is ExecutionState.LOST
    assert told.observed is not None
    assert told.observed.problem is not None
    assert told.observed.problem.code == "node-lost"
    late = cluster.says(a_fact(lost))
    assert not any(result.committed for result in late.results), "what comes late never counts"
    assert cluster.job.state is JobState.FAILED


def test_a_busy_target_that_goes_away_is_lost_like_one_that_ran() -> None:
    cluster = Cluster(a_node("n-1", labels=EU, cpu="1"))
    cluster.submit(a_job("j-0", requirement=a_requirement(cpu="1")))
    cluster.submit(everywhere("ops", offline=Offline(wait=timedelta(seconds=30))))
    assert cluster.job.state is JobState.QUEUED
    cluster.silent("n-1")
    cluster.passes(30)
    assert cluster.view.per_node() == ["j-1"], "the sweep looks at it"
    cluster.plan("j-1")
    assert cluster.job.state is JobState.FAILED


@pytest.mark.row("4.3/away")
def test_ops_wait_for_a_silent_node_as_long_as_they_are_told_to() -> None:
    cluster = three()
    cluster.submit(everywhere("ops", offline=Offline(wait=timedelta(), replace=False)))
    cluster.silent("n-1")
    cluster.passes(100_000)
    cluster.plan("j-1")
    assert cluster.job.state is JobState.RUNNING


def test_a_target_that_cannot_run_it_any_more_is_given_up() -> None:
    cluster = Cluster(a_node("n-1", labels=EU, cpu="1"))
    cluster.submit(a_job("j-0", requirement=a_requirement(cpu="1")))
    cluster.submit(everywhere("ops"))
    cluster.joins(a_node("n-1", labels={"region": "us"}, cpu="1"))
    cluster.plan("j-1")
    assert cluster.job.state is JobState.FAILED
    assert "its node cannot run it any more" in cluster.ledger.messages["j-1"]


@pytest.mark.row("4.3/no-nodes")
def test_ops_without_a_node_that_matches_fail_at_once() -> None:
    cluster = Cluster(a_node("n-3", labels={"region": "us"}))
    changes = cluster.submit(everywhere("ops"))
    assert cluster.job.state is JobState.FAILED
    text = "not matching nodes to run job out of 1 available nodes.\n• Node n-3: "
    assert cluster.ledger.messages["j-1"].startswith(text)
    assert not changes.executions_new


@pytest.mark.row("2.8/ops-queueing", "4.3/no-nodes")
def test_ops_wait_for_nodes_as_long_as_their_queue_timeout_says() -> None:
    cluster = Cluster(a_node("n-3", labels={"region": "us"}))
    cluster.submit(everywhere("ops", queue_timeout=timedelta(seconds=60)))
    assert cluster.job.state is JobState.QUEUED
    cluster.joins(a_node("n-1", labels=EU))
    cluster.plan(*cluster.woken)
    assert cluster.where() == ["n-1"]

    other = Cluster()
    other.submit(everywhere("ops", queue_timeout=timedelta(seconds=60)))
    other.passes(61)
    other.plan()
    assert other.job.state is JobState.FAILED


# ---------------------------------------------------------------- daemon


@pytest.mark.row("2.8/daemon-nodes", "4.4/join")
def test_a_daemon_runs_on_nodes_that_join_later_and_keeps_each_ones_number() -> None:
    cluster = three()
    cluster.submit(everywhere("daemon"))
    assert cluster.where() == ["n-1", "n-2"]
    cluster.joins(a_node("n-0", labels=EU))
    assert cluster.woken == ["j-1"]
    cluster.plan(*cluster.woken)
    assert cluster.where() == ["n-0", "n-1", "n-2"]
    assert cluster.job.targets == {"n-1": 0, "n-2": 1, "n-0": 2}


@pytest.mark.row("4.4/away")
def test_a_daemon_is_never_made_up_for_elsewhere() -> None:
    cluster = three()
    cluster.submit(everywhere("daemon", offline=Offline(wait=timedelta(seconds=1))))
    cluster.silent("n-1")
    cluster.passes(1_000)
    cluster.plan("j-1")
    assert cluster.where() == ["n-1", "n-2"]
    assert len(cluster.ledger.executions) == 2


@pytest.mark.row("2.8/daemon-nodes", "4.4/leave")
def test_a_daemon_stops_where_its_node_does_not_match_any_more_and_comes_back() -> None:
    cluster = three()
    cluster.submit(everywhere("daemon"))
    there = cluster.id_on("n-1")
    cluster.joins(a_node("n-1", labels={"region": "us"}))
    changes = cluster.plan(*cluster.woken)
    assert cluster.where() == ["n-2"]
    assert texts.STOP_NO_MATCH in [each.message for each in changes.history]
    cluster.says(a_fact(there, ExecutionState.STOPPED))
    cluster.joins(a_node("n-1", labels=EU))
    cluster.plan(*cluster.woken)
    assert cluster.where() == ["n-1", "n-2"]
    assert cluster.job.targets == {"n-1": 0, "n-2": 1}


@pytest.mark.row("4.4/leave")
def test_a_daemon_goes_on_where_only_its_engine_is_not_seen() -> None:
    cluster = three()
    cluster.submit(everywhere("daemon"))
    cluster.joins(a_node("n-1", labels=EU, engines=()))
    cluster.plan(*cluster.woken)
    assert cluster.where() == ["n-1", "n-2"]


@pytest.mark.row("2.8/daemon-no-node", "4.4/state")
def test_a_daemon_without_a_node_waits_for_one() -> None:
    cluster = Cluster()
    cluster.submit(everywhere("daemon"))
    assert cluster.job.state is JobState.QUEUED
    cluster.passes(100_000)
    cluster.plan("j-1")
    assert cluster.job.state is JobState.QUEUED
    cluster.joins(a_node("n-1", labels=EU))
    cluster.plan(*cluster.woken)
    assert cluster.job.state is JobState.RUNNING


@pytest.mark.row("2.8/daemon-again")
def test_a_node_with_an_empty_journal_gets_its_daemon_again() -> None:
    cluster = three()
    cluster.submit(everywhere("daemon"))
    gone = [cluster.id_on("n-1")]
    cluster.apply(
        cluster.ledger.commit(["j-1"], (), lambda locked: lose(cluster.view, gone, "gone", locked, cluster.ids))
    )
    cluster.passes(2)
    cluster.plan()
    assert cluster.where() == ["n-1", "n-2"]


# ---------------------------------------------------------------- what never ends


@pytest.mark.parametrize("kind", ["service", "daemon"])
@pytest.mark.row("2.8/endless-retries", "2.8/daemon-again")
def test_what_ends_by_itself_has_failed_and_is_started_again_after_a_growing_pause(kind: str) -> None:
    cluster = Cluster(a_node("n-1", labels=EU))
    cluster.submit(replace(everywhere(kind), tasks=(replace(everywhere(kind).tasks[0], count=int(kind == "service")),)))
    waited = []
    for _ in range(9):
        changes = cluster.says(a_fact(cluster.id_on("n-1"), exit_code=0))
        ended = changes.executions[-1].row
        assert (ended.state, ended.message) == (ExecutionState.FAILED, "execution completed unexpectedly")
        (again,) = changes.evaluations_new
        waited.append(again.delay_seconds)
        cluster.passes(again.delay_seconds)
        cluster.plan()
        assert cluster.where() == ["n-1"]
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert cluster.job.state is JobState.RUNNING
    assert not cluster.ledger.won["j-1"]


@pytest.mark.row("2.8/endless-retries")
def test_pauses_begin_anew_after_a_program_ran_well() -> None:
    cluster = Cluster(a_node("n-1", labels=EU))
    cluster.submit(everywhere("daemon"))
    for _ in range(3):
        delay = cluster.says(a_fact(cluster.id_on("n-1"))).evaluations_new[0].delay_seconds
        cluster.passes(delay)
        cluster.plan()
    steps = (
        Step(state=ExecutionState.RUNNING, at=NOW, start=1),
        Step(state=ExecutionState.FAILED, at=NOW + timedelta(minutes=1), start=1),
    )
    fact = a_fact(cluster.id_on("n-1"), ExecutionState.FAILED, problem="trap").model_copy(update={"steps": steps})
    assert cluster.says(fact).evaluations_new[0].delay_seconds == 1


def test_the_pause_before_a_restart_is_bounded_whatever_the_streak() -> None:
    assert [restart_seconds(streak) for streak in (1, 2, 7, 10**9)] == [1, 2, 60, 60]


@pytest.mark.row("2.8/endless-retries")
def test_a_service_is_replaced_where_there_is_room_even_where_it_failed_before() -> None:
    cluster = Cluster(a_node("n-1", labels=EU, cpu="1"), a_node("n-2", labels=EU, cpu="1"))
    cluster.submit(a_job("j-0", requirement=a_requirement(cpu="1")))
    (busy,) = cluster.where("j-0")
    cluster.submit(replace(everywhere("service"), tasks=(replace(everywhere("service").tasks[0], count=1),)))
    (node,) = cluster.where()
    cluster.says(a_fact(cluster.id_on(node), ExecutionState.FAILED, problem="trap"))
    cluster.passes(1)
    cluster.plan()
    assert cluster.where() == [node], f"{busy} is better, and has no room"


def test_a_service_is_replaced_after_the_silence_that_its_job_allows() -> None:
    cluster = Cluster(a_node("n-1"), a_node("n-2"))
    cluster.submit(a_job(type="service", count=1, offline=Offline(wait=timedelta(seconds=10))))
    (first,) = cluster.where()
    cluster.silent(first)
    cluster.passes(10)
    cluster.plan()
    assert cluster.where() == ["n-1", "n-2"], "the silent one may come back"


@pytest.mark.row("2.8/service-nodes-gone")
def test_a_service_that_ran_waits_for_nodes_and_never_fails_for_them() -> None:
    cluster = Cluster(a_node("n-1", labels=EU))
    cluster.submit(replace(everywhere("service"), tasks=(replace(everywhere("service").tasks[0], count=1),)))
    cluster.says(a_fact(cluster.id_on("n-1"), ExecutionState.FAILED, problem="trap"))
    cluster.joins(a_node("n-1", labels={"region": "us"}))
    cluster.passes(100_000)
    cluster.plan()
    assert cluster.job.state is JobState.QUEUED
    assert cluster.view.nodes["n-1"].connection is Connection.CONNECTED


@pytest.mark.row("2.8/service")
def test_a_service_scaled_to_nothing_runs_nowhere_and_stays() -> None:
    cluster = Cluster(a_node("n-1"))
    cluster.submit(a_job(type="service", count=0))
    assert (cluster.job.state, cluster.where()) == (JobState.RUNNING, [])


@pytest.mark.parametrize("kind", ["service", "daemon", "ops"])
@pytest.mark.row("2.8/service")
def test_a_stop_ends_every_kind(kind: str) -> None:
    cluster = three()
    cluster.submit(a_job(type=kind, count=2 if kind == "service" else 0))
    assert cluster.where()
    cluster.ledger.stop("j-1", cluster.ids("v"))
    cluster.plan()
    assert cluster.where() == []
    for row in list(cluster.view.of_job("j-1")):
        cluster.says(a_fact(row.id, ExecutionState.STOPPED, revision=row.revision))
    assert cluster.job.state is JobState.STOPPED
    assert not cluster.view.per_node()
