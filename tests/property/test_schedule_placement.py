"""Placement over generated clusters and workloads: what no plan may ever do, and what every refusal must say."""

import random
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skrei_domain.constraints import Constraint
from skrei_domain.lifecycle import Connection, JobState, Membership
from skrei_scheduling.explain import explain, refused_for_good, why_not
from skrei_scheduling.feasibility import accepts, compute
from skrei_scheduling.ranking import favour
from skrei_scheduling.rows import Evaluation, JobRow, NodeRow, Requirement
from skrei_scheduling.schedule import schedule
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_job, a_node, a_requirement, by_name, counting_ids, locked

KEYS = st.sampled_from(["region", "disk", "cores", "favour_disk", "name"])
VALUES = st.sampled_from(["eu", "us", "ssd", "4", "16", "x"])


@st.composite
def constraints(draw: st.DrawFn) -> Constraint:
    operator = draw(st.sampled_from(["in", "notin", "exists", "!", "=", "==", "!=", "gt", "lt"]))
    if operator in {"gt", "lt"}:
        return Constraint(draw(KEYS), operator, (draw(st.sampled_from(["1", "8", "99"])),))
    if operator in {"exists", "!"}:
        return Constraint(draw(KEYS), operator)
    many = operator in {"in", "notin"}
    values = draw(st.lists(VALUES, min_size=1, max_size=3 if many else 1))
    return Constraint(draw(KEYS), operator, tuple(values))


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    return a_requirement(
        draw(st.sampled_from(["wasm", "wasm", "docker"])),
        cpu=draw(st.sampled_from(["0", "100m", "1", "3"])),
        memory=draw(st.sampled_from(["0", "1GiB", "8GiB"])),
        gpu=draw(st.sampled_from([0, 0, 0, 1])),
        storages=draw(st.sets(st.sampled_from(["inline", "local", "s3"]), max_size=2)),
        publisher=draw(st.sampled_from(["", "local", "localdirectory"])),
        constraints=draw(st.lists(constraints(), max_size=2)),
        ports=draw(st.sampled_from([(), (), (), (8080,), (8080, 9090), (9090,)])),
    )


@st.composite
def clusters(draw: st.DrawFn) -> list[NodeRow]:
    return [
        a_node(
            f"n-{index}",
            cpu=draw(st.sampled_from(["1", "2", "4"])),
            memory=draw(st.sampled_from(["2GiB", "16GiB"])),
            gpu=draw(st.sampled_from([0, 2])),
            labels=draw(st.dictionaries(st.sampled_from(["region", "disk", "cores", "name"]), VALUES, max_size=3)),
            engines=draw(st.sampled_from([("wasm",), ("WASM", "docker"), ()])),
            storages=draw(st.sampled_from([("inline", "local"), ("inline", "local", "s3")])),
            membership=draw(st.sampled_from([*([Membership.APPROVED] * 4), Membership.PENDING, Membership.REJECTED])),
            connected=draw(st.sampled_from([True, True, True, False])),
        )
        for index in range(draw(st.integers(0, 6)))
    ]


@st.composite
def workloads(draw: st.DrawFn) -> list[JobRow]:
    return [
        a_job(
            f"j-{index}",
            count=draw(st.integers(1, 5)),
            requirement=draw(requirements()),
            priority=draw(st.integers(0, 2)),
            created_at=NOW - timedelta(seconds=draw(st.integers(0, 2))),
            state=draw(st.sampled_from([*([JobState.PENDING] * 5), JobState.STOPPED])),
            queue_timeout=draw(st.sampled_from([None, None, timedelta(minutes=1)])),
        )
        for index in range(draw(st.integers(1, 5)))
    ]


def evaluate(jobs: list[JobRow]) -> list[Evaluation]:
    return [Evaluation(f"v-{job.id}", job.id, "job-register", job) for job in jobs]


@given(clusters(), workloads(), st.integers(0, 3), st.booleans())
@pytest.mark.row("4.5/busy")
def test_a_plan_never_oversubscribes_a_node(nodes: list[NodeRow], jobs: list[JobRow], seed: int, pack: bool) -> None:
    view = ClusterView.load(nodes, [], [])
    plan = schedule(view, evaluate(jobs), NOW, seed, counting_ids(), pack=pack)
    view.apply(plan.decide(locked(*jobs, evaluations=plan.evaluations)))
    assert (view.matrix.free[:, : view.matrix.rows] >= 0).all()
    given = Counter((row.node_id, port.port) for row in plan.placements for port in row.ports)
    assert not given or max(given.values()) == 1, "a port was promised twice"


@given(clusters(), workloads(), st.integers(0, 3), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_nodes_and_jobs_are_listed_in_does_not_matter(
    nodes: list[NodeRow], jobs: list[JobRow], seed: int, pack: bool, shuffle: random.Random
) -> None:
    def placed(nodes: list[NodeRow], jobs: list[JobRow]) -> set[tuple[str, str, int, str]]:
        view = ClusterView.load(nodes, [], [])
        return by_name(schedule(view, evaluate(jobs), NOW, seed, counting_ids(), pack=pack).placements)

    other_nodes, other_jobs = nodes[:], jobs[:]
    shuffle.shuffle(other_nodes)
    shuffle.shuffle(other_jobs)
    assert placed(nodes, jobs) == placed(other_nodes, other_jobs)


@given(clusters(), workloads())
def test_planning_leaves_the_room_of_the_view_as_it_was(nodes: list[NodeRow], jobs: list[JobRow]) -> None:
    view = ClusterView.load(nodes, [], [])
    free, order = view.matrix.free.copy(), view.matrix.order.copy()
    schedule(view, evaluate(jobs), NOW, 0, counting_ids())
    assert all(view.matrix.ports.free(row, (8080, 9090)) for row in range(view.matrix.rows))
    assert (view.matrix.free == free).all()
    assert (view.matrix.order == order).all()


@given(clusters(), workloads())
def test_every_unit_is_placed_or_its_job_says_why_not(nodes: list[NodeRow], jobs: list[JobRow]) -> None:
    view = ClusterView.load(nodes, [], [])
    plan = schedule(view, evaluate(jobs), NOW, 0, counting_ids())
    for decision in plan.decisions:
        if decision.job.state.is_terminal:
            assert not decision.place
            continue
        if decision.failure is not None:
            assert not decision.place
            assert "not enough nodes to run job" in decision.failure.text
            continue
        waiting = 0 if decision.waits is None else decision.waits.units
        assert len(decision.place) + waiting == decision.job.units
        if decision.waits is not None:
            assert decision.waits.explanation.groups or not any(view.matrix.known)


@given(clusters(), requirements())
def test_reasons_count_every_known_node_once_and_agree_with_the_masks(
    nodes: list[NodeRow], requirement: Requirement
) -> None:
    view = ClusterView.load(nodes, [], [])
    told = explain(requirement, view.matrix, view.nodes, requested=1, now=NOW)
    work = view.feasibility.of(requirement)
    assert told.suitable + sum(told.refused.values()) == told.known
    assert told.suitable == int(work.with_room(view.matrix).sum())
    assert sum(group.nodes for group in told.groups) == sum(told.refused.values())
    assert told.for_good == refused_for_good(requirement, view.matrix, view.feasibility, view.nodes, NOW)
    for node in nodes:
        if node.membership is not Membership.REJECTED:
            placed = bool(work.with_room(view.matrix)[view.matrix.row_of[node.id]])
            assert placed == (why_not(requirement, node, view.matrix) == "")


@given(clusters(), requirements())
def test_the_masks_say_of_each_node_what_the_filters_say_of_it_alone(
    nodes: list[NodeRow], requirement: Requirement
) -> None:
    view = ClusterView.load(nodes, [], [])
    work = compute(requirement, view.matrix)
    for node in nodes:
        row = view.matrix.row_of[node.id]
        known = node.membership is not Membership.REJECTED
        assert bool(work.possible[row]) == (known and accepts(requirement, view.matrix, row))
        if work.bonus is not None:
            assert work.bonus[row] == favour(requirement, node.info.labels)


@given(clusters(), clusters(), requirements())
@settings(max_examples=60)
def test_a_mask_that_was_kept_is_the_mask_that_would_be_computed(
    before: list[NodeRow], after: list[NodeRow], requirement: Requirement
) -> None:
    view = ClusterView.load(before, [], [])
    view.feasibility.of(requirement)
    for node in after:
        view.matrix.set(node, old=view.nodes.get(node.id))
    kept, fresh = view.feasibility.of(requirement), compute(requirement, view.matrix)
    assert np.array_equal(kept.possible, fresh.possible)
    assert np.array_equal(kept.candidates, fresh.candidates)
    assert (kept.bonus is None) == (fresh.bonus is None)
    assert kept.bonus is None or np.array_equal(kept.bonus, fresh.bonus)


@given(clusters(), requirements())
def test_only_nodes_that_are_away_or_pending_keep_a_hopeless_job_waiting(
    nodes: list[NodeRow], requirement: Requirement
) -> None:
    view = ClusterView.load(nodes, [], [])
    job = a_job(requirement=requirement)
    decision = schedule(view, evaluate([job]), NOW, 0, counting_ids()).decisions[0]
    known = [node for node in nodes if node.membership is not Membership.REJECTED]
    there = [n for n in known if n.membership is Membership.APPROVED and n.connection is Connection.CONNECTED]
    hopeless = not any(accepts(requirement, view.matrix, view.matrix.row_of[node.id]) for node in there)
    assert (decision.failure is not None) == (bool(known) and len(there) == len(known) and hopeless)
