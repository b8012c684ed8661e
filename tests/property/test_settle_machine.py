"""Any sequence of plans, facts, silences and returns keeps the rules of the record, and the view equal to it."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skrei_domain.lifecycle import Connection, ExecutionState, JobState, Membership, Want
from skrei_domain.messages import ExecutionObserved, Problem, PublisherFact, PublishRefused, ResultRef
from skrei_scheduler.published import Said
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, Locked, Place
from skrei_scheduling.membership import lose, revive, silence, unanswered
from skrei_scheduling.plan import Plan
from skrei_scheduling.rows import Evaluation, Offline, OnReturn, Update
from skrei_scheduling.schedule import schedule
from skrei_scheduling.settle import jobs_of, settle
from tests.support.builders import a_fact, a_job, a_node, a_requirement, counting_ids
from tests.support.ledger import Ledger

UPLOADED = "uploaded"  # its result, which its fact names with a receipt
PLACE = Place("store", "there")
FACT_STATES = st.sampled_from(
    [
        (ExecutionState.STAGING, ""),
        (ExecutionState.RUNNING, ""),
        (ExecutionState.PUBLISHING, ""),
        (ExecutionState.COMPLETED, ""),
        (ExecutionState.COMPLETED, ""),
        (ExecutionState.COMPLETED, UPLOADED),
        (ExecutionState.COMPLETED, UPLOADED),
        (ExecutionState.FAILED, UPLOADED),
        (ExecutionState.FAILED, "trap"),
        (ExecutionState.FAILED, "interrupted"),
        (ExecutionState.REFUSED, "refused"),
        (ExecutionState.STOPPED, ""),
    ]
)
NODES = st.sampled_from(["n-1", "n-2", "n-3"])
JOBS = 5
PICK = st.integers(0, 1000)


class Cluster(RuleBasedStateMachine):
    """A leader that commits through the pure functions alone, against a record that checks every rule."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = counting_ids()
        self.ledger = Ledger()
        self.stored: Plan | None = None
        self.woken: list[str] = []

    @initialize()
    def start(self) -> None:
        self.ledger.nodes["n-1"] = a_node("n-1", cpu="1")
        self.view = self.ledger.view()

    # ------------------------------------------------------------ intent

    @precondition(lambda self: len(self.ledger.jobs) < JOBS)
    @rule(
        count=st.integers(1, 3),
        cpu=st.sampled_from(["0", "500m", "1", "3"]),
        engine=st.sampled_from(["wasm", "wasm", "docker"]),
        on_return=st.sampled_from(list(OnReturn)),
        wait=st.sampled_from([0, 30]),
        priority=st.integers(0, 1),
        total=st.sampled_from([None, None, 100]),
        queue=st.sampled_from([None, 40]),
        kind=st.sampled_from(["batch", "batch", "batch", "ops", "daemon", "service"]),
    )
    def submit(self, *, count, cpu, engine, on_return, wait, priority, total, queue, kind) -> None:
        job = a_job(
            self.ids("j"),
            count=count,
            requirement=a_requirement(engine, cpu=cpu),
            offline=Offline(wait=timedelta(seconds=wait), on_return=on_return),
            priority=priority,
            created_at=self.ledger.now,
            type=kind,
            total_timeout=None if total is None or kind in ("daemon", "service") else timedelta(seconds=total),
            queue_timeout=None if queue is None else timedelta(seconds=queue),
        )
        if kind == "service":
            job = replace(
                job, update=Update(1, timedelta(seconds=90), timedelta(seconds=20)), what_runs=f"{engine} {cpu}"
            )
        self.ledger.submit(job, self.ids("v"))

    @rule(pick=PICK)
    def stop(self, pick: int) -> None:
        if self.ledger.jobs:
            self.ledger.stop(sorted(self.ledger.jobs)[pick % len(self.ledger.jobs)], self.ids("v"))

    @rule(
        pick=PICK,
        count=st.integers(0, 3),
        cpu=st.sampled_from(["0", "1"]),
        engine=st.sampled_from(["wasm", "wasm", "docker"]),
        anew=st.booleans(),
    )
    def update(self, *, pick: int, count: int, cpu: str, engine: str, anew: bool) -> None:
        """A new version, whatever the job is doing; the leader learns of it with what is due."""
        if self.ledger.jobs:
            old = self.ledger.jobs[sorted(self.ledger.jobs)[pick % len(self.ledger.jobs)]]
            (task,) = old.tasks
            service = old.kind.value == "service"
            engine = engine if service else "wasm"  # other kinds fail by what no node has; that is tried with `submit`
            count = count if service else max(count, 1)
            task = replace(task, count=count, requirement=a_requirement(engine, cpu=cpu))
            what = f"{engine} {cpu}" if service else ""
            again = anew and (what, count) == (old.what_runs, old.units)
            self.ledger.update(replace(old, tasks=(task,), what_runs=what), self.ids("v"), anew=again)

    @rule(seconds=st.sampled_from([1, 10, 60]))
    def time_passes(self, seconds: int) -> None:
        self.ledger.at += timedelta(seconds=seconds)

    # ------------------------------------------------------------ plans

    @rule(seed=st.integers(0, 5), pack=st.booleans())
    def plan_and_commit(self, seed: int, pack: bool) -> None:
        wakes = [Evaluation("", job_id, "room") for job_id in dict.fromkeys(self.woken) if job_id in self.view.jobs]
        self.woken = []
        self._commit_plan(schedule(self.view, [*self.ledger.due(), *wakes], self.ledger.now, seed, self.ids, pack=pack))

    @rule()
    def plan(self) -> None:
        self.stored = schedule(self.view, self.ledger.due(), self.ledger.now, 0, self.ids)

    @rule()
    def commit_the_plan_made_before(self) -> None:
        if self.stored is not None:
            plan, self.stored = self.stored, None
            self._commit_plan(plan)

    def _commit_plan(self, plan: Plan) -> None:
        assert not plan.unknown
        self._apply(self.ledger.commit(plan.jobs, plan.evaluations, plan.decide))

    # ------------------------------------------------------------ facts

    @rule(picks=st.lists(st.tuples(PICK, FACT_STATES), min_size=1, max_size=4))
    def facts(self, picks: list[tuple[int, tuple[ExecutionState, str]]]) -> None:
        rows = list(self.ledger.executions.values())
        if not rows:
            return
        observed: list[tuple[str, ExecutionObserved]] = []
        places: dict[tuple[str, str], Place] = {}
        for pick, (state, problem) in picks:
            row = rows[-1 - pick % len(rows)]
            fact = a_fact(row.id, state, problem="" if problem == UPLOADED else problem, revision=row.revision)
            if problem == UPLOADED:
                uploaded = ResultRef(digest=f"of {row.id}", size=10**6, receipt="signed")
                fact = fact.model_copy(update={"result": uploaded})
                places[row.node_id, row.id] = PLACE
            observed.append((row.node_id, fact))
        observed.append(("n-1", a_fact("e-nobody-knows")))
        names = [fact.execution_id for _, fact in observed]
        late = {
            id: self.ledger.executions[id]
            for id in names
            if id in self.ledger.executions and id not in self.view.executions
        }
        self._commit(
            names, lambda locked: settle(self.view, observed, locked, self.ids, late=late, places=places), late
        )

    # ------------------------------------------------------------ the publisher

    @rule(pick=PICK, end=st.sampled_from(["final", "final", "final", "publish-failed", "result-lost"]))
    def the_publisher_speaks(self, pick: int, end: str) -> None:
        """Of what is staged, or of anything that it spoke of before."""
        known = sorted({*self.ledger.staged, *self.ledger.readable})
        if known:
            self._published(known[pick % len(known)], end)

    def _published(self, execution_id: str, end: str) -> None:
        digest = f"of {execution_id}"
        problem = Problem(code=end, message="no")
        refused = (PublishRefused(execution_id=execution_id, digest=digest, problem=problem),)
        said = Said.of(
            [PublisherFact(finalised=((execution_id, digest),)) if end == "final" else PublisherFact(refused=refused)]
        )
        late = {execution_id: self.ledger.executions[execution_id]}

        def decide(locked: Locked) -> Changes:
            builder = ChangesBuilder(self.view, locked, self.ids, late=late)
            said.settle_into(builder)
            return said.stored_with(builder.build())

        self._commit([execution_id], decide, late)

    @rule(pick=PICK)
    def no_answer(self, pick: int) -> None:
        offered = [row.id for row in self.view.executions.values() if row.state is ExecutionState.OFFERED]
        if offered:
            names = [offered[pick % len(offered)]]
            self._commit(names, lambda locked: unanswered(self.view, names, locked, self.ids))

    # ------------------------------------------------------------ nodes

    @rule(node_id=NODES, cpu=st.sampled_from(["1", "2"]))
    def node_joins(self, node_id: str, cpu: str) -> None:
        if node_id not in self.ledger.nodes:
            self._revive(a_node(node_id, cpu=cpu), {})

    @rule(node_id=NODES)
    def node_falls_silent(self, node_id: str) -> None:
        if node_id in self.ledger.nodes:
            names = [row.id for row in self.view.of_node(node_id)]
            self._commit(names, lambda locked: silence(self.view, [node_id], locked, self.ids))

    @rule(node_id=NODES, forgets=st.booleans())
    def node_says_hello(self, node_id: str, forgets: bool) -> None:
        node = self.ledger.nodes.get(node_id)
        if node is None:
            return
        rows = [] if forgets else [row for row in self.view.of_node(node_id) if row.live]
        if forgets:
            gone = [row.id for row in self.view.of_node(node_id) if row.live]
            self._commit(gone, lambda locked: lose(self.view, gone, "gone from its journal", locked, self.ids))
            node = replace(node, incarnation=node.incarnation + 1)
        self._revive(node, {row.id: (row.observed, row.revision) for row in rows})

    def _revive(self, node, listed) -> None:
        back = replace(node, connection=Connection.CONNECTED, connected_since=self.ledger.now, disconnected_since=None)
        names = [row.id for row in self.view.of_node(node.id)]
        siblings = {row.id for name in names for row in self.view.of_job(self.view.executions[name].job_id)}
        self._commit([*names, *siblings], lambda locked: revive(self.view, back, listed, locked, self.ids))

    # ------------------------------------------------------------ always

    def _commit(self, names, decide, late=None) -> None:
        self._apply(self.ledger.commit(jobs_of(self.view, names, late), (), decide))

    def _apply(self, changes: Changes) -> None:
        self.woken += self.view.apply(changes)

    @invariant()
    def the_view_is_what_the_record_holds(self) -> None:
        if not self.ledger.nodes:
            return
        fresh = self.ledger.view()
        assert self.view.executions == fresh.executions
        assert self.view.nodes == fresh.nodes
        for id, node_row in fresh.matrix.row_of.items():
            mine = self.view.matrix.row_of[id]
            assert self.view.matrix.free[:, mine].tolist() == fresh.matrix.free[:, node_row].tolist()
            assert self.view.matrix.order[mine] == fresh.matrix.order[node_row]
        for id, job in self.view.jobs.items():
            if job.version != self.ledger.jobs[id].version:
                continue  # its user has changed it since
            assert job.won == frozenset(self.ledger.won[id])
            assert set(self.view.open_units(job)) == set(fresh.open_units(job))
            assert (job.targets, job.failed) == (self.ledger.jobs[id].targets, self.ledger.jobs[id].failed)
            assert job.attempts == self.ledger.fresh(id).attempts
            assert job.refused_by == self.ledger.fresh(id).refused_by

    @invariant()
    def no_node_is_oversubscribed(self) -> None:
        for id, node in self.ledger.nodes.items():
            used = sum(
                row.reserved.cpu_milli for row in self.ledger.executions.values() if row.node_id == id and row.holds
            )
            assert used <= node.info.capacity.cpu_milli

    @invariant()
    def what_ended_counts_no_more(self) -> None:
        for row in self.ledger.executions.values():
            if row.state is ExecutionState.COMPLETED:
                assert not row.revoked
                assert row.id not in self.ledger.staged, "Completed, and its result cannot be read"
            if row.staged:
                assert (row.state, row.revoked, row.holds) == (ExecutionState.PUBLISHING, False, False)
                assert row.id in self.ledger.staged
            if row.want is Want.STOP:
                assert row.revoked
            assert row.holds or not row.live or row.staged

    @invariant()
    def each_kind_runs_as_often_as_it_says(self) -> None:
        for id, job in self.ledger.jobs.items():
            if job.kind.endless:
                failed = job.state is JobState.FAILED
                assert job.state is not JobState.COMPLETED
                assert not failed or job.kind.value == "service", "a daemon has failed"
                assert not failed or not job.good_version, "a service has failed that was ready as a whole"
                assert not self.ledger.won[id], "what runs until it is stopped has a result that counts"
            if job.kind.value == "ops" and job.state is JobState.COMPLETED:
                assert not job.failed
                assert len(self.ledger.won[id]) == len(job.targets) > 0

    @invariant()
    def whoever_waits_is_known_to_wait(self) -> None:
        for id, job in self.ledger.jobs.items():
            if (
                job.state is JobState.QUEUED
                and id in self.view.jobs
                and self.view.jobs[id].generation == job.generation
            ):
                assert id in self.view.waiting or self.view.backoff(id)
        assert all(not self.view.jobs[id].state.is_terminal for id in self.view.waiting)

    def teardown(self) -> None:
        """Once faults stop, every job that can run ends: nothing waits for a wake-up that never comes."""
        if not self.ledger.nodes:
            return
        for node in list(self.ledger.nodes.values()):
            rows = {row.id: (row.observed, row.revision) for row in self.view.of_node(node.id) if row.live}
            self._revive(node, rows)
        for id, job in list(self.ledger.jobs.items()):
            if job.kind.endless:
                self.ledger.stop(id, self.ids("v"))
        for _ in range(3 * JOBS + 12):  # one unit a round at worst, after a round for each kind of timer
            self.ledger.at += timedelta(seconds=61)
            self.plan_and_commit(0, False)
            for execution_id in sorted(self.ledger.staged):
                self._published(execution_id, "final")
            for row in list(self.view.executions.values()):
                state = ExecutionState.STOPPED if row.want is Want.STOP else ExecutionState.COMPLETED
                if not row.holds:
                    continue
                self._commit([row.id], lambda locked, row=row, state=state: self._one(locked, row, state))
        for id, job in self.ledger.jobs.items():
            requirement = job.tasks[0].requirement
            possible = requirement.engine == "wasm" and any(
                node.info.capacity.cpu_milli >= requirement.resources.cpu_milli
                for node in self.ledger.nodes.values()
                if node.membership is Membership.APPROVED
            )
            assert job.state.is_terminal or not possible, f"{id} is {job.state}"

    def _one(self, locked: Locked, row, state) -> Changes:
        return settle(self.view, [(row.node_id, a_fact(row.id, state, revision=row.revision))], locked, self.ids)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking a run of 40 steps takes minutes
)
