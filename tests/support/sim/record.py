"""The record with its lease: it refuses what Postgres refuses, and checks after every commit what must always hold."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from skrei_domain.errors import LeadershipLost
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ORDER, Connection, ExecutionState, Intake, JobState
from skrei_domain.messages import PublisherCommand
from skrei_domain.node import NodeInfo
from skrei_domain.resources import Resources
from skrei_scheduler.quarantine import FACT_QUARANTINED
from skrei_scheduling.changes import Changes, Decide, Position, ResultNew
from skrei_scheduling.feasibility import accepts
from skrei_scheduling.memory import KEPT
from skrei_scheduling.rows import ExecutionRow, NodeIntent, NodeRow
from skrei_scheduling.texts import STOP_MADE_WAY, STOP_NOT_NEEDED, STOP_ROLLED, TASK
from skrei_scheduling.view import ClusterView
from tests.support.ledger import Ledger
from tests.support.sim.agenda import Agenda
from tests.support.sim.ports import NUMBERS
from tests.support.sim.publisher import staged_results
from tests.support.task_life import may_begin

LEASE_SECONDS = 3.0
MADE_WAY = STOP_MADE_WAY.split("{", maxsplit=1)[0]
NOT_ENOUGH = "not enough nodes to run job"


class SimRecord(Ledger):
    """What the cluster promises, in one place. `at` of the ledger is the agenda's time."""

    def __init__(self, agenda: Agenda) -> None:
        super().__init__()
        self._agenda = agenda
        self.epoch = 0
        self.timeline = 1
        self.position: Position | None = None
        self.commits = 0
        self._lease_until = 0.0
        self.intents: list[NodeIntent] = []
        self.final: Mapping[str, str] = {}  # what the publisher holds: whoever sees Completed can read the result
        self._staged_at: dict[str, tuple[datetime, ResultNew]] = {}
        self._infos: defaultdict[str, list[tuple[datetime, NodeInfo]]] = defaultdict(list)

    @property
    def now(self) -> datetime:
        return self._agenda.wall

    # ------------------------------------------------------------ the lease

    def take_lease(self) -> int | None:
        """Return a new epoch if the last leader's lease has run out."""
        if self._agenda.now < self._lease_until:
            return None
        self.epoch += 1
        self._lease_until = self._agenda.now + LEASE_SECONDS
        return self.epoch

    def renew(self, epoch: int) -> bool:
        if epoch != self.epoch:
            return False
        self._lease_until = self._agenda.now + LEASE_SECONDS
        return True

    # ------------------------------------------------------------ commits

    def tick(self) -> None:
        self.at = timedelta(seconds=self._agenda.now)

    def commit_as(self, epoch: int, jobs: Iterable[str], evaluations: Iterable[str], decide: Decide) -> Changes:
        """Commit as the leader of `epoch`, or refuse it as the lease row does."""
        if epoch != self.epoch:
            raise LeadershipLost(f"epoch {epoch} is over: {self.epoch} leads", epoch=str(epoch))
        self.tick()
        before = {row.id: row for row in self.executions.values()}
        nodes, states = dict(self.nodes), {job.id: job.state for job in self.jobs.values()}
        changes = self.commit(jobs, evaluations, decide)
        self.commits += 1
        aside = [entry for entry in changes.audit if entry.action == FACT_QUARANTINED]
        assert not aside, f"a fact could not be settled: {aside}"
        if changes.position is not None:
            self.position = changes.position
        if changes.timeline is not None:
            assert changes.timeline > self.timeline
            self.timeline = changes.timeline
        self._check_rollouts(changes, before)
        self.intents = [each for each in self.intents if each.number not in changes.node_intents_done]
        for row in changes.executions_new:
            assert self.nodes[row.node_id].intake is Intake.OPEN, f"{row.id} was placed on a closed node"
        for change in changes.executions:
            self._check_step(before[change.row.id], change.row)
        for new in changes.results:
            if new.staged is not None:
                self._staged_at[new.execution_id] = (self.now, new)
        for node in changes.nodes:
            _check_log(nodes.get(node.id), node)
            self._note_info(node)
        for ended in changes.jobs:
            if ended.state is JobState.FAILED and NOT_ENOUGH in (ended.message or ""):
                self._check_hopeless(ended.id, (ended.details or {}).get(TASK, ""))
        for change_of_job in changes.jobs:
            assert change_of_job.state is not JobState.PENDING or states[change_of_job.id] is JobState.PENDING
        self.check_room({row.node_id for row in changes.executions_new} | {node.id for node in changes.nodes})
        return changes

    def _check_rollouts(self, changes: Changes, before: dict[str, ExecutionRow]) -> None:
        """An update never takes what is ready before its place is taken, and places no more than it may."""
        rolled = {item.job_id for item in changes.history if item.message in (STOP_ROLLED, STOP_NOT_NEEDED)}
        made_way = Counter(item.job_id for item in changes.history if item.message.startswith(MADE_WAY))
        assert not made_way or max(made_way.values()) == 1, "more than one made way at once"
        placed = {row.job_id for row in changes.executions_new}
        for job_id in rolled | placed:
            job = self.jobs[job_id]
            if job.kind is not Kind.SERVICE or job.state.is_terminal:
                continue
            rows = [row for row in self.executions.values() if row.job_id == job_id and row.live and not row.revoked]
            were = [row for row in before.values() if row.job_id == job_id and row.live and not row.revoked]
            ready = sum(row.is_ready for row in rows)
            served = len({(row.job_version, row.unit) for row in were if row.is_ready})
            assert ready >= min(job.units, served) - made_way[job_id], f"{job_id}: ready ones were stopped early"
            beside = sum(row.state is ExecutionState.UNKNOWN or row.leaving for row in rows)
            assert len(rows) <= max(job.units + job.update.surge + beside, len(were)), f"{job_id}: {len(rows)} at once"

    def _note_info(self, node: NodeRow) -> None:
        """Remember what each node could do, and until when."""
        held = self._infos[node.id]
        if not held or held[-1][1] != node.info:
            held.append((self.now, node.info))

    def _check_hopeless(self, job_id: str, name: str) -> None:
        """A job that fails for lack of nodes has waited as long as it said, or no node could do it for a long time.

        `name` is the task that failed it, of a job of several: it counts from when it waited for no other.
        """
        job = self.fresh(job_id)
        task = job.task(name) if name else job.tasks[0]
        if name and task.queue_timeout is not None and not job.begun(task):
            assert all(may_begin(job, (name, each), self.won[job_id]) for each in range(task.count)), "it was not free"
            early = timedelta(seconds=1)  # clocks differ
            assert self.now + early >= job.free_since(task) + task.queue_timeout, f"{job_id} was not waited for"
            return
        if task.queue_timeout is not None:
            return
        for node_id, infos in self._infos.items():
            ends = [at for at, _ in infos[1:]] + [self.now + timedelta(seconds=1)]
            for (_, info), end in zip(infos, ends, strict=True):
                recent = end > self.now - KEPT + timedelta(seconds=1)  # clocks differ
                matrix = ClusterView.load([NodeRow(node_id, info)], [], []).matrix
                able = recent and accepts(task.requirement, matrix, 0)
                assert not able, f"{job_id} failed, though {node_id} could do it until {end}"

    def _check_step(self, old: ExecutionRow, new: ExecutionRow) -> None:
        """Only legal transitions: forward, or out of Unknown, or into it while the node is silent."""
        if new.state is old.state:
            return
        if new.state is ExecutionState.UNKNOWN:
            assert self.nodes[new.node_id].connection is Connection.DISCONNECTED, "Unknown, though its node is heard"
        elif old.state is not ExecutionState.UNKNOWN:
            assert ORDER[new.state] > ORDER[old.state], f"{old.state} became {new.state}"
        if new.state is ExecutionState.COMPLETED:
            assert not old.revoked, "a revoked execution completed"
            if new.id in self._staged_at:
                digest = self._staged_at[new.id][1].result.digest
                assert self.final.get(new.id) == digest, f"{new.id} is Completed, and nobody can read its result"

    def check_room(self, node_ids: Iterable[str]) -> None:
        """What is reserved fits what the node has, and no port of it is two executions' at once, at every step."""
        held: defaultdict[str, Resources] = defaultdict(Resources)
        holder: dict[tuple[str, int], ExecutionRow] = {}
        for row in self.executions.values():
            if row.holds:
                held[row.node_id] += row.reserved
                for port in row.ports:
                    whose = holder.setdefault((row.node_id, port.port), row)
                    assert whose is row, f"port {port.port} of {row.node_id} is {whose.id}'s and {row.id}'s"
        for node_id in node_ids:
            capacity = self.nodes[node_id].info.capacity
            assert held[node_id].fits(capacity), f"{held[node_id]} are reserved of {capacity} on {node_id}"

    def publisher_work(self) -> PublisherCommand:
        """What the leader's sweep finds: staged for a second, and neither final nor refused."""
        left = [
            (new, new.execution_id in self.claimed)
            for execution_id, (at, new) in self._staged_at.items()
            if execution_id in self.staged and at <= self.now - timedelta(seconds=1)
        ]
        return PublisherCommand(
            finalise=staged_results((n.execution_id, n.result.digest, n.result.size) for n, counts in left if counts),
            keep=staged_results((n.execution_id, n.result.digest, n.result.size) for n, counts in left if not counts),
        )

    # ------------------------------------------------------------ the leader's view

    def check_view(self, view: ClusterView) -> None:
        """What the leader believes is what was committed."""
        held = {row.id: row for row in self.executions.values() if row.live or row.holds}
        assert view.executions == held, f"the view differs in {_difference(view.executions, held)}"
        assert view.nodes == self.nodes, f"the view differs in {_difference(view.nodes, self.nodes)}"
        reserved: defaultdict[str, Resources] = defaultdict(Resources)
        for row in held.values():
            if row.holds:
                reserved[row.node_id] += row.reserved
        for node_id, node in self.nodes.items():
            assert view.matrix.room(node_id) == node.info.capacity - reserved[node_id], (
                f"room on {node_id} is miscounted"
            )
            mine = {port.port for row in held.values() if row.holds and row.node_id == node_id for port in row.ports}
            row_of = view.matrix.row_of[node_id]
            seen = {port for port in {*mine, *NUMBERS} if not view.matrix.ports.free(row_of, (port,))}
            assert seen == mine, f"ports {seen} of {node_id} are taken to the view, in truth {mine}"
        for job in view.jobs.values():
            if job.version != self.jobs[job.id].version:
                continue  # its user has changed it since, and this leader has not read that yet
            assert job.won == self.won[job.id], (
                f"{job.id} ({job.state}, {self.jobs[job.id].state}): view and record differ in what is won"
            )

    # ------------------------------------------------------------ the end

    def check_history(self) -> None:
        """Every job's history is numbered 1..n."""
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for entry in self.history:
            numbers[entry.job_id].append(entry.seq)
        for job_id in self.jobs:
            assert numbers[job_id] == list(range(1, len(numbers[job_id]) + 1)), f"{job_id}: {numbers[job_id]}"


def _check_log(old: NodeRow | None, new: NodeRow) -> None:
    if old is None:
        return
    assert new.incarnation >= old.incarnation, "an incarnation came back"
    assert new.incarnation > old.incarnation or new.confirmed >= old.confirmed, "what was confirmed was taken back"


def _difference(mine: dict[str, object] | object, theirs: dict[str, object] | object) -> object:
    assert isinstance(mine, dict)
    assert isinstance(theirs, dict)
    names = {name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)}
    return [(mine.get(name), theirs.get(name)) for name in sorted(names)][:2]
