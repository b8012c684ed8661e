"""Nodes that are closed, drained and labelled by their operators: what may come, what goes, in which order."""

from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.lifecycle import ExecutionState, Intake, JobState
from skrei_scheduling import memory, texts
from skrei_scheduling.explain import explain
from skrei_scheduling.node_events import node_events
from skrei_scheduling.rows import ExecutionRow
from tests.support.builders import NOW, a_fact, a_job, a_node, a_requirement
from tests.unit.scheduling.test_kinds import EU, Cluster, everywhere, three
from tests.unit.scheduling.test_rollout import a_service

RUNNING = ExecutionState.RUNNING


def two() -> Cluster:
    return Cluster(a_node("n-1", cpu="4"), a_node("n-2", cpu="4"))


def only(cluster: Cluster, node_id: str) -> ExecutionRow:
    (row,) = (row for row in cluster.view.of_node(node_id) if row.live)
    return row


def test_nothing_new_is_placed_on_a_cordoned_node_and_what_runs_stays() -> None:
    cluster = two()
    cluster.submit(a_job(count=2))
    assert cluster.where() == ["n-1", "n-2"]
    cluster.intake("n-1", Intake.CORDONED)
    cluster.ends_what_is_due()
    assert cluster.where() == ["n-1", "n-2"]
    cluster.submit(a_job("j-2", count=3))
    assert cluster.where("j-2") == ["n-2"] * 3


def test_a_job_waits_for_a_closed_node_with_its_reason_and_runs_when_it_is_opened() -> None:
    cluster = Cluster(a_node("n-1"))
    cluster.intake("n-1", Intake.CORDONED)
    cluster.submit(a_job())
    assert cluster.job.state is JobState.QUEUED
    told = explain(a_requirement(), cluster.view.matrix, cluster.view.nodes, requested=1, now=NOW)
    assert (told.available, told.for_good) == (0, False), "it refuses only for now"
    assert "node is cordoned: nothing new is placed on it until `skrei node uncordon n-1`" in told.text
    cluster.drains("n-1")
    told = explain(a_requirement(), cluster.view.matrix, cluster.view.nodes, requested=1, now=NOW)
    assert "node is draining" in told.text
    cluster.intake("n-1", Intake.OPEN)
    assert cluster.woken == ["j-1"]
    cluster.plan(*cluster.woken)
    assert cluster.where() == ["n-1"]


def test_a_batch_may_run_to_its_end_until_the_deadline_and_then_runs_elsewhere() -> None:
    cluster = Cluster(a_node("n-1"), a_node("n-2"))
    cluster.submit(a_job(count=2))
    cluster.runs("n-1")
    cluster.drains("n-1", 60)
    cluster.passes(59)
    cluster.ends_what_is_due()
    assert cluster.where() == ["n-1", "n-2"]
    cluster.passes(1)
    lost = cluster.id_on("n-1")
    cluster.ends_what_is_due()
    row = cluster.view.executions[lost]
    assert (row.revoked, row.live, row.reason) == (True, True, texts.STOP_DRAINED)
    cluster.plan()
    assert cluster.where() == ["n-2", "n-2"]
    cluster.says(a_fact(lost, ExecutionState.STOPPED, revision=row.revision))
    assert [row.node_id for row in cluster.view.of_job("j-1")] == ["n-2", "n-2"]
    for row in list(cluster.view.of_job("j-1")):
        cluster.says(a_fact(row.id))
    assert cluster.job.state is JobState.COMPLETED


def test_what_is_silent_at_the_deadline_is_lost_and_made_up_for_at_once() -> None:
    cluster = Cluster(a_node("n-1"), a_node("n-2"))
    cluster.submit(a_job())
    (node,) = cluster.where()
    lost = cluster.id_on(node)
    cluster.silent(node)
    cluster.drains(node, 0)
    cluster.ends_what_is_due()
    cluster.plan()
    assert cluster.view.executions[lost].state is ExecutionState.LOST
    assert cluster.where() == ["n-2" if node == "n-1" else "n-1"]


def test_without_a_deadline_a_batch_takes_its_time() -> None:
    cluster = two()
    cluster.submit(a_job())
    (node,) = cluster.where()
    cluster.drains(node)
    cluster.passes(10**6)
    cluster.ends_what_is_due()
    assert cluster.where() == [node]


def test_a_service_moves_first_and_the_old_one_ends_when_the_new_one_is_ready() -> None:
    cluster = two()
    cluster.submit(a_service(1))
    (node,) = cluster.where()
    other = "n-2" if node == "n-1" else "n-1"
    cluster.runs(node)
    cluster.drains(node)
    cluster.plan("j-1")
    assert only(cluster, node).leaving
    cluster.plan()
    assert cluster.where() == ["n-1", "n-2"]
    assert only(cluster, node).is_ready, "it serves"
    cluster.runs(other)
    cluster.plan()
    assert cluster.where() == [other]
    assert only(cluster, node).reason == texts.STOP_MOVED
    assert cluster.job.state is JobState.RUNNING


def test_a_service_that_finds_no_place_serves_until_the_deadline_or_stays_where_the_drain_ends() -> None:
    for ends in (False, True):
        cluster = Cluster(a_node("n-1"))
        cluster.submit(a_service(1))
        cluster.runs("n-1")
        cluster.drains("n-1", 60)
        cluster.plan("j-1")
        cluster.plan()
        assert cluster.where() == ["n-1"]
        assert cluster.job.state is JobState.RUNNING
        assert "j-1" in cluster.view.waiting
        if ends:
            cluster.intake("n-1", Intake.OPEN)
            cluster.plan("j-1")
            cluster.plan()
            assert not only(cluster, "n-1").leaving
            assert "j-1" not in cluster.view.waiting
            assert cluster.where() == ["n-1"]
        else:
            cluster.passes(60)
            cluster.ends_what_is_due()
            cluster.plan()
            assert cluster.where() == []


def test_daemons_go_last_and_come_back_when_the_node_is_opened() -> None:
    cluster = three()
    cluster.submit(everywhere("daemon"))
    batch = a_job("j-2", requirement=a_requirement(constraints="region=eu"))
    cluster.submit(batch)
    (node,) = cluster.where("j-2")
    cluster.drains(node)
    cluster.ends_what_is_due()
    assert cluster.where() == ["n-1", "n-2"], "a batch is still there"
    cluster.says(a_fact(cluster.id_on(node, "j-2")))
    cluster.ends_what_is_due()
    cluster.plan("j-1")
    assert cluster.where() == [each for each in ("n-1", "n-2") if each != node]
    last = cluster.id_on(node)
    cluster.says(a_fact(last, ExecutionState.STOPPED, revision=2))
    cluster.intake(node, Intake.OPEN)
    cluster.plan(*cluster.woken)
    assert cluster.where() == ["n-1", "n-2"]


def test_an_ops_job_waits_for_its_node_that_was_drained_under_it() -> None:
    cluster = three()
    cluster.submit(everywhere("ops"))
    cluster.drains("n-1", 0)
    cluster.ends_what_is_due()
    cluster.plan()
    assert cluster.where() == ["n-2"]
    assert cluster.job.state is JobState.RUNNING
    cluster.intake("n-1", Intake.OPEN)
    cluster.plan(*cluster.woken)
    assert cluster.where() == ["n-1", "n-2"]


def test_labels_of_an_operator_win_over_a_nodes_own_and_outlive_what_it_says() -> None:
    node = a_node("n-1", labels={"region": "us", "disk": "ssd"})
    given = memory.relabelled(node, {"region": "eu"}, NOW)
    assert given.offers.labels == {"region": "eu", "disk": "ssd"}
    again = memory.renewed(given, a_node("n-1", labels={"region": "asia", "disk": "ssd"}).info, NOW)
    assert again.offers.labels["region"] == "eu"
    assert [(each.name, each.value) for each in again.gone] == [("region", "us")], "waited for, as a moved label is"
    cluster = Cluster(a_node("n-1", labels={"region": "us"}))
    cluster.joins(memory.relabelled(cluster.view.nodes["n-1"], EU, NOW))
    cluster.submit(everywhere("batch"))
    assert cluster.job.state is not JobState.FAILED
    taken = memory.relabelled(again, {}, NOW)
    assert taken.offers.labels["region"] == "asia"


def test_a_waiting_job_wakes_by_a_label() -> None:
    cluster = Cluster(a_node("n-1"))
    cluster.submit(a_job(requirement=a_requirement(constraints="rack=b7"), queue_timeout=timedelta(hours=1)))
    assert cluster.job.state is JobState.QUEUED
    cluster.joins(memory.relabelled(cluster.view.nodes["n-1"], {"rack": "b7"}, NOW))
    cluster.plan(*cluster.woken)
    assert cluster.where() == ["n-1"]


@pytest.mark.parametrize(
    ("intake", "until", "told"),
    [
        (Intake.CORDONED, None, "cordoned: nothing new is placed on it, and what runs stays"),
        (Intake.DRAINING, None, "draining: batch jobs may run to their end, services move"),
        (Intake.DRAINING, NOW, "draining: what still runs at 2026-01-02 03:04:05 UTC is stopped"),
    ],
)
def test_what_an_operator_does_is_an_event_of_the_node(intake: Intake, until: object, told: str) -> None:
    node = a_node("n-1")
    closed = replace(node, intake=intake, drain_until=until)  # type: ignore[arg-type]
    assert [(each.topic, each.message) for each in node_events(node, closed)] == [("Intake", told)]
    opened = [each.message for each in node_events(closed, node)]
    assert opened == ["open: work is placed on it again"]
    labelled = replace(node, labels={"rack": "b7"})
    assert [each.message for each in node_events(node, labelled)] == ["labelled by its operator: rack=b7"]
    assert [each.message for each in node_events(labelled, node)] == ["labelled by its operator: rack-"]
