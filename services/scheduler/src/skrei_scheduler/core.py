"""The leader without I/O: messages in, commits to make out, and what to send once they are made.

The cycle, which the shell (`leader.py`) and the simulation both drive:

1. The shell hands in what arrived (`on_*`), with the monotonic time.
2. `next_work()` names the most urgent commit: a hello, facts, silence, unanswered offers, evaluations; or a read.
3. The shell commits it: the record locks lease and rows, calls `work.decide`, writes, commits.
4. `work.after` advances the view by what was written and returns what to send.

Nothing else changes the view, and one commit is under way at a time, so that plans and facts are one order.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from skrei_domain.bounds import wrong_with_hello
from skrei_domain.ids import IdSource
from skrei_domain.lifecycle import Connection, Membership, Want
from skrei_domain.messages import (
    Confirm,
    ExecutionObserved,
    Fact,
    FactBatch,
    Heartbeat,
    Hello,
    HelloReply,
    NodeChanged,
    Problem,
    PublisherFact,
    Unreadable,
)
from skrei_domain.sync import LeaderSide, NodeLog
from skrei_scheduler.quarantine import FACT_QUARANTINED, keep_unreadable, settle_apart
from skrei_scheduler.welcome import LOST_BY_JOURNAL, Welcome, take
from skrei_scheduler.work import Commit, Fetch, Outgoing, ReadSoon, Reply, Report, SendCommands, SendConfirm
from skrei_scheduling import memory
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, Locked, Position
from skrei_scheduling.held import HOLD_AFTER
from skrei_scheduling.membership import (
    disconnect_into,
    half_silent,
    live_on,
    lose_into,
    quiet_into,
    unanswered_into,
)
from skrei_scheduling.rows import Evaluation, ExecutionRow, NodeRow
from skrei_scheduling.schedule import schedule
from skrei_scheduling.settle import jobs_of
from skrei_scheduling.view import ClusterView

FACTS_A_COMMIT = 1_000  # about 30 ms of bulk write; more only delays the confirmations of the first
EVALUATIONS_A_PLAN = 256
PLACEMENTS_A_PLAN = 1_000  # a plan holds the event loop for as long as it computes: 1,000 take about 10 ms
ASK_AFTER_SECONDS = 10.0  # an offer unanswered while its node heartbeats: ask the node to say hello
GIVE_UP_AFTER_SECONDS = 30.0  # then revoke it and try elsewhere
A_PIECE = 500  # executions of a node that one commit makes Unknown, lost or known again: about 20 ms
HOPELESS_A_LOOK = 1_000  # waiting jobs that are found hopeless and woken at once; more with the next tick
SELF_SUSPICION_SECONDS = 120.0  # when a third of the nodes falls silent at once it is probably us
SELF_SUSPICION_NODES = 3
SWEEP_SECONDS = 10.0  # how long a waiting job may stay unseen after a wake-up was missed


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A batch of facts, and where the stream stood behind it."""

    batch: FactBatch
    position: Position | None


@dataclass(slots=True)
class _Offer:
    """A command that its node has not been seen to apply."""

    revision: int
    since: float
    asked: bool = False


@dataclass(slots=True)
class _Inbox:
    """What arrived and waits for its commit."""

    hellos: dict[tuple[str, str, int], tuple[Hello, str]] = field(default_factory=dict)  # the latest of each page
    facts: deque[_Arrived] = field(default_factory=deque)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)  # by id, or by job for a wake-up
    leaving: dict[str, str] = field(default_factory=dict)  # node -> why
    stored: deque[PublisherFact] = field(default_factory=deque)


class Core:
    """The leader of one epoch over its view of the cluster."""

    def __init__(
        self,
        view: ClusterView,
        *,
        timeline: int,
        epoch: int,
        now: float,
        ids: IdSource,
        heartbeat_seconds: float = 5.0,
        missed_heartbeats: int = 3,
        keep: timedelta = memory.KEPT,
        hold_after: timedelta = HOLD_AFTER,
        piece: int = A_PIECE,
    ) -> None:
        self.view = view
        self.epoch = epoch
        self.side = LeaderSide(timeline, epoch, heartbeat_seconds=heartbeat_seconds, missed=missed_heartbeats)
        self._ids = ids
        self._keep = keep
        self._hold_after = hold_after
        self._piece = piece
        self._inbox = _Inbox()
        self._welcomes: dict[str, Welcome] = {}  # nodes that are being taken in
        self._quieting: dict[str, tuple[str, deque[str]]] = {}  # silent nodes: why, and what is not Unknown yet
        self._facts_had_a_turn = True
        self._late: dict[str, ExecutionRow | None] = {}  # read for the facts at hand; None: the record has no such
        self._offers: dict[str, _Offer] = {}
        self._overdue: list[str] = []  # offers to give up, as of the last tick
        self._quiet_since = now  # silence counts from here: takeover, our reconnect, a jump of our clock
        self._suspect_until = float("-inf")
        self._last_tick = now
        self._swept = now
        self._look_for_hopeless = False
        self._seeds = itertools.count(1)
        for row in view.executions.values():
            self._note_offer(row, now)
        for job_id in view.jobs:
            self._wake(job_id, "takeover")
        for node_id, left in half_silent(view).items():  # the leader before us did not come to its end
            self._quieting[node_id] = (view.nodes[node_id].error, deque(left))

    @property
    def silence_seconds(self) -> float:
        """How long a node may be silent."""
        return self.side.heartbeat_seconds * self.side.missed

    # ------------------------------------------------------------ what arrives

    def takeover(self) -> list[Outgoing]:
        """Ask every node to say hello: this leader knows nothing of what they were told."""
        return [SendConfirm(node_id, self.side.ask_hello()) for node_id in self.view.nodes]

    def on_reconnect(self, now: float) -> None:
        """Our own link was away: nobody was silent, we were deaf."""
        self._quiet_since = now

    def on_hello(self, hello: Hello, reply_to: str) -> None:
        """A node introduces itself; what it said before and was not answered is replaced."""
        self._inbox.hellos[hello.node_id, hello.boot_id, hello.page] = (hello, reply_to)

    def on_facts(self, batch: FactBatch, position: Position | None) -> None:
        """A stretch of a node's log."""
        self._inbox.facts.append(_Arrived(batch, position))

    def on_heartbeat(self, beat: Heartbeat, now: float) -> list[Outgoing]:
        """A node lives, or says that it leaves."""
        node = self.view.nodes.get(beat.node_id)
        if beat.leaving:
            if node is not None and beat.boot_id == node.boot_id:
                self.side.leave(beat.node_id)
                self._inbox.leaving[beat.node_id] = "graceful shutdown"
            return []
        confirm = self.side.heartbeat(_log_of(node), beat, now)
        return [] if confirm is None else [SendConfirm(beat.node_id, confirm)]

    def on_evaluations(self, evaluations: Iterable[Evaluation]) -> None:
        """Evaluations that are due, from the record or from a hint; a repeat replaces the older one."""
        for evaluation in evaluations:
            self._inbox.evaluations[evaluation.id or evaluation.job_id] = evaluation

    def on_publisher_fact(self, fact: PublisherFact) -> None:
        """The publisher holds results, or has dropped them."""
        self._inbox.stored.append(fact)

    def backlog(self) -> int:
        """How much waits for a commit; the shell lingers for company only while this is high."""
        return len(self._inbox.facts) + len(self._inbox.evaluations)

    @property
    def waiting_facts(self) -> int:
        """How many batches of facts wait; evaluations must never hold them up."""
        return len(self._inbox.facts)

    @property
    def waiting_evaluations(self) -> int:
        """How many evaluations wait for a plan."""
        return len(self._inbox.evaluations)

    def on_tick(self, now: float) -> list[Outgoing]:
        """Once a second: notice silence and unanswered offers, repeat commands that stayed unseen."""
        if now - self._last_tick > max(2.0, self.side.heartbeat_seconds):
            self._quiet_since = now  # we were stopped, or our clock jumped
        self._last_tick = now
        self._notice_silence(now)
        self._sweep_waiting(now)
        self._overdue = self._find_overdue(now)
        return self._repeat_offers(now)

    # ------------------------------------------------------------ the next commit

    def next_work(self, now: float, wall: datetime) -> Commit | Fetch | list[Outgoing] | None:
        """Return the next commit, a read that it needs, or messages that need no commit; None when idle.

        `now` is monotonic seconds, `wall` the record's time: what waits and timeouts are compared with.
        """
        if self._inbox.hellos:
            return self._greet(*self._inbox.hellos.pop(next(iter(self._inbox.hellos))), now)
        if self._welcomes and (self._facts_had_a_turn or not self._inbox.facts):
            self._facts_had_a_turn = False
            return self._take_in(next(iter(self._welcomes.values())))
        if self._inbox.facts:
            self._facts_had_a_turn = True
            return self._take_facts(now)
        if self._inbox.leaving or self._quieting:
            return self._disconnect()
        if self._inbox.stored:
            return self._take_stored()
        if self._overdue:
            return self._give_up()
        self._wake_hopeless(wall)
        if self._inbox.evaluations:
            return self._plan(wall)
        return None

    def fetched(self, asked: Iterable[str], rows: Mapping[str, ExecutionRow]) -> None:
        """Take what a `Fetch` read."""
        for execution_id in asked:
            self._late[execution_id] = rows.get(execution_id)

    # ------------------------------------------------------------ hello

    def _greet(self, hello: Hello, reply_to: str, now: float) -> Commit | list[Outgoing]:
        node = self.view.nodes.get(hello.node_id)
        if node is not None and node.membership is Membership.REJECTED:
            problem = Problem(code="node-rejected", message=f"node {hello.node_id} was rejected: {node.error}")
            return [Reply(reply_to, HelloReply(timeline=self.side.timeline, epoch=self.epoch, refusal=problem))]
        if wrong := wrong_with_hello(hello, self.side.timeline):
            return [Reply(reply_to, self.refusal(wrong))]
        known = self._welcomes.get(hello.node_id)
        if known is not None and known.hello.boot_id == hello.boot_id:
            del self._welcomes[hello.node_id]  # it speaks anew: what is left of this one is found again
        mine = {row.id: row for row in self.view.of_node(hello.node_id)}
        greeting = self.side.greet(_log_of(node), mine, hello, now)
        if greeting.restored:
            return self._new_timeline(hello)
        if greeting.log is None:
            out: list[Outgoing] = [Reply(reply_to, greeting.reply)]
            if greeting.challenge is not None:
                out.append(SendConfirm(hello.node_id, greeting.challenge))
            return out
        self._heard_again(hello.node_id)
        welcome = self._welcomes[hello.node_id] = Welcome.of(hello, reply_to, greeting, greeting.log)
        return self._take_in(welcome)

    def refusal(self, wrong: str) -> HelloReply:
        """Return the answer to a hello that says what cannot be."""
        problem = Problem(code="bad-hello", message=f"this hello is not taken: {wrong}")
        return HelloReply(timeline=self.side.timeline, epoch=self.epoch, refusal=problem)

    def _heard_again(self, node_id: str) -> None:
        """What was left of the node's silence is not told any more."""
        self._inbox.leaving.pop(node_id, None)
        self._quieting.pop(node_id, None)

    def _take_in(self, welcome: Welcome) -> Commit:
        """Return the next piece of taking a node in."""
        if welcome.answered:
            return self._revive(welcome)
        if len(welcome.lost) > self._piece:
            some = take(welcome.lost, self._piece)
            return self._of_rows("hello", some, lambda builder: lose_into(builder, some, LOST_BY_JOURNAL))
        return self._register(welcome)

    def _register(self, welcome: Welcome) -> Commit:
        lost = welcome.begin(self.view)
        some = take(welcome.left, max(self._piece - len(lost), 0))
        node_id, greeting = welcome.hello.node_id, welcome.greeting

        def after(changes: Changes, now: float) -> list[Outgoing]:
            out = self._advance(changes, now)
            out.insert(0, Reply(welcome.reply_to, greeting.reply, node_id))
            self._restart_offers(node_id, now)
            self._heard_again(node_id)
            welcome.answered = True
            self._let_go_of(welcome)
            unseen = [self.view.executions[i] for i in greeting.unseen if i in self.view.executions]
            if unseen:
                out.append(SendCommands(node_id, tuple(unseen)))
            if greeting.orphans:
                report = {"node_id": node_id, "executions": ",".join(greeting.orphans)}
                out.append(Report("orphans_stopped", report))
            return out

        def add(builder: ChangesBuilder) -> None:
            welcome.register_into(builder, lost, some, keep=self._keep)

        return self._of_rows("hello", [*lost, *some], add, after)

    def _revive(self, welcome: Welcome) -> Commit:
        some = take(welcome.left, self._piece)

        def after(changes: Changes, now: float) -> list[Outgoing]:
            self._let_go_of(welcome)
            return self._advance(changes, now)

        return self._of_rows("hello", some, lambda builder: welcome.revive_into(builder, some), after)

    def _let_go_of(self, welcome: Welcome) -> None:
        if welcome.done and self._welcomes.get(welcome.hello.node_id) is welcome:
            del self._welcomes[welcome.hello.node_id]

    def _of_rows(
        self,
        name: str,
        execution_ids: list[str],
        add: Callable[[ChangesBuilder], None],
        after: Callable[[Changes, float], list[Outgoing]] | None = None,
    ) -> Commit:
        """Return a commit about these executions, with their jobs locked."""

        def decide(locked: Locked) -> Changes:
            builder = ChangesBuilder(self.view, locked, self._ids)
            add(builder)
            return builder.build()

        jobs = jobs_of(self.view, execution_ids)
        return Commit(name, frozenset(jobs), frozenset(), decide, after or self._advance)

    def _new_timeline(self, hello: Hello) -> Commit:
        timeline = max(self.side.timeline, hello.timeline) + 1

        def after(changes: Changes, now: float) -> list[Outgoing]:
            self.view.apply(changes)
            old = self.side
            self._welcomes.clear()  # whoever was being taken in says hello anew
            self.side = LeaderSide(timeline, self.epoch, heartbeat_seconds=old.heartbeat_seconds, missed=old.missed)
            self._quiet_since = now
            return [Report("record_was_restored", {"timeline": str(timeline)}), *self.takeover()]

        return Commit("timeline", frozenset(), frozenset(), lambda _: Changes(timeline=timeline), after)

    # ------------------------------------------------------------ facts

    def _take_facts(self, now: float) -> Commit | Fetch | list[Outgoing]:
        chosen: list[_Arrived] = []
        count = 0
        for arrived in self._inbox.facts:
            count += len(arrived.batch.facts)
            if chosen and count > FACTS_A_COMMIT:
                break
            chosen.append(arrived)
        strangers = tuple(
            {
                fact.execution_id
                for arrived in chosen
                for fact in arrived.batch.facts
                if isinstance(fact, ExecutionObserved)
                and fact.execution_id not in self.view.executions
                and fact.execution_id not in self._late
            }
        )
        if strangers:
            return Fetch(strangers)
        for _ in chosen:
            self._inbox.facts.popleft()
        return self._accept(chosen, now)

    def _accept(self, chosen: list[_Arrived], now: float) -> Commit | list[Outgoing]:
        logs: dict[str, NodeLog] = {}
        taken: dict[str, list[Fact]] = {}
        said: dict[str, Confirm] = {}
        for arrived in chosen:
            node_id = arrived.batch.node_id
            log = logs.get(node_id) or _log_of(self.view.nodes.get(node_id))
            answer = self.side.receive(log, arrived.batch, now)
            if answer.facts and log is not None:
                taken.setdefault(node_id, []).extend(answer.facts)
                logs[node_id] = replace(
                    log, confirmed=log.confirmed + len(answer.facts), confirmed_by=arrived.batch.writer
                )
            elif answer.confirm is not None:
                said[node_id] = answer.confirm
        late = {i: row for i, row in self._late.items() if row is not None}
        self._late = {}
        if not taken:
            return [SendConfirm(node_id, confirm) for node_id, confirm in said.items()]
        position = chosen[-1].position
        observed = [(n, fact) for n, facts in taken.items() for fact in facts if isinstance(fact, ExecutionObserved)]

        def decide(locked: Locked) -> Changes:
            builder = ChangesBuilder(self.view, locked, self._ids, late=late)
            for node_id, facts in taken.items():
                infos = [fact.info for fact in facts if isinstance(fact, NodeChanged)]
                log = logs[node_id]
                node = replace(self.view.nodes[node_id], confirmed=log.confirmed, confirmed_by=log.confirmed_by)
                for info in infos:
                    node = memory.renewed(node, info, locked.now, keep=self._keep)
                builder.put_node(node)
                keep_unreadable(builder, node_id, facts)
            settle_apart(builder, observed)
            if position is not None:
                builder.read_to(position)
            return builder.build()

        def after(changes: Changes, now: float) -> list[Outgoing]:
            out: list[Outgoing] = [SendConfirm(n, self.side.confirm(log)) for n, log in logs.items()]
            out += [SendConfirm(n, confirm) for n, confirm in said.items() if n not in logs]
            for node_id, facts in taken.items():
                self.side.applied(node_id, facts)
            kept = (each for each in changes.audit if each.action == FACT_QUARANTINED)
            out += [Report(FACT_QUARANTINED, each.details, error=True) for each in kept]
            return out + self._advance(changes, now)

        ended = (fact.ended for facts in taken.values() for fact in facts if isinstance(fact, Unreadable))
        jobs = jobs_of(self.view, (*(fact.execution_id for _, fact in observed), *ended), late)
        return Commit("facts", frozenset(jobs), frozenset(), decide, after)

    def _take_stored(self) -> Commit:
        facts = [self._inbox.stored.popleft() for _ in range(min(len(self._inbox.stored), 16))]
        changes = Changes(
            results_stored=tuple(pair for fact in facts for pair in fact.stored),
            results_dropped=tuple(i for fact in facts for i in fact.dropped),
        )
        return Commit("results", frozenset(), frozenset(), lambda _: changes, lambda _changes, _now: [])

    # ------------------------------------------------------------ silence

    def _notice_silence(self, now: float) -> None:
        connected = [node for node in self.view.nodes.values() if node.connection is Connection.CONNECTED]
        silent = [
            node.id
            for node in connected
            if now - max(self.side.heard(node.id), self._quiet_since) > self.silence_seconds
        ]
        if now < self._suspect_until:
            return
        if not silent:
            self._suspect_until = float("-inf")  # they were back in time: the next silence is looked at afresh
            return
        at_once = len(silent) >= SELF_SUSPICION_NODES and len(silent) * 3 > len(connected)
        if at_once and self._suspect_until == float("-inf"):
            self._suspect_until = now + SELF_SUSPICION_SECONDS
            return
        self._suspect_until = float("-inf")
        for node_id in silent:
            self._inbox.leaving.setdefault(node_id, "heartbeat timeout")

    def _disconnect(self) -> Commit:
        """Disconnect the nodes that left, all at once; what lives on them is told piece by piece, here and later."""
        leaving, self._inbox.leaving = self._inbox.leaving, {}
        gone = {n: why for n, why in leaving.items() if n in self.view.nodes}
        for node_id, why in gone.items():
            self._welcomes.pop(node_id, None)
            self._quieting[node_id] = (why, deque(live_on(self.view, node_id)))
        some: list[str] = []
        for _, left in self._quieting.values():
            some += take(left, self._piece - len(some))

        def add(builder: ChangesBuilder) -> None:
            for node_id, why in gone.items():
                disconnect_into(builder, [node_id], error=why)
            quiet_into(builder, some)

        def after(changes: Changes, now: float) -> list[Outgoing]:
            for node_id in gone:
                self.side.forget(node_id)
            reports: list[Outgoing] = []
            for node_id in [node_id for node_id, (_, left) in self._quieting.items() if not left]:
                reason, _ = self._quieting.pop(node_id)
                reports.append(Report("node_disconnected", {"node_id": node_id, "reason": reason}))
            return reports + self._advance(changes, now)

        return self._of_rows("silence", some, add, after)

    # ------------------------------------------------------------ offers

    def _note_offer(self, row: ExecutionRow, now: float) -> None:
        if row.revision > row.seen_revision and (row.live or row.holds):
            offer = self._offers.get(row.id)
            if offer is None or offer.revision != row.revision:
                self._offers[row.id] = _Offer(row.revision, now)
        else:
            self._offers.pop(row.id, None)

    def _restart_offers(self, node_id: str, now: float) -> None:
        """A node that was away has had no time to answer: its offers wait from now on."""
        for row in self.view.of_node(node_id):
            if offer := self._offers.get(row.id):
                offer.since, offer.asked = now, False

    def _repeat_offers(self, now: float) -> list[Outgoing]:
        """Repeat what stayed unseen for a second; after ten, ask the node what it knows."""
        by_node: dict[str, list[ExecutionRow]] = {}
        ask: set[str] = set()
        for execution_id, offer in self._offers.items():
            row = self.view.executions.get(execution_id)
            node = self.view.nodes.get(row.node_id) if row else None
            if row is None or node is None or node.connection is not Connection.CONNECTED or now - offer.since < 1.0:
                continue
            if now - offer.since > ASK_AFTER_SECONDS and not offer.asked:
                offer.asked = True
                ask.add(row.node_id)
            if self.side.greeted(row.node_id):
                by_node.setdefault(row.node_id, []).append(row)
        out: list[Outgoing] = [SendCommands(node_id, tuple(rows)) for node_id, rows in by_node.items()]
        return out + [SendConfirm(node_id, self.side.ask_hello()) for node_id in sorted(ask)]

    def _find_overdue(self, now: float) -> list[str]:
        found = []
        for execution_id, offer in self._offers.items():
            if now - offer.since <= GIVE_UP_AFTER_SECONDS:
                continue
            row = self.view.executions.get(execution_id)
            node = self.view.nodes.get(row.node_id) if row else None
            if row and row.live and node and node.connection is Connection.CONNECTED and row.want is Want.RUN:
                found.append(execution_id)
        return found[: self._piece]

    def _give_up(self) -> Commit:
        overdue = [i for i in self._overdue if i in self._offers and i in self.view.executions]
        self._overdue = []
        for execution_id in overdue:
            self._offers.pop(execution_id, None)
        return self._of_rows("unanswered", overdue, lambda builder: unanswered_into(builder, overdue))

    # ------------------------------------------------------------ plans

    def _wake(self, job_id: str, trigger: str) -> None:
        self._inbox.evaluations.setdefault(job_id, Evaluation("", job_id, trigger))

    def _plan(self, now: datetime) -> Commit:
        chosen: list[Evaluation] = []
        units = 0
        for key in list(self._inbox.evaluations):
            evaluation = self._inbox.evaluations[key]
            job = evaluation.job or self.view.jobs.get(evaluation.job_id)
            units += min(job.units, PLACEMENTS_A_PLAN) if job else 1
            if chosen and (len(chosen) >= EVALUATIONS_A_PLAN or units > PLACEMENTS_A_PLAN):
                break
            chosen.append(self._inbox.evaluations.pop(key))
        for evaluation in chosen:
            if evaluation.job is not None:
                self.view.upsert_job(evaluation.job)
        plan = schedule(
            self.view, chosen, now, next(self._seeds), self._ids, keep=self._keep, hold_after=self._hold_after
        )
        ids = frozenset(evaluation.id for evaluation in chosen if evaluation.id)
        rows: list[Locked] = []

        def decide(locked: Locked) -> Changes:
            rows.append(locked)
            return plan.decide(locked)

        def after(changes: Changes, now: float) -> list[Outgoing]:
            out = self._advance(changes, now)
            self.view.heed(rows[-1])
            if plan.held_for and plan.held_for not in self.view.waiting:  # what is left of its node is for all now
                for job_id in self.view.sweep():
                    self._wake(job_id, "capacity")
            return out

        return Commit("plan", frozenset(plan.jobs), ids, decide, after)

    def _sweep_waiting(self, now: float) -> None:
        """Wake the heads of the line now and then: a wake-up that was missed must not keep a job waiting for ever."""
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            self._look_for_hopeless = True
            for job_id in self.view.sweep():
                self._wake(job_id, "capacity")

    def _wake_hopeless(self, wall: datetime) -> None:
        """Let waiting jobs fail that nothing can come for any more; nothing else looks at them again."""
        if self._look_for_hopeless:
            self._look_for_hopeless = False
            hopeless = self.view.hopeless(wall, most=HOPELESS_A_LOOK, keep=self._keep)
            for job_id in hopeless:
                self._wake(job_id, "capacity")
            if len(hopeless) == HOPELESS_A_LOOK:
                self._swept = float("-inf")  # the rest with the next tick

    # ------------------------------------------------------------ after a commit

    def _advance(self, changes: Changes, now: float) -> list[Outgoing]:
        """Advance the view by what was committed; return the commands that follow from it."""
        for job_id in self.view.apply(changes):
            self._wake(job_id, "capacity")
        by_node: dict[str, list[ExecutionRow]] = {}
        for row in itertools.chain(changes.executions_new, (change.row for change in changes.executions)):
            self._note_offer(row, now)
            wanted = row.revision > row.seen_revision and (row.live or row.holds)
            if wanted and self.side.greeted(row.node_id):  # else its hello brings what it has not seen
                by_node.setdefault(row.node_id, []).append(row)
        out: list[Outgoing] = [SendCommands(node_id, tuple(rows)) for node_id, rows in by_node.items()]
        for new in changes.evaluations_new:
            if new.delay_seconds <= 0:
                self._inbox.evaluations[new.id] = Evaluation(new.id, new.job_id, new.trigger, comment=new.comment)
            else:
                out.append(ReadSoon(new.delay_seconds))
        return out


def _log_of(node: NodeRow | None) -> NodeLog | None:
    return None if node is None else NodeLog(node.incarnation, node.confirmed, node.boot_id, node.confirmed_by)
