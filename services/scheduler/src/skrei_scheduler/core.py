"""The leader without I/O: messages in, commits to make out, and what to send once they are made.

The cycle, which the shell (`leader.py`) and the simulation both drive:

1. The shell hands in what arrived (`on_*`), with the monotonic time.
2. `next_work()` names the most urgent commit: a hello, facts, silence, unanswered offers, evaluations; or a read.
   What is less urgent has a turn now and then all the same.
3. The shell commits it: the record locks lease and rows, calls `work.decide`, writes, commits.
4. `work.after` advances the view by what was written and returns what to send.

Nothing else changes the view, and one commit is under way at a time, so that plans and facts are one order. What the
kinds of commits are made of lies beside this: `hellos`, `facts`, `published`, `silence`, `offers`, `planning`.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from skrei_domain.ids import IdSource
from skrei_domain.lifecycle import Membership
from skrei_domain.listing import InputListed
from skrei_domain.messages import Heartbeat, Hello, HelloReply, PublisherFact
from skrei_domain.sync import LeaderSide
from skrei_domain.sync.received import AnyBatch
from skrei_scheduler import departed
from skrei_scheduler.departed import Departed
from skrei_scheduler.drains import Drains
from skrei_scheduler.facts import Facts
from skrei_scheduler.hellos import Hellos
from skrei_scheduler.lead import A_PIECE, Lead
from skrei_scheduler.listings import Listings
from skrei_scheduler.node_intents import NodeIntents
from skrei_scheduler.offers import Offers
from skrei_scheduler.planning import Planning
from skrei_scheduler.published import Published
from skrei_scheduler.receipts import Verify, trust_nobody
from skrei_scheduler.silence import Silence
from skrei_scheduler.work import Commit, Fetch, Outgoing, ReadSoon, SendCommands, SendConfirm
from skrei_scheduling import memory, texts
from skrei_scheduling.changes import Changes, Position
from skrei_scheduling.held import HOLD_AFTER
from skrei_scheduling.rows import Evaluation, ExecutionRow, NodeIntent
from skrei_scheduling.view import ClusterView

IN_A_ROW = 8
"""Turns of what is more urgent before the rest has one: some 50 ms, in which a plan or a silence can wait. Without it,
nodes that always have something to say would keep every job from being placed."""


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
        verify: Verify = trust_nobody,
        failing: Collection[str] = (),
        newcomers: Membership = Membership.APPROVED,
        lists: bool = False,
        ephemeral: timedelta = departed.KEPT,
    ) -> None:
        """Lead. `failing` are jobs of which an attempt has failed and nobody has decided on yet: the evaluation that
        says so is in the record, and nothing of them is planned before it was read. `newcomers`: what nodes are that
        nobody knew. `lists`: nodes have a store to bring lists of inputs to. `ephemeral`: see `Departed`.
        """
        side = LeaderSide(timeline, epoch, heartbeat_seconds=heartbeat_seconds, missed=missed_heartbeats)
        self._lead = lead = Lead(view, side, epoch, ids, keep, piece, self._advance, verify, newcomers)
        self._offers = Offers(lead)
        self._silence = Silence(lead, now)
        self._hellos = Hellos(lead, self._silence, self._offers)
        self._facts = Facts(lead)
        self._listings = Listings(lead, on=lists)
        self._planning = Planning(lead, self._listings, now, hold_after)
        self._published = Published(lead)
        self._node_intents = NodeIntents(lead, self._let_go, self._look_at)
        self._drains = Drains(lead)
        self._departed = Departed(lead, now, ephemeral)
        self._publisher_is_due = False  # facts had a turn since: what it said must not starve behind them
        self._said_in_a_row = self._greeted_in_a_row = 0
        for row in view.executions.values():
            self._offers.note(row, now)
        for job_id in view.jobs:
            if job_id not in failing:
                self._planning.wake(job_id, "takeover")

    @property
    def view(self) -> ClusterView:
        """What this leader knows of the cluster."""
        return self._lead.view

    @property
    def side(self) -> LeaderSide:
        """Its half of the protocol."""
        return self._lead.side

    @property
    def epoch(self) -> int:
        """Its epoch."""
        return self._lead.epoch

    # ------------------------------------------------------------ what arrives

    def takeover(self) -> list[Outgoing]:
        """Ask every node to say hello: this leader knows nothing of what they were told."""
        return self._lead.ask_all()

    def on_reconnect(self, now: float) -> None:
        """Our own link was away: nobody was silent, we were deaf."""
        self._silence.count_from(now)

    def on_hello(self, hello: Hello, reply_to: str) -> None:
        """A node introduces itself; what it said before and was not answered is replaced."""
        self._hellos.take(hello, reply_to)

    def refusal(self, wrong: str) -> HelloReply:
        """Return the answer to a hello that says what cannot be."""
        return self._hellos.refusal(wrong)

    def on_facts(self, batch: AnyBatch, position: Position | None, size: int = 0) -> None:
        """A stretch of a node's log; `size` bytes of it came."""
        self._facts.take(batch, position, size)

    def on_heartbeat(self, beat: Heartbeat, now: float) -> list[Outgoing]:
        """A node lives, or says that it leaves."""
        node = self.view.nodes.get(beat.node_id)
        if beat.leaving:
            if node is not None and beat.boot_id == node.boot_id:
                self.side.leave(beat.node_id)
                self._silence.leave(beat.node_id, "graceful shutdown")
            return []
        if beat.cached is not None and node is not None and beat.boot_id == node.boot_id:
            for job_id in self.view.hear_cached(beat.node_id, beat.cached):
                self._planning.wake(job_id)
        confirm = self.side.heartbeat(self._lead.log_of(beat.node_id), beat, now)
        return [] if confirm is None else [SendConfirm(beat.node_id, confirm)]

    def on_evaluations(self, evaluations: Iterable[Evaluation]) -> None:
        """Evaluations that are due, from the record or from a hint; a repeat replaces the older one."""
        self._planning.take(evaluations)

    def on_node_intents(self, intents: Iterable[NodeIntent]) -> None:
        """What users want of nodes, from the record; a repeat is the same."""
        self._node_intents.take(intents)

    def on_publisher_fact(self, fact: PublisherFact) -> None:
        """The publisher holds results, or has dropped them."""
        self._published.take(fact)

    def on_listed(self, node: str, listed: InputListed, now: float) -> None:
        """A node (its token in subjects) says what an input that it was asked about comes to."""
        self._listings.on_listed(node, listed, now)

    def backlog(self) -> int:
        """How much waits for a commit; the shell lingers for company only while this is high."""
        return len(self._facts) + len(self._planning)

    @property
    def waiting_facts(self) -> int:
        """How many batches of facts wait; evaluations must never hold them up."""
        return len(self._facts)

    @property
    def waiting_fact_bytes(self) -> int:
        """How many bytes those batches had."""
        return self._facts.bytes

    @property
    def waiting_evaluations(self) -> int:
        """How many evaluations wait for a plan."""
        return len(self._planning)

    def at_hand(self, most: int) -> list[str]:
        """Return the evaluations (their ids) that wait for a plan or are in the one under way; of the first `most`."""
        return self._planning.at_hand(most)

    def on_tick(self, now: float) -> list[Outgoing]:
        """Once a second: notice silence and unanswered offers, repeat commands that stayed unseen."""
        self._silence.tick(now)
        self._planning.tick(now)
        self._listings.tick()
        self._drains.tick()
        self._departed.tick(now)
        self._offers.look(now)
        return self._offers.repeat(now)

    # ------------------------------------------------------------ the next commit

    def next_work(self, now: float, wall: datetime) -> Commit | Fetch | list[Outgoing] | None:
        """Return the next commit, a read that it needs, or messages that need no commit; None when idle.

        `now` is monotonic seconds, `wall` the record's time: what waits and timeouts are compared with. What nodes say
        comes first, but not for ever: after `IN_A_ROW` turns of it everything else has one.
        """
        if self._said_in_a_row < IN_A_ROW and (work := self._said(now)) is not None:
            self._said_in_a_row += 1
            return work
        self._said_in_a_row = 0
        return self._own(now, wall) or self._said(now)

    def _said(self, now: float) -> Commit | Fetch | list[Outgoing] | None:
        """What nodes said: a hello before facts, since facts of whoever was not greeted count for nothing.

        What the publisher said goes by turns with facts: by it uploads end.
        """
        turns = IN_A_ROW if self._hellos.said else 1
        if self._hellos and (self._greeted_in_a_row < turns or not self._facts):
            self._greeted_in_a_row += 1
            return self._hellos.next(now)
        self._greeted_in_a_row = 0
        if self._published and (self._publisher_is_due or not self._facts):
            self._publisher_is_due = False
            return self._published.next()
        if self._facts:
            self._publisher_is_due = True
            return self._facts.next(now)
        return None

    def _own(self, now: float, wall: datetime) -> Commit | list[Outgoing] | None:
        """What follows from silence and time, and what users want."""
        if self._silence.pending:
            for node_id in self._silence.leaving:
                self._hellos.forget(node_id)
            return self._silence.disconnect()
        if self._node_intents:
            return self._node_intents.next()
        if (commit := self._drains.next(wall) or self._departed.next(wall)) is not None:
            return commit
        if self._offers.overdue:
            return self._offers.give_up()
        if (work := self._listings.next(now, wall)) is not None:
            return work
        return self._planning.next(wall)

    def fetched(self, asked: Iterable[str], rows: Mapping[str, ExecutionRow]) -> None:
        """Take what a `Fetch` read."""
        for reader in (self._facts, self._published):
            reader.fetched(asked, rows)

    # ------------------------------------------------------------ after a commit

    def _let_go(self, node_id: str) -> None:
        """A node is not to be heard any further: what it says counts for nothing until a hello of it is taken."""
        self.side.forget(node_id)
        self._silence.heard_again(node_id)
        self._hellos.forget(node_id)

    def _look_at(self, node_id: str) -> None:
        """Have the jobs of what runs on a node looked at: where it may run has changed."""
        for job_id in dict.fromkeys(row.job_id for row in self.view.of_node(node_id) if row.live):
            self._planning.wake(job_id, texts.TRIGGER_DRAIN)

    def _advance(self, changes: Changes, now: float) -> list[Outgoing]:
        """Advance the view by what was committed; return the commands that follow from it."""
        for job_id in self.view.apply(changes):
            self._planning.wake(job_id)
        by_node: dict[str, list[ExecutionRow]] = {}
        for row in itertools.chain(changes.executions_new, (change.row for change in changes.executions)):
            self._offers.note(row, now)
            wanted = row.revision > row.seen_revision and (row.live or row.holds)
            if wanted and self.side.greeted(row.node_id):  # else its hello brings what it has not seen
                by_node.setdefault(row.node_id, []).append(row)
        out: list[Outgoing] = [SendCommands(node_id, tuple(rows)) for node_id, rows in by_node.items()]
        for new in changes.evaluations_new:
            if new.delay_seconds <= 0:
                self._planning.take(
                    [Evaluation(new.id, new.job_id, new.trigger, comment=new.comment, version=new.version)]
                )
            else:
                out.append(ReadSoon(new.delay_seconds))
        return out
