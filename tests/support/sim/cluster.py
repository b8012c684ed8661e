"""A whole cluster in one process, on virtual time: users, two schedulers, nodes, and everything that goes wrong.

`Cluster(seed).run()` lives through a time of faults, then through a time without; the rules of the record hold at
every commit (see `record`), and `check_end` says what must be true once nothing goes wrong any more.
"""

import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from skrei_compute_agent.events import LinkLost
from skrei_domain.job import JobSpec
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ExecutionState, JobState, NodeAction
from skrei_domain.messages import CommandBatch, Confirm, Heartbeat, Hello, HelloReply, PublisherCommand, PublisherFact
from skrei_domain.node import NodeInfo
from skrei_domain.spec import encode
from skrei_scheduler.specs import SpecCache
from skrei_scheduling.compile import compile_job
from skrei_scheduling.feasibility import accepts
from skrei_scheduling.rows import Evaluation, JobRow, NodeIntent, NodeRow, TaskPlan
from skrei_scheduling.view import ClusterView
from tests.support.builders import counting_ids
from tests.support.sim import scenery
from tests.support.sim.agenda import Agenda
from tests.support.sim.leader import SimLeader
from tests.support.sim.network import Network, Weather
from tests.support.sim.node import SimNode
from tests.support.sim.orders import ordered
from tests.support.sim.ports import with_ports
from tests.support.sim.publisher import SimPublisher
from tests.support.sim.record import SimRecord
from tests.support.task_life import may_begin

STORY_LINES = 120
CALM_SECONDS = 1_500.0  # ten attempts with their pauses, a wait for a silent node, and two minutes of self-suspicion
LOOK_SECONDS = 15.0
KEPT_SECONDS = 400.0  # after all faults, within which what runs until it is stopped must run again everywhere


class Cluster:
    """One seeded life of a cluster."""

    def __init__(self, seed: int, *, several: bool = False, ports: bool = False) -> None:
        self.seed = seed
        self.ports = random.Random(seed) if ports else None  # what chooses which of its jobs want ports by number
        self.several = several  # its jobs have several tasks, which wait for each other
        self.rng = random.Random(seed)
        self.story: deque[str] = deque(maxlen=STORY_LINES)
        self.agenda = Agenda()
        self.record = SimRecord(self.agenda)
        self.weather = Weather()
        self.network = Network(self.agenda, self.rng, self.weather)
        self.ids = counting_ids()
        self.specs = SpecCache()
        self.texts: dict[tuple[str, int], str] = {}
        self.record.rolled_back = self.went_back  # type: ignore[method-assign]
        self.hints_lost = self.rng.choice([0.0, 0.0, 0.3, 1.0])
        self.scene = scenery.choose(self.rng)
        if several:
            jobs = tuple((moment, ordered(self.rng, spec)) for moment, spec in self.scene.jobs)
            self.scene = replace(self.scene, jobs=jobs)
        if self.ports is not None:
            jobs = tuple((moment, with_ports(self.ports, spec)) for moment, spec in self.scene.jobs)
            self.scene = replace(self.scene, jobs=jobs)
        self.publisher = SimPublisher(self.agenda, self.rng, self.tell)
        self.nodes = [SimNode(info, self.agenda, self.network, self.rng, self.tell) for info in self.scene.nodes]
        door = self.rng.choice(["", *["http://publisher"] * 9])
        self.leaders = [
            SimLeader(
                name,
                self.record,
                self.agenda,
                self.network.facts,
                self,
                specs=self.specs,
                ids=self.ids,
                rng=self.rng,
                tell=self.tell,
                publisher_url=door,
            )
            for name in ("scheduler-a", "scheduler-b")
        ]
        self._numbers = itertools.count(1)
        self._by_id = {node.id: node for node in self.nodes}
        self.publisher.answer = self.published
        self.record.final = self.publisher.final

    def tell(self, line: str) -> None:
        self.story.append(f"{self.agenda.now:9.3f} {line}")

    # ------------------------------------------------------------ who hears whom

    def hello(self, hello: Hello, answer: Callable[[HelloReply], None]) -> None:
        for leader in self.leaders:
            leader.hello(hello, answer)

    def heartbeat(self, beat: Heartbeat) -> None:
        for leader in self.leaders:
            leader.heartbeat(beat)

    def publish(self, command: PublisherCommand) -> None:
        if self.rng.random() >= self.weather_of_publisher():
            self.publisher.command(command)

    def published(self, fact: PublisherFact) -> None:
        for leader in self.leaders:
            leader.published(fact)

    def weather_of_publisher(self) -> float:
        """How often a message to or from the publisher is lost."""
        return self.network.weather.drop

    def facts_came(self) -> None:
        for leader in self.leaders:
            leader.facts_came()

    def commands(self, node_id: str, batch: CommandBatch) -> None:
        node = self._by_id[node_id]
        self.network.send(node_id, lambda: node.process.commanded(batch) if node.process else None, kept=True)

    def confirm(self, node_id: str, confirm: Confirm) -> None:
        node = self._by_id[node_id]
        self.network.send(node_id, lambda: node.process.confirmed(confirm) if node.process else None)

    # ------------------------------------------------------------ users

    def keep(self, job_id: str, version: int, text: str) -> None:
        self.texts[job_id, version] = text
        self.specs.put(job_id, version, text)

    def went_back(self, job_id: str, good: int, version: int) -> None:
        self.tell(f"{job_id} goes back to version {good} as version {version}")
        self.keep(job_id, version, self.texts[job_id, good])

    def submit(self, spec: JobSpec) -> None:
        job_id, evaluation_id = self.ids("j"), self.ids("v")
        job = compile_job(
            spec,
            id=job_id,
            namespace="default",
            name=spec.name,
            generation=1,
            version=1,
            state=JobState.PENDING,
            created_at=self.agenda.wall,
        )
        self.keep(job_id, 1, encode(spec))
        self.record.tick()
        self.record.submit(job, evaluation_id)
        self.tell(f"{job_id} is submitted: {spec.count} of {spec.tasks[0].engine.params}")
        self.hint(Evaluation(evaluation_id, job_id, "job-register", self.record.fresh(job_id)))
        if self.rng.random() < self.scene.stopped:
            self.agenda.after(self.rng.expovariate(1 / 10.0), lambda: self.stop(job_id))
        for _ in range(self.rng.choice([1, 1, 2, 5]) if self.rng.random() < self.scene.changed else 0):
            change = self.rng.choice([self.update, self.update, self.rerun])
            self.agenda.after(self.rng.expovariate(1 / 10.0), lambda change=change: change(job_id, spec))  # type: ignore[misc]

    def update(self, job_id: str, spec: JobSpec) -> None:
        """A new spec under the same name, whatever the job is doing."""
        spec = scenery.another(self.rng, spec)
        if self.several:
            spec = ordered(self.rng, spec)
        if self.ports is not None:
            spec = with_ports(self.ports, spec)
        self.next_version(job_id, spec, "job-update")

    def rerun(self, job_id: str, spec: JobSpec) -> None:
        """The spec it began with once more, unless it waits to begin."""
        if self.record.jobs[job_id].state in (JobState.PENDING, JobState.QUEUED):
            return
        self.next_version(job_id, spec, "job-rerun")

    def next_version(self, job_id: str, spec: JobSpec, trigger: str) -> None:
        if self.agenda.now >= self.scene.seconds:
            return
        old, evaluation_id = self.record.jobs[job_id], self.ids("v")
        job = compile_job(
            spec,
            id=job_id,
            namespace="default",
            name=spec.name,
            generation=old.generation,
            version=old.version,
            state=old.state,
            created_at=old.created_at,
        )
        last = self.specs.get(job_id, old.version)
        anew = last is not None and encode(last.parsed) == encode(spec)
        self.tell(f"{job_id}, {old.state}, by {trigger}: {spec.count} of {spec.tasks[0].engine.params}")
        self.keep(job_id, old.version + 1, encode(spec))
        self.record.tick()
        self.record.update(job, evaluation_id, trigger, anew=anew)
        self.hint(Evaluation(evaluation_id, job_id, trigger, self.record.fresh(job_id)))

    def stop(self, job_id: str) -> None:
        if self.record.jobs[job_id].state.is_terminal:
            return
        self.tell(f"{job_id} is stopped by its user")
        evaluation_id = self.ids("v")
        self.record.tick()
        self.record.stop(job_id, evaluation_id)
        self.hint(Evaluation(evaluation_id, job_id, "job-cancel", self.record.fresh(job_id)))

    def hint(self, evaluation: Evaluation) -> None:
        """Tell whoever leads; lost, late or twice, as hints are."""
        if self.rng.random() < self.hints_lost:
            return
        late = self.rng.random() < 0.2
        for _ in range(self.rng.choice([1, 1, 1, 2])):
            delay = self.rng.uniform(0.0, 30.0) if late else self.rng.uniform(0.0005, 0.01)
            for leader in self.leaders:
                self.agenda.after(delay, lambda leader=leader: leader.hint([evaluation]))  # type: ignore[misc]

    # ------------------------------------------------------------ a life

    def run(self) -> None:
        """Live through the faults, then through the calm, and check what must be true in the end."""
        for node in self.nodes:
            node.plane = self
            node.publisher = self.publisher
            node.flaky = self.scene.flaky
            self.agenda.after(self.rng.uniform(0.0, 2.0), node.start)
        for leader in self.leaders:
            self.agenda.after(self.rng.uniform(0.0, 0.5), leader.stand_by)
        for moment, spec in self.scene.jobs:
            self.agenda.after(moment, lambda spec=spec: self.submit(spec))  # type: ignore[misc]
        for moment, fault in self.scene.faults:
            self.agenda.after(moment, lambda fault=fault: self.strike(fault))  # type: ignore[misc]
        self.operate()
        self.agenda.run_until(self.scene.seconds)
        self.calm()
        self.keeps_alive()
        end = self.agenda.now + CALM_SECONDS
        while self.agenda.now < end and self.unsettled():
            self.agenda.run_until(self.agenda.now + LOOK_SECONDS)
        for node in self.nodes:  # `forget` is said once; a hello repeats it
            if node.process is not None:
                node.process.reconnected()
        self.agenda.run_until(self.agenda.now + LOOK_SECONDS)
        self.check_end()

    def operate(self) -> None:
        """Let an operator close, drain and open nodes in some lives."""
        chosen = random.Random(-self.seed)
        for _ in range(chosen.choice([0, 0, 1, 3])):
            node, begins = chosen.choice(self.nodes), chosen.uniform(1.0, self.scene.seconds)
            action = chosen.choice([NodeAction.CORDON, NodeAction.DRAIN, NodeAction.DRAIN])
            seconds = chosen.choice([None, 0.0, 5.0, 30.0]) if action is NodeAction.DRAIN else None
            self.agenda.after(begins, partial(self.want, node.id, action, seconds))
            self.agenda.after(begins + chosen.uniform(5.0, 60.0), partial(self.want, node.id, NodeAction.UNCORDON))

    def want(self, node_id: str, action: NodeAction, seconds: float | None = None) -> None:
        """Write down what is wanted of a node."""
        self.tell(f"{node_id}: {action}, {seconds}")
        self.record.intents.append(NodeIntent(next(self._numbers), node_id, action, seconds=seconds))

    def strike(self, fault: str) -> None:
        """Do one thing that goes wrong."""
        if self.agenda.now >= self.scene.seconds:
            return
        node, leader = self.rng.choice(self.nodes), self.rng.choice(self.leaders)
        seconds = self.rng.choice([1.0, 4.0, 12.0, 25.0, 60.0])
        match fault:
            case "crash" | "wipe":
                node.crash(wipe=fault == "wipe")
                self.agenda.after(self.rng.choice([0.05, 1.0, 5.0, 30.0]), node.start)
            case "leave":
                node.leave()
                self.agenda.after(seconds, node.start)
            case "gone":
                if sum(not each.gone for each in self.nodes) > 1:
                    node.crash()
                    node.gone = True
            case "cut":
                self.cut(node, seconds)
            case "island":  # longer than silence and most waits, about as long as the work
                self.cut(node, self.rng.uniform(18.0, 50.0))
            case "cut-all":
                for each in self.nodes:
                    self.cut(each, seconds)
            case "shift":
                self.shift(node)
            case "publisher-away":
                self.publisher.die(self.rng.choice([0.5, 3.0, 20.0, 60.0]))
            case "publisher-loses":
                self.publisher.lose()
            case "publisher-no":
                self.publisher.refuses = self.rng.choice([0.3, 1.0])
                self.agenda.after(seconds, lambda: setattr(self.publisher, "refuses", 0.0))
            case "publisher-slow":
                self.publisher.slow_seconds = self.rng.choice([2.0, 10.0])
                self.publisher.facts_lost = 0.3
            case "freeze":
                leader.freeze(self.rng.choice([0.5, 2.0, 4.0, 9.0, 40.0]))
            case "kill":
                leader.die(self.rng.choice([0.1, 3.0, 10.0]))
            case "deafen":
                leader.deafen(seconds)
            case "doom":
                leader.doomed = 0.1
            case "wipe-streams":
                self.tell("all streams are wiped")
                self.network.wipe()
            case "storm":
                self.tell("a storm begins")
                self.network.weather = Weather(drop=self.rng.choice([0.05, 0.3]), repeat=0.1, slow=0.2)
                self.agenda.after(seconds, self.clear)
            case _:
                raise AssertionError(f"no such fault: {fault}")

    def cut(self, node: SimNode, seconds: float) -> None:
        self.tell(f"{node.id} is cut off for {seconds:.0f} s")
        self.network.cut(node.id, self.agenda.now + seconds)
        if self.rng.random() < 0.7:  # else the connection outlives the cut: nobody notices a reconnect
            if node.process is not None:
                node.process.post(LinkLost())
            self.agenda.after(seconds + 0.01, lambda: node.process.reconnected() if node.process else None)

    def shift(self, node: SimNode) -> None:
        """It can do less, or something else, for a while or for good."""
        before = node.info
        less: dict[str, object] = self.rng.choice(
            [{"engines": before.engines[:1]}, {"engines": ()}, {"labels": {"zone": "c"}}, {"storages": ()}]
        )
        node.become(before.model_copy(update=less))
        if self.rng.random() < 0.6:
            self.agenda.after(self.rng.choice([5.0, 60.0, 400.0]), lambda: node.become(before))

    def clear(self) -> None:
        self.network.weather = Weather()

    def calm(self) -> None:
        """No more faults: whoever is not gone for good is there again."""
        self.tell("all faults stop")
        self.network.heal()
        self.hints_lost = 0.0
        self.publisher.heal()
        for leader in self.leaders:
            leader.heal()
        for node in self.nodes:
            self.want(node.id, NodeAction.UNCORDON)
            node.flaky = 0.0
            self.agenda.after(1.0, node.start)

    def keeps_alive(self) -> None:
        """What runs until it is stopped runs as often as it should once nothing goes wrong; then it is stopped."""
        endless = [job.id for job in self.record.jobs.values() if job.kind.endless and not job.state.is_terminal]
        end = self.agenda.now + KEPT_SECONDS
        missing = self.not_kept(endless)
        while missing and self.agenda.now < end:
            self.agenda.run_until(self.agenda.now + LOOK_SECONDS)
            missing = self.not_kept(endless)
        assert not missing, missing
        for job_id in endless:
            self.stop(job_id)

    def not_kept(self, job_ids: list[str]) -> str:
        """Return which of these jobs do not run where they should, and could."""
        for job in (self.record.jobs[each] for each in job_ids):
            if job.state.is_terminal or job.tasks[0].requirement.resources.cpu_milli > 500:
                continue  # it failed before it ever ran, or may rightly wait for room
            if job.kind is Kind.SERVICE and job.tasks[0].requirement.ports:
                continue  # as many nodes as it needs may not have its port to give
            engine = self.specs.get(job.id, job.version)
            assert engine is not None
            if engine.parsed.tasks[0].engine.params["seconds"] < 1e6:
                continue  # it ends again and again
            rows = [row for row in self.record.executions.values() if row.job_id == job.id and row.live]
            runs = {row.partition for row in rows if row.state is ExecutionState.RUNNING and not row.revoked}
            there = [node.id for node in self.nodes if not node.gone and self.could_run(job.tasks[0], node.info)]
            busy = {row.node_id for row in self.record.executions.values() if row.holds and row.job_id != job.id}
            if job.kind is Kind.DAEMON:
                lacks = [each for each in there if job.targets.get(each) not in runs and each not in busy]
                if lacks:
                    return f"{job.id} does not run on {lacks}"
                continue
            cpu = job.tasks[0].requirement.resources.cpu_milli
            capacities = (node.info.capacity.cpu_milli // cpu for node in self.nodes if node.id in there)
            away = any(row.state is ExecutionState.UNKNOWN for row in rows)
            fits = sum(capacities) >= job.units + job.update.surge
            if fits and not busy and not away and len(runs) < job.units:
                return f"{job.id} runs {len(runs)} times, not {job.units}"
        return ""

    # ------------------------------------------------------------ the end

    def unsettled(self) -> str:
        """Return what is not as it must be in the end, or nothing."""
        alive = {node.id: node for node in self.nodes if not node.gone}
        for job in self.record.jobs.values():
            if not job.state.is_terminal and not self.may_wait(job):
                return f"{job.id} is {job.state}, though a node could run it"
        for row in self.record.executions.values():
            if row.node_id not in alive:
                continue
            if row.live:
                return f"{row.id} is {row.state} on {row.node_id}, which is there"
            if row.holds:
                return f"{row.id} ended as {row.state} and still holds its room on {row.node_id}"
        for node in alive.values():
            process = node.process
            if process is None or not process.machine.greeted:
                return f"{node.id} is not greeted"
            if process.working:
                return f"{node.id} runs {sorted(process.working)}, which nobody wants"
            if process.machine.node.memory.known.listed and self.record.staged:
                return f"{sorted(self.record.staged)} are staged, and nobody makes them final"
            if process.machine.node.memory.outbox:
                return f"{node.id} has facts that nobody confirmed"
        return ""

    def check_end(self) -> None:
        problem = self.unsettled()
        assert not problem, problem
        assert not self.record.staged, f"{sorted(self.record.staged)} are neither final nor refused"
        for node in self.nodes:
            if node.process is not None and not node.gone:
                kept = sorted(node.process.machine.node.memory.known.listed)
                assert not kept, f"{node.id} still keeps {kept}"
        self.record.check_history()
        assert len(self.record.jobs) == len(self.scene.jobs), "a job is missing"

    def may_wait(self, job: JobRow) -> bool:
        """Whether what is left of a job can rightly wait: none that is there could run it, and one is away."""
        left = [unit for unit in job.all_units() if unit not in self.record.won[job.id] and unit not in job.failed]
        free = [unit for unit in left if not job.ordered or may_begin(job, unit, self.record.won[job.id])]
        return any(node.gone for node in self.nodes) and all(
            self.kept(job, unit)
            or not any(self.could_run(job.task(unit[0]), node.info) for node in self.nodes if not node.gone)
            for unit in free
        )

    def kept(self, job: JobRow, unit: tuple[str, int]) -> bool:
        """Whether a unit waits for a node that is gone, as its job wants it."""
        rows = [
            row
            for row in self.record.executions.values()
            if (row.job_id, row.job_version, row.unit) == (job.id, job.version, unit)
        ]
        return not job.offline.replace and any(row.live and not row.revoked for row in rows)

    def could_run(self, task: TaskPlan, info: NodeInfo) -> bool:
        row = NodeRow(info.node_id, info)
        matrix = ClusterView.load([row], [], []).matrix
        return accepts(task.requirement, matrix, matrix.row_of[row.id])


def live(seed: int, *, several: bool = False, ports: bool = False) -> Cluster:
    """Run one life; a failure tells its seed and the last of what happened."""
    cluster = Cluster(seed, several=several, ports=ports)
    try:
        cluster.run()
    except Exception as error:
        story = "\n  ".join(cluster.story)
        raise AssertionError(
            f"seed {seed} (replay: make sim SEED={seed}) at {timedelta(seconds=cluster.agenda.now)}: "
            f"{type(error).__name__}: {error}\n  {story}"
        ) from error
    return cluster
