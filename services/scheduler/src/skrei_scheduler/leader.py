"""The shell of the leader: carries the core's work out against the record and the bus, for one epoch.

Functionally it is this loop: take what arrived, ask the core for its next commit, commit it, send what follows.
It differs in three ways, all for speed: messages are taken in while a commit is under way; under load, and only
then, a commit waits a few milliseconds for company; specs are kept at hand between plan and command.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

from skrei_domain import subjects
from skrei_domain.clock import Clock
from skrei_domain.feed import EXECUTION, JOB, Change
from skrei_domain.ids import new_evaluation_id, new_id
from skrei_domain.lifecycle import Membership
from skrei_kit import topology
from skrei_kit.bus import Bus, BusUnavailable, StreamReader
from skrei_kit.feed_post import FeedPost
from skrei_kit.metrics import Figures
from skrei_kit.observability import get_logger
from skrei_kit.supervisor import every, run_until_stopped
from skrei_kit.tokens import TokenSigner
from skrei_kit.tracing import Span
from skrei_scheduler.arrivals import Arrivals
from skrei_scheduler.collector import Collector
from skrei_scheduler.core import Core
from skrei_scheduler.departures import Departures
from skrei_scheduler.figures import COUNT_EVERY, SchedulerFigures, Term
from skrei_scheduler.receipts import Verify, trust_nobody
from skrei_scheduler.record_clock import RecordClock
from skrei_scheduler.sender import SOURCE, Doors, Sender
from skrei_scheduler.settings import SchedulerSettings
from skrei_scheduler.specs import SpecCache
from skrei_scheduler.traces import Traces, run_context
from skrei_scheduler.work import (
    Commit,
    Fetch,
)
from skrei_scheduling.changes import Changes, Locked
from skrei_scheduling.rows import ExecutionRow, JobRow
from skrei_scheduling.view import ClusterView
from skrei_store.leader import LeaderRecord

log = get_logger()

DUE_PAGE = 256  # evaluations read at once: one plan's worth
AT_HAND = 2_000  # waiting evaluations that are not read once more: 80 KB of ids; of a longer line some come twice
BUSY_COMMITS = 4  # so many that each left something waiting: a lone job's never do
BUSY_BACKLOG = 4  # so much company in the last commit means load
FULL_BACKLOG = 256  # so much waiting fills a commit: no reason to linger


class Leader:
    """One epoch of leadership. `run` ends only by an error (LeadershipLost among them) or when it is stopped."""

    def __init__(
        self,
        record: LeaderRecord,
        bus: Bus,
        signer: TokenSigner,
        settings: SchedulerSettings,
        clock: Clock,
        *,
        epoch: int,
        verify: Verify = trust_nobody,
        figures: SchedulerFigures | None = None,
        spans: Callable[[Sequence[Span]], None] | None = None,
    ) -> None:
        """Lead. `verify` reads receipts of uploads; without it nodes are told of no publisher. `spans` takes
        what commits end; without it nobody makes any.
        """
        self._spans = spans
        self._traces = None if spans is None else Traces(settings.trace_share)
        self._figures = figures or SchedulerFigures(Figures())
        self._record = record
        self._verify = verify
        self._bus = bus
        self._signer = signer
        self._settings = settings
        self._clock = RecordClock(clock)
        self._epoch = epoch
        self._specs = SpecCache()
        self._wake = asyncio.Event()
        self._read_due = asyncio.Event()
        self._commands_stream = ""
        self._last_company = 0
        self._in_a_row = 0  # commits that each left something waiting
        self._more_due = False  # a page of due evaluations was full
        self._listening = False
        self._feed = FeedPost.on(bus, SOURCE)
        self._core: Core
        self._sender: Sender
        self._departures: Departures

    async def run(self, stop: asyncio.Event) -> None:
        """Rebuild the view, take over, lead."""
        await self._record.commit((), (), self._read_clock)
        loaded = await self._record.load()
        await self._fetch_specs({(job.id, job.version) for job in loaded.jobs})
        view = ClusterView()
        for _ in view.loading(loaded.nodes, loaded.jobs, loaded.executions):
            await asyncio.sleep(0)
        gc.freeze()  # a full collection over what lives as long as the leader would hold the loop for 100 ms
        self._core = Core(
            view,
            timeline=loaded.timeline,
            epoch=self._epoch,
            now=self._clock.monotonic(),
            ids=_ids,
            heartbeat_seconds=self._settings.heartbeat_seconds,
            missed_heartbeats=self._settings.missed_heartbeats,
            keep=timedelta(seconds=self._settings.capability_seconds),
            hold_after=timedelta(seconds=self._settings.hold_after_seconds),
            verify=self._verify,
            newcomers=Membership.PENDING if self._settings.manual_approval else Membership.APPROVED,
            failing=loaded.failing,
            lists=bool(self._settings.door),
            ephemeral=timedelta(hours=self._settings.ephemeral_hours),
        )
        self._listening = True
        self._sender = Sender(
            self._bus,
            self._core,
            specs=self._specs,
            signer=self._signer,
            clock=self._clock,
            token=timedelta(hours=self._settings.token_hours),
            upload=self._settings.upload_grant,
            doors=Doors(self._settings.api_url, self._settings.door),
            trace=self._run_trace,
            stream_bytes=self._settings.stream_bytes,
        )
        self._departures = Departures(self._sender, self._specs, fetch_specs=self._fetch_specs, look=self._read_due.set)
        collector = Collector(self._record, self._settings.policy, self._clock, tell=self._sender.publisher)
        arrivals = Arrivals(
            self._core,
            self._specs,
            self._clock,
            send=self._departures.send,
            work=self._wake.set,
            look=self._read_due.set,
            collect=collector.asked.set,
            skipped=self._figures.skipped.add,
        )
        log.info("leading", epoch=self._epoch, nodes=len(view.nodes), jobs=len(view.jobs))
        reader = StreamReader(
            self._bus,
            topology.facts(self._settings.stream_bytes),
            arrivals.on_facts,
            created=loaded.position.created if loaded.position else "",
            sequence=loaded.position.sequence if loaded.position else 0,
        )
        term = Term(self._core, lambda: reader.lag)
        self._figures.lead(term)
        second, collecting = timedelta(seconds=1), timedelta(seconds=self._settings.collect_seconds)
        try:
            async with arrivals.listening(self._bus):
                self._wake.set()
                self._read_due.set()
                await run_until_stopped(
                    stop,
                    facts=reader.run(),
                    work=self._work(),
                    due=self._due(),
                    takeover=self._take_over(),
                    feed=self._feed.run(),
                    tick=every(second, self._tick, name="tick", clock=self._clock),
                    results=every(second, self._hand_over, name="results", clock=self._clock),
                    collect=every(collecting, collector.try_once, name="collect", clock=self._clock),
                    collect_now=collector.when_asked(),
                    figures=every(COUNT_EVERY, term.count, name="figures", clock=self._clock),
                )
        finally:
            self._figures.rest()
            self._departures.close()
            gc.unfreeze()

    async def _fetch_specs(self, missing: Collection[tuple[str, int]]) -> None:
        """Have the specs of these versions of jobs at hand."""
        for key, text in (await self._record.specs(missing)).items() if missing else ():
            self._specs.put(*key, text)

    def _run_trace(self, job: JobRow, row: ExecutionRow) -> str:
        """What a program is told of its trace: what came with its job, unless its execution is told of in spans."""
        return "" if self._spans is None else run_context(job, row, self._settings.trace_share).header

    def _read_clock(self, locked: Locked) -> Changes:
        self._clock.set(locked.now)
        return Changes()

    @property
    def leads(self) -> bool:
        """Whether the view is read, and decisions are made."""
        return self._listening

    def on_reconnect(self) -> None:
        """The bus is back after it was away: nobody was silent meanwhile; before the view is read nobody was heard."""
        if self._listening:
            self._core.on_reconnect(self._clock.monotonic())

    async def _take_over(self) -> None:
        """Make the streams, ask everyone to say hello; try until NATS is there. Then rest until stopped."""
        while True:
            try:
                await self._keep_streams()
                break
            except BusUnavailable as error:
                log.warning("streams_not_made", error=error.message)
                await self._clock.sleep(timedelta(seconds=1))
        await self._departures.send(self._core.takeover())
        await asyncio.get_running_loop().create_future()

    # ------------------------------------------------------------ the loops

    async def _work(self) -> None:
        while True:
            if not self._wake.is_set():
                self._in_a_row = 0  # a pause: nobody is in a hurry
            await self._wake.wait()
            self._wake.clear()
            await self._linger()
            while (work := self._core.next_work(self._clock.monotonic(), self._clock.now())) is not None:
                match work:
                    case Commit():
                        await self._commit(work)
                        await self._linger()
                    case Fetch(executions):
                        self._core.fetched(executions, await self._record.executions(executions))
                    case _:
                        await self._departures.send(work)

    async def _commit(self, work: Commit) -> None:
        self._last_company = len(work.lock) + len(work.evaluations)

        belief = self._belief(work)

        def decide(locked: Locked) -> Changes:
            if locked is not belief:  # that one was told our own guess
                self._clock.set(locked.now)
            return work.decide(locked)

        began = time.monotonic()
        ahead = self._departures.write_ahead
        changes = await self._record.commit(work.lock, work.evaluations, decide, belief, meanwhile=ahead)
        took = time.monotonic() - began
        await self._departures.send_ahead(changes)
        told = feed_of(changes, self._core.view)  # the view lets go of jobs that end
        self._feed.add(told)
        if any(job.state is not None and job.state.is_terminal for job in changes.jobs):
            await self._feed.tell()  # somebody waits for it
        if self._record.now is not None:
            self._clock.set(self._record.now)
        self._figures.committed(changes, self._core.view, took, self._clock.now())
        if self._spans is not None and self._traces is not None:
            self._spans(self._traces.committed(changes, self._core.view, self._clock.now()))
        self._tell_ends(changes)
        await self._departures.send(work.after(changes, self._clock.monotonic()))
        if self._more_due and self._core.waiting_evaluations < DUE_PAGE // 2:
            self._more_due = False
            self._read_due.set()

    def _belief(self, work: Commit) -> Locked | None:
        """Return what the rows of a commit are believed to say, where it may be decided on that."""
        jobs = [job for job_id in work.lock if (job := self._core.view.jobs.get(job_id)) is not None]
        if not work.foreseen or len(jobs) < len(work.lock):
            return None
        return self._record.believe(jobs, work.evaluations, self._clock.now())

    def _tell_ends(self, changes: Changes) -> None:
        """Let go of jobs that this commit ended, one line for each; what executions did is told at debug."""
        for change in changes.jobs:
            job = self._core.view.jobs.get(change.id)
            if change.state is None or not change.state.is_terminal or job is None:
                continue
            self._specs.forget(job.id, job.version)
            log.info(
                "job_ended",
                job_id=job.id,
                state=change.state.value,
                units=job.units,
                seconds=round((self._clock.now() - job.since).total_seconds(), 3),
                reason=change.message or "",
            )
        for row in changes.executions_new:
            log.debug("execution_placed", execution_id=row.id, job_id=row.job_id, node_id=row.node_id)
        for moved in changes.executions:
            log.debug("execution_moved", execution_id=moved.row.id, state=moved.row.state.value)

    async def _linger(self) -> None:
        """Wait for company where the last commit had some, or commits follow each other without a pause, and the next
        one would be small: a hundred single commits cost the record ten times what ten of ten do."""
        backlog = self._core.backlog()
        self._in_a_row = self._in_a_row + 1 if backlog else 0
        if (self._last_company >= BUSY_BACKLOG or self._in_a_row >= BUSY_COMMITS) and backlog < FULL_BACKLOG:
            self._last_company = 0
            await self._clock.sleep(timedelta(seconds=self._settings.linger_seconds))

    async def _due(self) -> None:
        """Read due evaluations when told to; a full page is followed by the next once it is planned.

        What is at hand is left out: its hint brought it, and reading and planning it once more would change nothing.
        """
        while True:
            await self._read_due.wait()
            self._read_due.clear()
            found = await self._record.due(DUE_PAGE, self._core.at_hand(AT_HAND))
            missing = {
                (e.job.id, e.job.version) for e in found if e.job and not self._specs.get(e.job.id, e.job.version)
            }
            await self._fetch_specs(missing)
            self._core.on_evaluations(found)
            self._more_due = len(found) == DUE_PAGE
            intents = await self._record.node_intents(DUE_PAGE)
            self._core.on_node_intents(intents)
            if found or intents:
                self._wake.set()

    async def _tick(self) -> None:
        await self._departures.send(self._core.on_tick(self._clock.monotonic()))
        self._wake.set()
        self._read_due.set()
        try:
            await self._keep_streams()
        except BusUnavailable as error:
            log.debug("streams_not_seen", error=error.message)

    async def _keep_streams(self) -> None:
        """Make the streams again where the one of commands is gone, or is another one than we made consumers on."""
        info = await self._bus.stream_info(subjects.STREAM_COMMANDS)
        if info is None or str(info.created) != self._commands_stream:
            if self._commands_stream:
                log.warning("streams_made_again")
            await self._sender.ensure_streams()
            info = await self._bus.stream_info(subjects.STREAM_COMMANDS)
            self._commands_stream = str(info.created) if info else ""

    async def _hand_over(self) -> None:
        command = await self._record.publisher_work(
            older_than_seconds=self._settings.take_over_after_seconds, ttl_hours=self._settings.result_ttl_hours
        )
        if command.take or command.finalise or command.keep:
            await self._sender.publisher(command)


def feed_of(changes: Changes, view: ClusterView) -> list[Change]:
    """Return what a commit's history is to listeners; `view` is the one that the commit was decided on."""
    return [
        Change(job.namespace, EXECUTION if item.execution_id else JOB, item.job_id, item.seq)
        for item in changes.history
        if (job := view.jobs.get(item.job_id)) is not None
    ]


def _ids(prefix: str) -> str:
    return new_evaluation_id() if prefix == "v" else new_id(prefix)
