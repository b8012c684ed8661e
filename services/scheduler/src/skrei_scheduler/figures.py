"""What the scheduler tells of itself in figures: what its commits did, and what its view of the cluster is.

Counters live as long as the process, whoever leads. Gauges are the leader's: a standby knows nothing of the cluster,
and says nothing of it. What takes a walk over all rows is walked every few seconds, a piece at a time, and not when
somebody asks.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from skrei_domain.lifecycle import Connection, ExecutionState, JobState, Membership
from skrei_kit.metrics import Figure, Figures, Sample, gauge, gauges
from skrei_scheduler.core import Core
from skrei_scheduling.changes import Changes
from skrei_scheduling.demand import Kind, Waiting, demand, why
from skrei_scheduling.view import ClusterView

COUNT_EVERY = timedelta(seconds=2)
"""How often jobs and executions are counted by state: figures are looked at every five seconds at most."""
PIECE_ROWS = 5_000
"""Counted between two breaths: about a millisecond."""
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
"""Upper ends of how long a unit waits for its first placement: from an idle cluster to an evening."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
"""Upper ends of how many placements and facts one commit has."""


NOTHING = Kind("", "")
"""Told of while nothing waits: a sum over no series is no number, and nobody scales by that."""


class SchedulerFigures:
    """The figures of one process. `lead` and `rest` say who tells the gauges; `committed` is told of each commit."""

    def __init__(self, figures: Figures) -> None:
        self.commits = figures.histogram(
            "skrei_commit_seconds", "How long one commit of the leader took, from its decision to the record's word."
        )
        self.sizes = figures.histogram("skrei_commit_rows", "Executions placed or moved by one commit.", SIZES)
        self.placements = figures.counter("skrei_placements_total", "Executions that were placed on nodes.")
        self.retries = figures.counter("skrei_retries_total", "Of those, the ones that were not a unit's first.")
        self.waits = figures.histogram(
            "skrei_placement_wait_seconds", "From a job's submission to the placement of a unit of it.", WAITS
        )
        self.ended = figures.counter("skrei_executions_ended_total", "Executions that ended, by how.", ("state",))
        self.jobs = figures.counter("skrei_jobs_ended_total", "Jobs that ended, by how.", ("state",))
        self.inputs = figures.counter(
            "skrei_input_bytes_total",
            "Bytes that ended executions read: local ones lay on their node, cached ones were fetched before, moved "
            "ones were brought for them.",
            ("where",),
        )
        self.hits = figures.counter("skrei_cache_hits_total", "Files that executions found in their node's cache.")
        self.results = figures.counter(
            "skrei_result_bytes_total", "Bytes of results, by the way that they took.", ("way",)
        )
        self.takeovers = figures.counter("skrei_takeovers_total", "How often this process began to lead.")
        self.skipped = figures.counter(
            "skrei_messages_skipped_total", "Messages that could not be read, by kind.", ("kind",)
        )
        self._term: Term | None = None
        figures.read(self._read)

    def lead(self, term: "Term") -> None:
        """This process leads: `term` knows how the cluster is."""
        self.takeovers.add()
        self._term = term

    def rest(self) -> None:
        """It leads no more."""
        self._term = None

    def committed(self, changes: Changes, view: ClusterView, seconds: float, now: datetime) -> None:
        """Count what a commit wrote; `view` is the one that it was decided on, `now` the record's time."""
        self.commits.add(seconds)
        self.sizes.add(len(changes.executions_new) + len(changes.executions))
        self.placements.add(len(changes.executions_new))
        for row in changes.executions_new:
            job = view.jobs.get(row.job_id)
            if row.attempt > 1:
                self.retries.add()
            elif job is not None:
                self.waits.add(max((now - job.since).total_seconds(), 0.0))
        for change in changes.executions:
            known = view.executions.get(change.row.id)
            if change.row.live or (known is not None and not known.live):
                continue
            self.ended.add(1, change.row.state.value)
            if change.observed is not None and (data := change.observed.data) is not None:
                self.inputs.add(max(data.local - data.cached, 0), "local")
                self.inputs.add(data.cached, "cached")
                self.inputs.add(data.moved, "moved")
                self.hits.add(data.hits)
        for result in changes.results:
            self.results.add(result.result.size, "inline" if result.staged is None else "uploaded")
        for job_change in changes.jobs:
            if job_change.state is not None and job_change.state.is_terminal and job_change.id in view.jobs:
                self.jobs.add(1, job_change.state.value)

    def _read(self) -> Iterator[Figure]:
        yield gauge("skrei_leader", "Whether this process leads; of all schedulers one does.", self._term is not None)
        if self._term is not None:
            yield from self._term.read()


class Term:
    """What one leader knows, told in figures. `lag` is how many fact messages wait in their stream."""

    def __init__(self, core: Core, lag: Callable[[], int]) -> None:
        self._core = core
        self._lag = lag
        self._jobs: Counter[JobState] = Counter()
        self._executions: Counter[ExecutionState] = Counter()

    async def count(self) -> None:
        """Count jobs and executions by state, a piece at a time."""
        view = self._core.view
        jobs: Counter[JobState] = Counter()
        executions: Counter[ExecutionState] = Counter()
        rows = list(view.jobs.values())
        for first in range(0, len(rows), PIECE_ROWS):
            jobs.update(row.state for row in rows[first : first + PIECE_ROWS] if not row.state.is_terminal)
            await asyncio.sleep(0)
        held = list(view.executions.values())
        for first in range(0, len(held), PIECE_ROWS):
            executions.update(row.state for row in held[first : first + PIECE_ROWS] if row.live)
            await asyncio.sleep(0)
        self._jobs, self._executions = jobs, executions

    def read(self) -> Iterator[Figure]:
        """Yield every gauge as it is now."""
        core, view = self._core, self._core.view
        yield gauge("skrei_leader_epoch", "Which leadership this is.", core.epoch)
        yield from self._pressure()
        yield from waiting_figures(demand(view.waiting.all_units()))
        yield gauges(
            "skrei_jobs_waiting",
            "Jobs that wait for room, by why; the first classes of work are looked at.",
            "reason",
            why(view),
        )
        open_states = [state for state in JobState if not state.is_terminal]
        yield gauges(
            "skrei_jobs",
            "Jobs that have not ended, by state.",
            "state",
            {state.value: self._jobs[state] for state in open_states},
        )
        live = [state for state in ExecutionState if not state.is_terminal]
        yield gauges(
            "skrei_executions",
            "Executions that have not ended, by state.",
            "state",
            {state.value: self._executions[state] for state in live},
        )
        yield from node_figures(view)

    def _pressure(self) -> Iterator[Figure]:
        core = self._core
        yield gauge("skrei_facts_lag_messages", "Batches of facts in their stream that were not read yet.", self._lag())
        yield gauge(
            "skrei_facts_queued_batches", "Batches of facts that were read and wait for a commit.", core.waiting_facts
        )
        yield gauge("skrei_facts_queued_bytes", "Their bytes, as they came.", core.waiting_fact_bytes)
        yield gauge(
            "skrei_evaluations_pending", "Evaluations in memory that wait for a plan.", core.waiting_evaluations
        )


def waiting_figures(found: dict[Kind, Waiting]) -> Iterator[Figure]:
    """Yield the scaling signal: what waits for room, by the kind of machine that could run it."""
    kinds = found or {NOTHING: Waiting()}
    for name, text, values in (
        ("skrei_waiting_units", "Units that wait for room.", [each.units for each in kinds.values()]),
        ("skrei_waiting_cpu_cores", "Cores that they need.", [each.cpu_milli / 1000 for each in kinds.values()]),
        ("skrei_waiting_memory_bytes", "Memory that they need.", [each.memory_bytes for each in kinds.values()]),
        ("skrei_waiting_gpus", "GPUs that they need.", [each.gpus for each in kinds.values()]),
    ):
        labels = [(("engine", kind.engine), ("constraints", kind.constraints)) for kind in kinds]
        samples = tuple(Sample(value, told) for value, told in zip(values, labels, strict=True))
        yield Figure(name, "gauge", f"{text} By engine and constraints: what a machine for them must have.", samples)


def node_figures(view: ClusterView) -> Iterator[Figure]:
    """Yield nodes by standing, and what those that take work have, whole and free."""
    found = Counter((node.membership, node.connection) for node in view.nodes.values())
    yield Figure(
        "skrei_cluster_nodes",
        "gauge",
        "Nodes, by membership and by whether they are heard.",
        tuple(
            Sample(found[member, link], (("membership", member.value.lower()), ("connection", link.value.lower())))
            for member in Membership
            for link in Connection
        ),
    )
    ready = view.matrix.ready[: view.matrix.rows]
    whole = view.matrix.capacity[:, : view.matrix.rows][:, ready].sum(axis=1).tolist()
    free = view.matrix.free[:, : view.matrix.rows][:, ready].sum(axis=1).tolist()
    for place, name, unit, parts in ((0, "cpu", "cores", 1000), (1, "memory", "bytes", 1), (3, "gpu", "devices", 1)):
        yield gauge(f"skrei_capacity_{name}_{unit}", f"What nodes that take work have of {name}.", whole[place] / parts)
        yield gauge(f"skrei_free_{name}_{unit}", "What of that no execution holds.", free[place] / parts)
