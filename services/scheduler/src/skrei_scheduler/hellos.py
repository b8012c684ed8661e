"""Nodes at the door: what is answered at once, and who is taken in, piece by piece."""

from skrei_domain.bounds import wrong_with_hello
from skrei_domain.lifecycle import Membership
from skrei_domain.messages import Hello, HelloReply, Problem
from skrei_domain.sync import LeaderSide
from skrei_scheduler.lead import Lead
from skrei_scheduler.offers import Offers
from skrei_scheduler.silence import Silence
from skrei_scheduler.welcome import LOST_BY_JOURNAL, Welcome, take
from skrei_scheduler.work import Commit, Outgoing, Reply, Report, SendCommands, SendConfirm
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes
from skrei_scheduling.membership import lose_into

WAITING_HELLOS = 4
"""Hellos of one node that wait for an answer, the newest: a node says one page at a time, and has one process."""
SHOWN_ORPHANS = 20
"""Executions that one log line names of those that the record does not know."""

TWICE_FROM_THE_FUTURE = Problem(
    code="from-the-future",
    message="this node was told of a new timeline for what it says it was told, and says so again; a record that is "
    "restored once more has a new leader, and a node whose journal is broken needs a new data folder",
)
"""A sound node takes the new timeline; one that does not must not make every other node begin a new log each time."""


class Hellos:
    """Hellos that wait for an answer, and nodes that are being taken in."""

    def __init__(self, lead: Lead, silence: Silence, offers: Offers) -> None:
        self._lead = lead
        self._silence = silence
        self._offers = offers
        self._said: dict[str, dict[tuple[str, int], tuple[Hello, str]]] = {}  # of each node the latest of each page
        self._showed: set[str] = set()  # nodes that have shown this leader a record from the future
        self._welcomes: dict[str, Welcome] = {}
        self._greeted_last = False

    def __bool__(self) -> bool:
        """Whether somebody is at the door."""
        return bool(self._said or self._welcomes)

    @property
    def said(self) -> bool:
        """Whether a hello waits for an answer."""
        return bool(self._said)

    def take(self, hello: Hello, reply_to: str) -> None:
        """A node introduces itself; what it said before and was not answered is replaced."""
        pages = self._said.setdefault(hello.node_id, {})
        pages[hello.boot_id, hello.page] = (hello, reply_to)
        if len(pages) > WAITING_HELLOS:
            del pages[next(iter(pages))]

    def next(self, now: float) -> Commit | list[Outgoing]:
        """Return the next answer, or the next piece of taking a node in: by turns where both wait."""
        self._greeted_last = bool(self._said) and not (self._greeted_last and self._welcomes)
        return self._greet(now) if self._greeted_last else self._take_in(next(iter(self._welcomes.values())))

    def forget(self, node_id: str) -> None:
        """The node is gone: it is not taken in any further."""
        self._welcomes.pop(node_id, None)

    def refusal(self, wrong: str) -> HelloReply:
        """Return the answer to a hello that says what cannot be."""
        return self._no(Problem(code="bad-hello", message=f"this hello is not taken: {wrong}"))

    def _no(self, problem: Problem) -> HelloReply:
        return HelloReply(timeline=self._lead.side.timeline, epoch=self._lead.epoch, refusal=problem)

    # ------------------------------------------------------------ answers

    def _next_said(self) -> tuple[Hello, str]:
        """Take one hello of the node whose turn it is; what else it said waits until all others had theirs."""
        node_id = next(iter(self._said))
        pages = self._said.pop(node_id)
        found = pages.pop(next(iter(pages)))
        if pages:
            self._said[node_id] = pages
        return found

    def _greet(self, now: float) -> Commit | list[Outgoing]:
        """Look at the next hello; returns its answer, or the first commit of taking the node in."""
        hello, reply_to = self._next_said()
        lead = self._lead
        node = lead.view.nodes.get(hello.node_id)
        if node is not None and node.membership is Membership.REJECTED:
            rejected = Problem(code="node-rejected", message=f"node {hello.node_id} was rejected: {node.error}")
            return [Reply(reply_to, self._no(rejected))]
        if wrong := wrong_with_hello(hello, lead.side.timeline):
            return [Reply(reply_to, self.refusal(wrong))]
        known = self._welcomes.get(hello.node_id)
        if known is not None and known.hello.boot_id == hello.boot_id:
            del self._welcomes[hello.node_id]  # it speaks anew: what is left of this one is found again
        mine = {row.id: row for row in lead.view.of_node(hello.node_id)}
        greeting = lead.side.greet(lead.log_of(hello.node_id), mine, hello, now)
        if greeting.restored and hello.node_id in self._showed:
            return [Reply(reply_to, self._no(TWICE_FROM_THE_FUTURE))]
        if greeting.restored:
            return self._new_timeline(hello)
        if greeting.log is None:
            out: list[Outgoing] = [Reply(reply_to, greeting.reply)]
            if greeting.challenge is not None:
                out.append(SendConfirm(hello.node_id, greeting.challenge))
            return out
        self._silence.heard_again(hello.node_id)
        self._welcomes[hello.node_id] = welcome = Welcome.of(hello, reply_to, greeting, greeting.log)
        return self._take_in(welcome)

    def _new_timeline(self, hello: Hello) -> Commit:
        lead = self._lead
        timeline = max(lead.side.timeline, hello.timeline) + 1
        self._showed.add(hello.node_id)

        def after(changes: Changes, now: float) -> list[Outgoing]:
            lead.view.apply(changes)
            old = lead.side
            self._welcomes.clear()  # whoever was being taken in says hello anew
            lead.side = LeaderSide(timeline, lead.epoch, heartbeat_seconds=old.heartbeat_seconds, missed=old.missed)
            self._silence.count_from(now)
            return [Report("record_was_restored", {"timeline": str(timeline)}), *lead.ask_all()]

        return Commit("timeline", frozenset(), frozenset(), lambda _: Changes(timeline=timeline), after)

    # ------------------------------------------------------------ pieces

    def _take_in(self, welcome: Welcome) -> Commit:
        if welcome.answered:
            return self._revive(welcome)
        if len(welcome.lost) > self._lead.piece:
            some = take(welcome.lost, self._lead.piece)
            return self._lead.of_rows("hello", some, lambda builder: lose_into(builder, some, LOST_BY_JOURNAL))
        return self._register(welcome)

    def _register(self, welcome: Welcome) -> Commit:
        lead = self._lead
        lost = welcome.begin(lead.view)
        some = take(welcome.left, max(lead.piece - len(lost), 0))
        node_id, greeting = welcome.hello.node_id, welcome.greeting

        def after(changes: Changes, now: float) -> list[Outgoing]:
            out = lead.advance(changes, now)
            out.insert(0, Reply(welcome.reply_to, greeting.reply, node_id))
            self._offers.restart(node_id, now)
            self._silence.heard_again(node_id)
            welcome.answered = True
            self._let_go_of(welcome)
            unseen = [lead.view.executions[each] for each in greeting.unseen if each in lead.view.executions]
            if unseen:
                out.append(SendCommands(node_id, tuple(unseen)))
            if greeting.orphans:
                some = ",".join(greeting.orphans[:SHOWN_ORPHANS])
                report = {"node_id": node_id, "count": str(len(greeting.orphans)), "executions": some}
                out.append(Report("orphans_stopped", report))
            return out

        def add(builder: ChangesBuilder) -> None:
            welcome.register_into(builder, lost, some, keep=lead.keep, newcomers=lead.newcomers)

        return lead.of_rows("hello", [*lost, *some], add, after)

    def _revive(self, welcome: Welcome) -> Commit:
        some = take(welcome.left, self._lead.piece)

        def after(changes: Changes, now: float) -> list[Outgoing]:
            self._let_go_of(welcome)
            return self._lead.advance(changes, now)

        return self._lead.of_rows("hello", some, lambda builder: welcome.revive_into(builder, some), after)

    def _let_go_of(self, welcome: Welcome) -> None:
        if welcome.done and self._welcomes.get(welcome.hello.node_id) is welcome:
            del self._welcomes[welcome.hello.node_id]
