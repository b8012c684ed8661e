"""A capability that went away is waited for, for a while, with a reason that says so."""

from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.lifecycle import JobState
from skrei_domain.node import PATH, Absent
from skrei_domain.paths import LocalPath
from skrei_scheduling.memory import KEPT, renewed
from skrei_scheduling.rows import Evaluation, JobRow, NodeRow
from skrei_scheduling.schedule import schedule
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_job, a_node, a_requirement, counting_ids, locked

BEFORE = a_node("n-1", engines=["docker", "wasm"], storages=["inline", "s3"], labels={"disk": "ssd"}, gpu=2)
LOSSES = {
    "engine": (a_requirement("docker"), a_node("n-1", storages=["inline", "s3"], labels={"disk": "ssd"}, gpu=2)),
    "storage": (a_requirement(storages=["s3"]), a_node("n-1", labels={"disk": "ssd"}, gpu=2)),
    "label": (a_requirement(constraints="disk=ssd"), a_node("n-1", labels={"disk": "hdd"}, gpu=2)),
    "absent label": (a_requirement(constraints="!cpu"), a_node("n-1", labels={"disk": "ssd", "cpu": "arm"}, gpu=2)),
    "path": (
        replace(a_requirement(), local=(LocalPath("/mnt/disk/a"),)),
        replace(
            BEFORE, info=BEFORE.info.model_copy(update={"absent": (Absent(kind=PATH, name="/mnt/disk", reason=""),)})
        ),
    ),
    "device": (a_requirement(gpu=2), a_node("n-1", labels={"disk": "ssd"}, gpu=1)),
}


def decided(node: NodeRow, job: JobRow, minutes: float):  # type: ignore[no-untyped-def]
    view = ClusterView.load([node], [], [])
    evaluation = Evaluation("v-1", job.id, "job-register", job)
    plan = schedule(view, [evaluation], NOW + timedelta(minutes=minutes), 0, counting_ids())
    return plan.decide(locked(job, evaluations=["v-1"])).jobs[0]


@pytest.mark.parametrize(("requirement", "after"), LOSSES.values(), ids=LOSSES)
def test_what_a_node_lost_is_waited_for_and_then_the_job_fails(requirement, after: NodeRow) -> None:  # type: ignore[no-untyped-def]
    node, job = renewed(BEFORE, after.info, NOW), a_job(requirement=requirement)
    waits = decided(node, job, 3)
    assert waits.state is JobState.QUEUED
    assert "(it did 3 min ago, and is waited for until 03:19:05 UTC)" in waits.message
    failed = decided(node, job, 15)
    assert failed.state is JobState.FAILED
    assert "waited for" not in failed.message


def test_what_came_back_is_forgotten() -> None:
    node = renewed(BEFORE, BEFORE.info.model_copy(update={"engines": (), "labels": {"disk": "hdd"}}), NOW)
    assert {each.name for each in node.gone} == {"docker", "wasm", "disk"}
    assert [(each.name, each.value) for each in renewed(node, BEFORE.info, NOW).gone] == [("disk", "hdd")]


def test_what_goes_again_is_waited_for_anew() -> None:
    gone = LOSSES["engine"][1].info
    node = renewed(renewed(renewed(BEFORE, gone, NOW), BEFORE.info, NOW), gone, NOW + KEPT)
    assert decided(node, a_job(requirement=a_requirement("docker")), 29).state is JobState.QUEUED


def test_two_things_that_went_one_after_the_other_are_waited_for_from_the_first() -> None:
    requirement = a_requirement("docker", constraints="disk=ssd")
    first = renewed(BEFORE, LOSSES["engine"][1].info, NOW)
    both = renewed(first, a_node("n-1").info, NOW + timedelta(minutes=10))
    assert decided(both, a_job(requirement=requirement), 14).state is JobState.QUEUED
    assert decided(both, a_job(requirement=requirement), 16).state is JobState.FAILED
    assert decided(both, a_job(requirement=a_requirement(constraints="disk=ssd")), 16).state is JobState.QUEUED


def test_a_job_that_ran_before_fails_by_the_same_rule() -> None:
    node = renewed(BEFORE, LOSSES["engine"][1].info, NOW)
    job = a_job(requirement=a_requirement("docker"), state=JobState.RUNNING, attempts={("main", 0): 1})
    assert decided(node, job, 14).state is not JobState.FAILED
    assert decided(node, job, 15).state is JobState.FAILED


def test_a_queue_timeout_is_how_long_a_job_waits_whatever_was_lost() -> None:
    node = renewed(BEFORE, LOSSES["engine"][1].info, NOW)
    job = a_job(requirement=a_requirement("docker"), queue_timeout=timedelta(minutes=5))
    assert decided(node, job, 4).state is JobState.QUEUED
    assert decided(node, job, 5).state is JobState.FAILED
