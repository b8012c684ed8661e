"""The publisher: takes uploads and makes them final when told to; slow, away, forgetful, and at times it says no."""

import random
from collections.abc import Callable, Iterable

from skrei_domain.messages import Problem, PublisherCommand, PublisherFact, PublishRefused, StagedResult
from skrei_kit.tokens import Receipt, TokenInvalid
from tests.support.sim.agenda import Agenda

PUBLISHER = "sim"


def receipt_of(execution_id: str, digest: str, size: int) -> str:
    """What the publisher signs."""
    return f"signed|{execution_id}|{digest}|{size}"


def verify(text: str) -> Receipt:
    """What a leader reads in a receipt; only the publisher's own begin so."""
    word, *rest = text.split("|")
    if word != "signed":
        raise TokenInvalid("nobody signed that")
    execution_id, digest, size = rest
    return Receipt(execution_id, digest, int(size), PUBLISHER, "there")


class SimPublisher:
    """Lasts as long as the cluster; its process may be away, which it finds out nothing about."""

    def __init__(self, agenda: Agenda, rng: random.Random, tell: Callable[[str], None]) -> None:
        self.staged: dict[str, str] = {}  # execution -> digest
        self.final: dict[str, str] = {}
        self.refuses = 0.0  # how often the destination says no, for good
        self.facts_lost = 0.0
        self.slow_seconds = 0.02
        self.answer: Callable[[PublisherFact], None]
        self._agenda = agenda
        self._rng = rng
        self._tell = tell
        self._away_until = 0.0

    @property
    def away(self) -> bool:
        return self._agenda.now < self._away_until

    def die(self, seconds: float) -> None:
        """Be away for a while; what is staged and what is final lasts."""
        self._tell(f"the publisher is away for {seconds:.1f} s")
        self._away_until = max(self._away_until, self._agenda.now + seconds)

    def lose(self) -> None:
        """Lose what is staged: its disk was replaced by an older copy."""
        self._tell(f"the publisher loses {sorted(self.staged)}")
        self.staged.clear()

    def heal(self) -> None:
        self.refuses = self.facts_lost = 0.0
        self._away_until = 0.0

    def stage(self, execution_id: str, digest: str, size: int) -> str | None:
        """Take an upload; None while it is away."""
        if self.away:
            return None
        if self.final.get(execution_id) != digest:
            self.staged[execution_id] = digest
        return receipt_of(execution_id, digest, size)

    def command(self, command: PublisherCommand) -> None:
        """What a leader wants of it, some time later, if it is there then."""
        for staged in (*command.finalise, *command.keep):
            delay = self._rng.uniform(0.001, self.slow_seconds)
            self._agenda.after(delay, lambda staged=staged: self._finalise(staged))  # type: ignore[misc]

    def _finalise(self, staged: StagedResult) -> None:
        if self.away:
            return
        execution_id, digest = staged.execution_id, staged.digest
        if self.final.get(execution_id) == digest:
            self._say(PublisherFact(finalised=((execution_id, digest),)))
        elif self.staged.get(execution_id) != digest:
            self._refuse(staged, "result-lost")
        elif self._rng.random() < self.refuses:
            del self.staged[execution_id]
            self._refuse(staged, "publish-failed")
        else:
            del self.staged[execution_id]
            self.final[execution_id] = digest
            self._say(PublisherFact(finalised=((execution_id, digest),)))

    def _refuse(self, staged: StagedResult, code: str) -> None:
        problem = Problem(code=code, message="it cannot be final")
        refused = PublishRefused(execution_id=staged.execution_id, digest=staged.digest, problem=problem)
        self._say(PublisherFact(refused=(refused,)))

    def _say(self, fact: PublisherFact) -> None:
        for _ in range(self._rng.choice([1, 1, 2])):
            if self._rng.random() >= self.facts_lost:
                self._agenda.after(self._rng.uniform(0.001, 0.05), lambda: self.answer(fact))


def staged_results(rows: Iterable[tuple[str, str, int]]) -> tuple[StagedResult, ...]:
    """What the sweep of a leader asks for."""
    return tuple(
        StagedResult(execution_id=execution_id, digest=digest, size=size, publisher=PUBLISHER, place="there")
        for execution_id, digest, size in rows
    )
