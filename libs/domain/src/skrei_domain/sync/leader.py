"""The leader's half: which facts may be applied, what a hello means, and who may speak for a node.

The durable part of it is a `NodeLog` in the record; what is kept here (who was heard when, what facts have told)
may be lost at any time: a new leader asks every node to say hello.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from skrei_domain.evolving import replace
from skrei_domain.messages import (
    PROTOCOL,
    Confirm,
    ExecutionObserved,
    Heartbeat,
    Hello,
    HelloExecution,
    HelloReply,
    Problem,
    Wanted,
)
from skrei_domain.sync.judging import Greeting, NodeLog, Recorded, compare, contradicts, is_restored
from skrei_domain.sync.received import AnyBatch, ReadFact, Unreadable
from skrei_domain.sync.told import Told

OLDEST_PROTOCOL = 1
CHALLENGE_SECONDS = 1.0  # how long the process that held a node id has to answer before another may take it
WANTED_IN_REPLY = 1_000  # about 85 KiB; what is beyond goes as commands, and orphans with the next hello
MOST_LISTED = 250_000
"""Executions in one hello, all its pages together: above what a journal remembers, below what a leader cannot hold."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a batch of facts comes to: those to apply (from `first` on), or what to tell the node instead."""

    facts: tuple[ReadFact, ...] = ()
    first: int = 0
    confirm: Confirm | None = None


@dataclass(slots=True)
class _Voice:
    """What is remembered of a node while we lead."""

    boot_id: str = ""
    heard: float = float("-inf")
    told: Told | None = None  # None: no hello under this leader yet
    pages: dict[int, tuple[HelloExecution, ...]] = field(default_factory=dict)
    pages_of: tuple[str, int, int] | None = None
    challenger: str = ""  # the boot id that asks for a name which another process holds
    challenged: float = 0.0
    answered: bool = False  # the holder has repeated the challenge


class LeaderSide:
    """One leader's view of the protocol: `timeline` and `epoch` name it in everything that it says."""

    def __init__(self, timeline: int, epoch: int, *, heartbeat_seconds: float = 5.0, missed: int = 3) -> None:
        self.timeline = timeline
        self.epoch = epoch
        self.heartbeat_seconds = heartbeat_seconds
        self.missed = missed
        self._voices: dict[str, _Voice] = {}

    # ------------------------------------------------------------ who speaks

    def heard(self, node_id: str) -> float:
        """When (monotonic seconds) the node's own process was last heard; -inf if never under this leader."""
        voice = self._voices.get(node_id)
        return voice.heard if voice else float("-inf")

    def greeted(self, node_id: str) -> bool:
        """Whether the node has said hello under this leader. Only then it is commanded.

        A restored record wants again what the node has done and forgotten, and only its hello can tell.
        """
        voice = self._voices.get(node_id)
        return voice is not None and voice.told is not None

    def ask_hello(self, boot_id: str = "", challenge: str = "") -> Confirm:
        """Return the message that asks a node to say hello (every process of it when `boot_id` is empty)."""
        return Confirm(timeline=self.timeline, epoch=self.epoch, boot_id=boot_id, hello=True, challenge=challenge)

    def forget(self, node_id: str) -> None:
        """Forget a node that is gone, or was told to introduce itself anew."""
        self._voices.pop(node_id, None)

    def leave(self, node_id: str) -> None:
        """The node's process said that it leaves: its successor need not be challenged."""
        voice = self._voices.get(node_id)
        if voice is not None:
            voice.heard = float("-inf")
            voice.boot_id = ""

    # ------------------------------------------------------------ facts

    def receive(self, log: NodeLog | None, batch: AnyBatch, now: float) -> Answer:
        """Accept exactly what follows `confirmed`; a repeat is confirmed again, a gap asked for, a stranger greeted."""
        if log is None or batch.boot_id != log.boot_id or batch.incarnation != log.incarnation:
            return Answer(confirm=self.ask_hello(batch.boot_id))
        voice = self._voice(batch.node_id, log)
        voice.heard = now
        if voice.told is None:
            return Answer(confirm=self.ask_hello(batch.boot_id))
        if batch.first > log.confirmed + 1:
            return Answer(confirm=self.confirm(log, resend_from=log.confirmed + 1))
        if batch.last <= log.confirmed:
            return Answer(confirm=self.confirm(log))
        first = log.confirmed + 1
        return Answer(facts=batch.facts[first - batch.first :], first=first)

    def applied(self, node_id: str, facts: Iterable[ReadFact]) -> None:
        """Remember what committed facts told, for the comparison with the node's digest.

        A node that tells of more executions than any has says hello anew.
        """
        voice = self._voices.get(node_id)
        if voice is None or voice.told is None:
            return
        for fact in facts:
            if isinstance(fact, Unreadable):
                voice.told.drop(fact.ended)
            elif isinstance(fact, ExecutionObserved):
                if fact.state.is_terminal:
                    voice.told.drop(fact.execution_id)
                else:
                    voice.told.put(fact.execution_id, fact.revision, fact.state)
        if voice.told.full:
            voice.told = None

    def confirm(self, log: NodeLog, *, resend_from: int | None = None) -> Confirm:
        """Return the confirmation of what the record holds of a node's log."""
        return Confirm(
            timeline=self.timeline,
            epoch=self.epoch,
            boot_id=log.boot_id,
            incarnation=log.incarnation,
            confirmed=log.confirmed,
            resend_from=resend_from,
        )

    # ------------------------------------------------------------ heartbeats

    def heartbeat(self, log: NodeLog | None, beat: Heartbeat, now: float) -> Confirm | None:
        """Note that the node lives; ask for a hello when what it says and what facts told differ at one sequence."""
        if log is None or beat.boot_id != log.boot_id or beat.timeline != self.timeline:
            return self.ask_hello(beat.boot_id)
        voice = self._voice(beat.node_id, log)
        voice.heard = now
        if voice.told is None or beat.incarnation != log.incarnation or beat.sequence < log.confirmed:
            return self.ask_hello(beat.boot_id)
        if beat.sequence > log.confirmed:
            return None  # facts are on their way; the node repeats them
        return None if voice.told.digest == beat.digest else self.ask_hello(beat.boot_id)

    # ------------------------------------------------------------ hello

    def greet(self, log: NodeLog | None, rows: Mapping[str, Recorded], hello: Hello, now: float) -> Greeting:
        """Decide what a hello means. `rows` are the record's executions here that are live or hold a reservation."""
        voice = self._voices.setdefault(hello.node_id, _Voice())
        if hello.protocol < OLDEST_PROTOCOL:
            return self._refuse("protocol", f"protocol {hello.protocol} is too old; this server speaks {PROTOCOL}")
        listed = self._gather(voice, hello)
        if listed is None:
            return Greeting(HelloReply(timeline=self.timeline, epoch=self.epoch, more=True))
        if len(listed) > MOST_LISTED:
            return self._refuse("bad-hello", f"it lists more than {MOST_LISTED} executions")
        if (contest := self._contest(voice, log, hello, now)) is not None:
            return contest
        if is_restored(log, hello, self.timeline, self.epoch):
            return Greeting(self._busy("restored", "the record was restored; say hello again"), restored=True)
        if contradicts(log, rows, listed, hello, self.timeline):
            after = max(hello.incarnation, log.incarnation if log else 0) + 1
            return Greeting(self._reply(incarnation=after, confirmed=0))
        same = log is not None and log.incarnation == hello.incarnation
        taken = replace(log, boot_id=hello.boot_id) if log and same else NodeLog(hello.incarnation, 0, hello.boot_id)
        if voice.boot_id != hello.boot_id:
            voice.challenger = ""
        voice.boot_id, voice.heard = hello.boot_id, now
        live = (item for item in listed.values() if not item.state.is_terminal)
        voice.told = Told((item.execution_id, item.revision, item.state) for item in live)
        return self._greeting(taken, rows, listed)

    def _greeting(self, log: NodeLog, rows: Mapping[str, Recorded], listed: Mapping[str, HelloExecution]) -> Greeting:
        found = compare(log, rows, listed)
        wanted = found.wanted
        reply = self._reply(incarnation=log.incarnation, confirmed=log.confirmed, wanted=wanted[:WANTED_IN_REPLY])
        beyond = (each.execution_id for each in wanted[WANTED_IN_REPLY:] if each.execution_id in rows)
        return Greeting(
            reply=reply,
            log=log,
            listed=listed,
            lost=found.lost,
            unseen=(*found.unseen, *beyond),
            orphans=found.orphans,
        )

    def _gather(self, voice: _Voice, hello: Hello) -> dict[str, HelloExecution] | None:
        """Collect the pages of one hello; None until all have come."""
        key = (hello.boot_id, hello.incarnation, hello.sequence)
        if voice.pages_of != key or hello.page == 0:
            voice.pages, voice.pages_of = {}, key
        voice.pages[hello.page] = hello.executions
        if len(voice.pages) < hello.pages and sum(map(len, voice.pages.values())) <= MOST_LISTED:
            return None
        pages, voice.pages, voice.pages_of = voice.pages, {}, None
        return {item.execution_id: item for number in sorted(pages) for item in pages[number]}

    def _contest(self, voice: _Voice, log: NodeLog | None, hello: Hello, now: float) -> Greeting | None:
        """Refuse a second process under a live node id; one that stays silent when asked has lost the name.

        Asking costs a restarted agent a second, and closes the case of a cloned journal: both copies believe that
        they are the successor, and the one that runs already is the one that answers.
        """
        holder = log.boot_id if log else ""
        if hello.boot_id == holder:
            # Only the repeated challenge counts: anything else may have been sent before the holder died.
            voice.answered = voice.answered or (hello.challenge != "" and hello.challenge == voice.challenger)
            return None
        recently = now - voice.heard <= self.heartbeat_seconds * self.missed
        if not holder or voice.boot_id != holder or not recently:
            return None
        if voice.challenger != hello.boot_id:
            voice.challenger, voice.challenged, voice.answered = hello.boot_id, now, False
            reply = self._busy("busy", "another process may hold this node id; asking it")
            return Greeting(reply, challenge=self.ask_hello(holder, challenge=hello.boot_id))
        if voice.answered:
            voice.challenger = ""
            return self._refuse(
                "duplicate-node",
                f"node id {hello.node_id} is held by another running process; give this one its own data folder",
            )
        if now - voice.challenged < CHALLENGE_SECONDS:
            return Greeting(self._busy("busy", "another process may hold this node id; asking it"))
        return None

    # ------------------------------------------------------------ replies

    def _reply(self, *, incarnation: int, confirmed: int, wanted: tuple[Wanted, ...] = ()) -> HelloReply:
        return HelloReply(
            timeline=self.timeline,
            epoch=self.epoch,
            incarnation=incarnation,
            confirmed=confirmed,
            heartbeat_seconds=self.heartbeat_seconds,
            wanted=wanted,
        )

    def _busy(self, code: str, message: str) -> HelloReply:
        return HelloReply(timeline=self.timeline, epoch=self.epoch, refusal=Problem(code=code, message=message))

    def _refuse(self, code: str, message: str) -> Greeting:
        return Greeting(self._busy(code, message))

    def _voice(self, node_id: str, log: NodeLog) -> _Voice:
        voice = self._voices.setdefault(node_id, _Voice())
        voice.boot_id = log.boot_id
        return voice
