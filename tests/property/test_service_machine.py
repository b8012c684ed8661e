"""Any life of one service keeps what serves: updates, scales, bad versions, rollbacks, replicas and nodes that come and
go or drain, lack of room.
"""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skrei_domain.lifecycle import Connection, ExecutionState, Intake, JobState
from skrei_scheduling import texts
from skrei_scheduling.rows import ExecutionRow, JobRow, Offline, OnReturn, Update
from tests.support.builders import a_fact, a_job, a_node, a_requirement, a_task_plan
from tests.unit.scheduling.test_kinds import Cluster

MADE_WAY = texts.STOP_MADE_WAY.split("{", maxsplit=1)[0]
MIN_READY, LIMIT = timedelta(seconds=5), timedelta(seconds=30)
WAIT = timedelta(seconds=20)
PICK = st.integers(0, 1000)
NODES = st.sampled_from(["n-1", "n-2"])
NEEDS = {
    "small": a_requirement(cpu="500m"),
    "other": a_requirement(cpu="500m"),
    "large": a_requirement(cpu="2"),
    "port": a_requirement(cpu="500m", ports=[25011]),
    "port again": a_requirement(cpu="500m", ports=[25011]),
    "nowhere": a_requirement("no-engine"),
}


class Shape(NamedTuple):
    """What all versions of a service have in common: replicas of a second task, how many more may run, who goes on."""

    beside: int = 0
    surge: int = 1
    how: OnReturn = OnReturn.KEEP_FIRST

    def version(self, count: int, what: str) -> JobRow:
        tasks = [a_task_plan("main", count=count, requirement=NEEDS[what])]
        tasks += [a_task_plan("beside", count=self.beside, requirement=NEEDS["small"])] if self.beside else []
        job = a_job(type="service", tasks=tasks, offline=Offline(WAIT, on_return=self.how))
        return replace(job, update=Update(self.surge, LIMIT, MIN_READY), what_runs=what)


SHAPES = st.builds(Shape, st.integers(0, 2), st.integers(1, 3), st.sampled_from(OnReturn))


class Service(RuleBasedStateMachine):
    """One service on two nodes, its leader, and a record that refuses what must never be."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(a_node("n-1", cpu="2"), a_node("n-2", cpu="2"))
        self.shape = Shape()

    @initialize(count=st.integers(1, 3), what=st.sampled_from(["small", "port"]), shape=SHAPES)
    def begins(self, count: int, what: str, shape: Shape) -> None:
        self.shape = shape
        self.cluster.submit(shape.version(count, what))

    # ------------------------------------------------------------ what users and programs do

    @precondition(lambda self: self.open)
    @rule(count=st.integers(0, 5), what=st.sampled_from([*NEEDS, "small"]))
    def update(self, count: int, what: str) -> None:
        now = self.cluster.job
        self.cluster.ledger.update(
            self.shape.version(count, what),
            self.cluster.ids("v"),
            anew=(count, what) == (now.tasks[0].count, now.what_runs),
        )
        self.plan()

    @precondition(lambda self: self.open)
    @rule(count=st.integers(0, 5))
    def scale(self, count: int) -> None:
        job = self.cluster.job
        goes = self.cluster.view.drains  # the new version is made elsewhere
        rows = [row for row in self.wanted() if not row.leaving and not goes(row.node_id)]
        self.update(count, job.what_runs)
        if count != job.tasks[0].count:
            same = {row.id for row in rows if row.what_runs == job.what_runs and row.job_version >= job.anew}
            most = {"main": count, "beside": self.shape.beside}
            stay = {row.id for row in rows if row.id in same and row.partition < most[row.task]}
            assert stay <= {row.id for row in self.wanted()}, "what runs the same was not kept"

    @precondition(lambda self: self.open)
    @rule(pick=PICK)
    def rollback(self, pick: int) -> None:
        """A user wants what an earlier version was, whatever became of it."""
        versions = [
            row for (_, number), row in self.cluster.ledger.versions.items() if number < self.cluster.job.version
        ]
        if versions:
            old = versions[pick % len(versions)]
            self.update(old.tasks[0].count, old.what_runs)

    @precondition(lambda self: self.open)
    @rule()
    def stop(self) -> None:
        self.cluster.ledger.stop("j-1", self.cluster.ids("v"))
        self.plan()
        assert not self.wanted()

    @precondition(lambda self: not self.open)
    @rule(count=st.integers(1, 3))
    def begins_again(self, count: int) -> None:
        self.update(count, "small")

    @rule(pick=PICK, ready=st.booleans())
    def runs(self, pick: int, ready: bool) -> None:
        if rows := self.heard():
            self.says(rows[pick % len(rows)], ExecutionState.RUNNING, ready=ready)

    @rule()
    def all_are_ready(self) -> None:
        for row in self.heard():
            self.says(row, ExecutionState.RUNNING, ready=True)

    @rule(pick=PICK)
    def ends(self, pick: int) -> None:
        if rows := self.heard():
            self.says(rows[pick % len(rows)], ExecutionState.FAILED)

    @rule()
    def a_new_leader(self) -> None:
        self.cluster.view, self.cluster.woken = self.cluster.ledger.view(), []
        self.plan(*self.worth_a_look())

    # ------------------------------------------------------------ nodes

    @rule(node=NODES)
    def a_node_falls_silent(self, node: str) -> None:
        if self.is_there(node):
            self.cluster.silent(node)
            self.plan(*self.worth_a_look())

    @rule(node=NODES)
    def a_node_is_back(self, node: str) -> None:
        if not self.is_there(node):
            self.cluster.comes_back(node)
            self.plan(*self.worth_a_look())

    @rule(node=NODES, seconds=st.sampled_from([None, None, 20]))
    def a_node_drains(self, node: str, seconds: float | None) -> None:
        """Until its deadline, if it has one, nothing that serves is stopped before another does."""
        self.cluster.drains(node, seconds)
        self.plan("j-1", *self.worth_a_look())

    @rule(node=NODES, cordoned=st.booleans())
    def a_node_drains_no_more(self, node: str, cordoned: bool) -> None:
        self.cluster.intake(node, Intake.CORDONED if cordoned else Intake.OPEN)
        self.plan("j-1", *self.worth_a_look())

    def is_there(self, node: str) -> bool:
        return self.cluster.view.nodes[node].connection is Connection.CONNECTED

    # ------------------------------------------------------------ time

    @rule(seconds=st.sampled_from([1, 6, 31]))
    def time_passes(self, seconds: int) -> None:
        self.cluster.passes(seconds)
        self.cluster.ends_what_is_due()
        for row in list(self.cluster.view.executions.values()):
            if row.revoked and row.holds and self.is_there(row.node_id):
                self.cluster.says(a_fact(row.id, ExecutionState.STOPPED, revision=row.revision))
        self.plan(*self.worth_a_look())

    def worth_a_look(self) -> list[str]:
        """What the latest commit has woken, or a sweep finds."""
        return [each for each in {*self.cluster.woken, *self.cluster.view.sweep()} if each in self.cluster.view.jobs]

    def says(self, row: ExecutionRow, state: ExecutionState, *, ready: bool | None = None) -> None:
        fact = a_fact(row.id, state, problem="exit" if state is ExecutionState.FAILED else "")
        self.cluster.says(fact.model_copy(update={"ready": ready}))
        self.plan()

    def plan(self, *wake: str) -> None:
        before, old = self.ready(), self.cluster.job
        changes = self.cluster.plan(*wake)
        job = self.cluster.job
        closed = {node.id for node in self.cluster.view.nodes.values() if node.intake is not Intake.OPEN}
        assert not closed & {row.node_id for row in changes.executions_new}, "something was placed on a closed node"
        if changes.rollbacks:
            assert old.units > 0, "a service of none was gone back on"
        if any(texts.READY_VERSION in each.details for each in changes.history):
            ready = [row for row in self.wanted() if row.job_version == old.version and row.is_ready]
            since = self.cluster.ledger.now - MIN_READY
            assert len({row.unit for row in ready if row.ready_at and row.ready_at <= since}) == old.units
        if job.state.is_terminal:
            return
        left = Counter(row.task for row in self.wanted() if row.is_ready)
        made_way = sum(each.message.startswith(MADE_WAY) for each in changes.history)
        assert made_way <= 1
        missed = sum(max(min(task.count, before[task.name]) - left[task.name], 0) for task in job.tasks)
        assert missed <= made_way, "what is ready was stopped before its place was taken"

    def ready(self) -> Counter[str]:
        """How many of each task are ready, where two of one version that stand for one unit are one."""
        ready = {(row.job_version, row.unit) for row in self.wanted() if row.is_ready}
        return Counter(task for _, (task, _) in ready)

    def heard(self) -> list[ExecutionRow]:
        """What is wanted where it can be heard."""
        return [row for row in self.wanted() if self.is_there(row.node_id)]

    # ------------------------------------------------------------ always

    @property
    def open(self) -> bool:
        return not self.cluster.job.state.is_terminal

    def wanted(self) -> list[ExecutionRow]:
        rows = (row for row in self.cluster.ledger.executions.values() if row.live and not row.revoked)
        return sorted(rows, key=lambda row: row.id)

    @invariant()
    def it_fails_for_nothing_once_it_was_good(self) -> None:
        job = self.cluster.ledger.jobs.get("j-1")
        if job is None:
            return
        if job.state is JobState.FAILED:
            assert not job.good_version
        if job.state.is_terminal:
            assert not self.wanted(), "it has ended, and something of it runs"
        if any(row.is_ready for row in self.wanted()) and job.state is not JobState.PENDING:
            assert job.state is JobState.RUNNING, f"it serves, and is {job.state}"

    @invariant()
    def no_more_are_leaving_than_an_update_may_add(self) -> None:
        leaving = Counter((row.task, row.job_version) for row in self.wanted() if row.leaving)
        assert all(many <= self.shape.surge for many in leaving.values())

    @invariant()
    def the_view_is_what_a_new_leader_would_have(self) -> None:
        fresh = self.cluster.ledger.view()
        assert self.cluster.view.executions == fresh.executions
        for id, job in self.cluster.view.jobs.items():
            known = self.cluster.ledger.fresh(id)
            if job.version == known.version:
                told = (job.good_version, job.progress, job.progress_at, job.paused, job.attempts)
                assert told == (known.good_version, known.progress, known.progress_at, known.paused, known.attempts)

    def teardown(self) -> None:
        """When all nodes are there and all that runs is ready, the version that is wanted comes to be, or an earlier
        one, or waits for room; and nothing is left beside it.
        """
        if "j-1" not in self.cluster.ledger.jobs or not self.open:
            return
        for node in ("n-1", "n-2"):
            self.a_node_drains_no_more(node, False)
            self.a_node_is_back(node)
        for _ in range(60):
            for row in self.wanted():
                if not row.is_ready:
                    self.says(row, ExecutionState.RUNNING, ready=True)
            self.time_passes(6)
        job = self.cluster.job
        rows = self.wanted()
        if "large" in {job.what_runs, *(row.what_runs for row in rows)} or job.what_runs == "nowhere":
            return  # it may wait for room, or for a node, for ever
        ports = job.what_runs.startswith("port")
        fits = self.shape.beside + 2 if ports else 8
        now = [row for row in rows if row.job_version == job.version]
        assert len(now) == min(job.units, fits), f"{len(now)} of {job.units} run"
        assert len(rows) == job.units or job.units > fits, "an update that has room has not come to its end"
        if job.units <= fits:
            assert "j-1" not in self.cluster.view.waiting, "all of it runs, and it is said to wait"
            assert job.good_version == job.version, "it is ready as a whole, and nobody was told"


TestServices = Service.TestCase
TestServices.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
