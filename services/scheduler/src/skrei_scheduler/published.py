"""What the publisher said, as one commit; and what the leader tells it, and nodes, once that is made."""

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from skrei_domain import envelope
from skrei_domain.bounds import LARGEST, sound_fact
from skrei_domain.destinations import STORE
from skrei_domain.lifecycle import Want
from skrei_domain.messages import (
    PublishedAt,
    PublisherCommand,
    PublisherFact,
    PublishRefused,
    PublishWaits,
    StagedResult,
)
from skrei_domain.portions import DIVIDED, heard
from skrei_kit.observability import get_logger
from skrei_scheduler.lead import Lead
from skrei_scheduler.work import Commit, Fetch, Outgoing, SendCommands, SendPublisher
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, Locked, ResultNew
from skrei_scheduling.kinds import follow_up
from skrei_scheduling.publishing import finish_into, refuse_into, wait_into
from skrei_scheduling.rows import ExecutionRow
from skrei_scheduling.settle import jobs_of

log = get_logger()

FACTS_WAITING = 256
"""Facts of the publisher that wait for their commit; what does not fit is said again when the sweep asks again."""
PUBLISHER_FACTS_A_COMMIT = 16
"""Each names at most some hundred results: about 20 ms of bulk write."""


def read_fact(payload: bytes) -> PublisherFact:
    """Return what can be of a fact of the publisher. Raises ValueError where it cannot be read, or names too much."""
    return sound_fact(envelope.unwrap(PublisherFact, payload))


@dataclass(frozen=True, slots=True)
class Said:
    """Facts of the publisher together. `ended` are the executions whose uploaded result has come to its end."""

    stored: tuple[tuple[str, str], ...]
    dropped: tuple[str, ...]
    finalised: tuple[tuple[str, str], ...]
    refused: tuple[PublishRefused, ...]
    published: tuple[PublishedAt, ...] = ()
    waits: tuple[PublishWaits, ...] = ()

    @classmethod
    def of(cls, facts: Sequence[PublisherFact]) -> "Said":
        """Gather facts; what was said twice is there once."""
        return cls(
            stored=tuple(pair for fact in facts for pair in fact.stored),
            dropped=tuple(each for fact in facts for each in fact.dropped),
            finalised=tuple(dict.fromkeys(pair for fact in facts for pair in fact.finalised)),
            refused=tuple({each.execution_id: each for fact in facts for each in fact.refused}.values()),
            published=tuple({each.execution_id: each for fact in facts for each in fact.published}.values()),
            waits=tuple({each.execution_id: each for fact in facts for each in fact.waits}.values()),
        )

    @property
    def ended(self) -> list[str]:
        """Whose result is final, or never will be."""
        named = [each for each, _ in self.finalised] + [each.execution_id for each in self.refused]
        return list(dict.fromkeys(named))

    def believed(self, rows: Mapping[str, ExecutionRow]) -> "Said":
        """Return what was said without what names another result than is staged: that makes nothing final."""

        def is_of(execution_id: str, digest: str) -> bool:
            row = rows.get(execution_id)
            fits = row is None or not row.staged or row.digest == digest
            if not fits:
                log.warning("publisher_fact_of_another_result", execution_id=execution_id, digest=digest)
            return fits

        return replace(
            self,
            finalised=tuple(pair for pair in self.finalised if is_of(*pair)),
            refused=tuple(each for each in self.refused if is_of(each.execution_id, each.digest)),
        )

    def settle_into(self, builder: ChangesBuilder) -> None:
        """Add what this does to executions and their jobs; what raises is left out: it must not end this leader."""
        _settle_apart(
            builder,
            [
                *((pair[0], partial(finish_into, builder, *pair)) for pair in self.finalised),
                *((each.execution_id, partial(_refuse, builder, each)) for each in self.refused),
                *((each.execution_id, partial(wait_into, builder, each)) for each in self.waits),
            ],
        )

    def stored_with(self, changes: Changes) -> Changes:
        """Return `changes` with what became of inline results, and where those lie that are final elsewhere."""
        final = {execution_id for execution_id, _ in self.finalised}
        published = tuple(
            (at.execution_id, _told(at), _own_bytes(at)) for at in self.published if at.execution_id in final
        )
        return replace(changes, results_stored=self.stored, results_dropped=self.dropped, results_published=published)


def _told(at: PublishedAt) -> str:
    return json.dumps({"Type": at.type, "Params": dict(at.params)}, ensure_ascii=False, separators=(",", ":"))


def _own_bytes(at: PublishedAt) -> int | None:
    """Return how much of a result that went to several places stays in Skrei's own store; None where that is none."""
    if at.type != DIVIDED:
        return None
    try:
        own = [each.size for each in heard(at.params) if each.publisher == STORE]
        total = sum(own)
    except (KeyError, TypeError, AttributeError):
        return None  # no publisher of ours tells it so
    return total if own and isinstance(total, int) and 0 <= total <= LARGEST else None


class Published:
    """What the publisher said and no commit has taken yet, in the order in which it came."""

    def __init__(self, lead: Lead) -> None:
        self._lead = lead
        self._waiting: deque[PublisherFact] = deque()
        self._read: dict[str, ExecutionRow | None] = {}  # for the facts at hand; None: the record has no such

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, fact: PublisherFact) -> None:
        """The publisher holds results, has made them final, or has dropped them."""
        if len(self._waiting) >= FACTS_WAITING:
            return
        self._waiting.append(fact)

    def fetched(self, asked: Iterable[str], rows: Mapping[str, ExecutionRow]) -> None:
        """Take what a `Fetch` read."""
        for execution_id in asked:
            self._read[execution_id] = rows.get(execution_id)

    def next(self) -> Commit | Fetch:
        """Return the commit of what waits, or the read that it needs first."""
        lead = self._lead
        facts = list(itertools.islice(self._waiting, PUBLISHER_FACTS_A_COMMIT))
        said = Said.of(facts)
        if strangers := tuple(i for i in said.ended if i not in lead.view.executions and i not in self._read):
            return Fetch(strangers)
        for _ in facts:
            self._waiting.popleft()
        late = {i: row for i, row in self._read.items() if row is not None}
        self._read = {}
        said = said.believed({**late, **{i: lead.view.executions[i] for i in said.ended if i in lead.view.executions}})
        rows = [row for i in said.ended if (row := lead.view.executions.get(i) or late.get(i)) is not None]

        def decide(locked: Locked) -> Changes:
            builder = ChangesBuilder(lead.view, locked, lead.ids, late=late)
            said.settle_into(builder)
            return said.stored_with(builder.build())

        def after(changes: Changes, now: float) -> list[Outgoing]:
            return lead.advance(changes, now) + forget(rows)

        waiting = [each.execution_id for each in said.waits]
        jobs = frozenset(jobs_of(lead.view, [*said.ended, *waiting], late))
        return Commit("results", jobs, frozenset(), decide, after)


def _settle_apart(builder: ChangesBuilder, steps: Sequence[tuple[str, Callable[[], None]]]) -> None:
    """Take steps, of an execution each, in order; halves are tried until what raises is left out alone."""
    rows = (builder.row(execution_id) for execution_id, _ in steps)
    saved = builder.saved({row.job_id for row in rows if row is not None})
    try:
        for _, step in steps:
            step()
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not end this leader; the sweep asks again
        builder.back_to(saved)
        if len(steps) == 1:
            log.error("publisher_fact_left_out", execution_id=steps[0][0], error=f"{type(error).__name__}: {error}")
            return
        half = len(steps) // 2
        _settle_apart(builder, steps[:half])
        _settle_apart(builder, steps[half:])


def _refuse(builder: ChangesBuilder, each: PublishRefused) -> None:
    failed = refuse_into(builder, each.execution_id, each.digest, each.problem)
    if failed is not None:
        follow_up(builder, failed, each.problem, kind=builder.kind(failed.job_id))


def publish_now(changes: Changes) -> list[Outgoing]:
    """Tell the publisher at once of results that a commit has staged; the sweep would a second later."""
    staged = [new for new in changes.results if new.staged is not None]
    if not staged:
        return []
    command = PublisherCommand(
        finalise=tuple(_staged(new) for new in staged if new.committed),
        keep=tuple(_staged(new) for new in staged if not new.committed),
    )
    return [SendPublisher(command)]


def _staged(new: ResultNew) -> StagedResult:
    assert new.staged is not None, "asked for staged ones"
    return StagedResult(
        execution_id=new.execution_id,
        digest=new.result.digest,
        size=new.result.size,
        publisher=new.staged.publisher,
        place=new.staged.place,
        destination=new.staged.destination,
    )


def forget(rows: Iterable[ExecutionRow]) -> list[Outgoing]:
    """Let nodes drop what they kept of these executions. Said once: a hello repeats it to who did not hear."""
    by_node: dict[str, list[ExecutionRow]] = {}
    for row in rows:
        wanted = replace(row, want=Want.FORGET, revision=row.revision + 1)
        by_node.setdefault(row.node_id, []).append(wanted)
    return [SendCommands(node_id, tuple(wanted)) for node_id, wanted in by_node.items()]
