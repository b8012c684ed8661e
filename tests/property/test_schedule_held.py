"""Small jobs overtake a large one that waits, but not for ever: one node is held for the first in line."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_scheduling.held import HOLD_AFTER, Held, held
from skrei_scheduling.rows import Evaluation, JobRow
from skrei_scheduling.schedule import schedule
from skrei_scheduling.settle import settle
from skrei_scheduling.view import ClusterView
from skrei_scheduling.waiting import turn
from tests.support.builders import NOW, a_fact, a_job, a_node, a_requirement, an_execution, counting_ids
from tests.support.ledger import Ledger

LARGE = a_requirement(cpu="4")
SMALL = a_requirement(cpu="1")
STEP = 5  # seconds
EARLIER = NOW - timedelta(hours=1)


def queued(id: str, *, age: float, requirement=LARGE, **more: object) -> JobRow:  # type: ignore[no-untyped-def]
    created = NOW - timedelta(seconds=age)
    return a_job(id, requirement=requirement, state=JobState.QUEUED, created_at=created, **more)  # type: ignore[arg-type]


def busy(*waiting: JobRow, used: tuple[int, ...] = (3, 1)) -> ClusterView:
    """Nodes of four cores of which so many are used, and jobs that wait."""
    nodes = [a_node(f"n-{number}", cpu="4") for number in range(len(used))]
    running = a_job("j-0", count=sum(used), requirement=SMALL, state=JobState.RUNNING)
    rows = [
        an_execution(f"e-{node}-{slot}", job=running, partition=10 * node + slot, node_id=f"n-{node}")
        for node, slots in enumerate(used)
        for slot in range(slots)
    ]
    return ClusterView.load(nodes, [running, *waiting], rows)


def placed(view: ClusterView, *jobs: JobRow) -> list[tuple[str, str]]:
    evaluations = [Evaluation("", job.id, "room", job) for job in jobs]
    return [(row.job_id, row.node_id) for row in schedule(view, evaluations, NOW, 0, counting_ids()).placements]


def test_the_node_that_lacks_least_is_held_for_the_first_that_waited_long_enough() -> None:
    large = queued("j-large", age=61)
    found = held(busy(large), NOW)
    assert found == Held("n-1", "j-large", turn(large))
    assert held(busy(queued("j-large", age=59)), NOW) is None
    fits = busy(large, used=(3, 0))
    assert held(fits, NOW) == Held("n-1", "j-large", turn(large)), "it will be woken; nobody may take it before"
    assert held(fits, NOW, {"j-large"}) is None, "it is placed first"
    assert held(busy(queued("j-huge", age=61, requirement=a_requirement(cpu="5"))), NOW) is None, "no node is so large"


def test_no_node_is_held_for_a_job_that_gets_on() -> None:
    """On a laptop, one job of many large partitions would keep every small one out until its last partition."""
    many = a_job("j-many", count=100, requirement=a_requirement(cpu="3"), state=JobState.RUNNING, created_at=EARLIER)
    runs = an_execution(job=many, node_id="n-0", state=ExecutionState.RUNNING)
    view = ClusterView.load([a_node("n-0", cpu="4")], [many], [runs])
    assert "j-many" in view.waiting
    small = a_job("j-small", requirement=SMALL, created_at=NOW)
    assert placed(view, small) == [("j-small", "n-0")]


def test_who_stands_behind_is_not_placed_there_and_is_told_why() -> None:
    view = busy(queued("j-large", age=61))
    small = a_job("j-small", count=8, requirement=SMALL, created_at=NOW)
    plan = schedule(view, [Evaluation("v-1", "j-small", "job-register", small)], NOW, 0, counting_ids())
    assert {row.node_id for row in plan.placements} == {"n-0"}
    (decision,) = plan.decisions
    assert decision.waits is not None
    assert "is held for job j-large, which is before this one in line" in decision.waits.explanation.text
    assert decision.waits.explanation.suitable == 0


def test_who_stands_before_it_may_have_it() -> None:
    view = busy(queued("j-large", age=61))
    urgent = a_job("j-urgent", requirement=a_requirement(cpu="3"), priority=1, created_at=NOW)
    assert placed(view, urgent) == [("j-urgent", "n-1")]


def test_a_node_that_failed_a_unit_is_held_only_where_no_other_could_take_it() -> None:
    avoids = {("main", 0): frozenset({"n-1"})}
    found = held(busy(queued("j-large", age=61, refused_by=avoids)), NOW)
    assert found is not None
    assert found.node_id == "n-0"
    avoids = {("main", 0): frozenset({"n-0", "n-1"})}
    found = held(busy(queued("j-large", age=61, refused_by=avoids)), NOW)
    assert found is not None
    assert found.node_id == "n-1"


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from([1, 2, 4, 5]), st.integers(0, 1)), max_size=5),
)
def test_one_node_is_held_at_most_and_never_for_who_is_young_or_too_large(
    used: list[int], waiting: list[tuple[int, int, int]]
) -> None:
    jobs = [
        queued(f"j-{n + 1}", age=age, requirement=a_requirement(cpu=str(cores)), priority=priority)
        for n, (age, cores, priority) in enumerate(waiting)
    ]
    view = busy(*jobs, used=tuple(used))
    found = held(view, NOW)
    needy = [
        job
        for job in sorted(jobs, key=turn)
        if NOW - job.created_at >= HOLD_AFTER and job.tasks[0].requirement.resources.cpu_milli <= 4_000
    ]
    heads = [job for job in needy if not any(turn(each) < turn(job) and _alike(each, job) for each in jobs)]
    assert (found is None) == (not heads)
    if found is not None:
        assert found.job_id == heads[0].id
        lacks = [max(heads[0].tasks[0].requirement.resources.cpu_milli // 1_000 - (4 - each), 0) for each in used]
        assert lacks[int(found.node_id[2:])] == min(lacks)


def _alike(one: JobRow, other: JobRow) -> bool:
    return one.tasks[0].requirement == other.tasks[0].requirement


class Stream:
    """A cluster under a stream of small jobs that never ends, and one large job; time moves in steps."""

    def __init__(self, nodes: int) -> None:
        self.record, self.ids = Ledger(), counting_ids()
        for number in range(nodes):
            self.record.nodes[f"n-{number}"] = a_node(f"n-{number}", cpu="4")
        self.view = self.record.view()
        self.woken: list[str] = []
        self.ends: dict[str, int] = {}
        self.step = self.placed = 0
        self.first = 4 * nodes  # the first ones end one after the other, not all at once

    def submit(self, requirement) -> str:  # type: ignore[no-untyped-def]
        job = a_job(self.ids("j"), requirement=requirement, created_at=self.record.now)
        self.record.submit(job, self.ids("v"))
        return job.id

    def turn(self, lives: list[int], hold_after: timedelta) -> None:
        """Let what has run long enough end, then plan; the n-th that is placed runs for the n-th of `lives` steps."""
        self.step += 1
        self.record.at += timedelta(seconds=STEP)
        for row in list(self.view.executions.values()):
            if self.ends.get(row.id, self.step + 1) <= self.step:
                fact = [(row.node_id, a_fact(row.id))]
                self.apply(self.record.commit([row.job_id], [], lambda locked, f=fact: self._settle(f, locked)))
        wakes = [Evaluation("", job_id, "room") for job_id in dict.fromkeys((*self.woken, *self.view.sweep()))]
        self.woken = []
        wakes = [each for each in wakes if each.job_id in self.view.jobs]
        plan = schedule(self.view, [*self.record.due(), *wakes], self.record.now, 0, self.ids, hold_after=hold_after)
        for row in plan.placements:
            life = 1 + self.placed % 4 if self.placed < self.first else lives[self.placed % len(lives)]
            self.ends[row.id] = self.step + life
            self.placed += 1
        self.apply(self.record.commit(plan.jobs, plan.evaluations, plan.decide))

    def _settle(self, facts, locked):  # type: ignore[no-untyped-def]
        return settle(self.view, facts, locked, self.ids)

    def apply(self, changes) -> None:  # type: ignore[no-untyped-def]
        self.woken += self.view.apply(changes)


def lived(nodes: int, lives: list[int], arrivals: int, hold_after: timedelta) -> int | None:
    """Return how many steps the large job waited, or None."""
    stream = Stream(nodes)
    for _ in range(4 * nodes):
        stream.submit(SMALL)
    stream.turn(lives, hold_after)
    large = stream.submit(LARGE)
    for step in range(80):
        for _ in range(arrivals * nodes):
            stream.submit(SMALL)
        stream.turn(lives, hold_after)
        if any(row.job_id == large for row in stream.record.executions.values()):
            return step
    return None


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 4))
@pytest.mark.row("4.8/queue")
def test_a_large_job_is_placed_though_small_ones_keep_coming(nodes: int, lives: list[int], arrivals: int) -> None:
    waited = lived(nodes, lives, arrivals, HOLD_AFTER)
    assert waited is not None
    assert waited * STEP <= HOLD_AFTER.total_seconds() + (max(lives) + 3) * STEP


@pytest.mark.parametrize("nodes", [1, 3])
def test_without_holding_a_node_it_would_starve(nodes: int) -> None:
    assert lived(nodes, [4], 4, timedelta(days=1)) is None
