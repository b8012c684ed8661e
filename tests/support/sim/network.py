"""What lies between the processes: messages late, lost, doubled or overtaken, and a stream that can be wiped."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from skrei_domain.messages import FactBatch
from tests.support.sim.agenda import Agenda


@dataclass
class Weather:
    """How bad the network is; all zero once faults have stopped."""

    drop: float = 0.0
    repeat: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 3.0


@dataclass
class FactStream:
    """JetStream's FACTS: ordered, and gone when it is wiped."""

    created: int = 1
    sequence: int = 0
    messages: list[tuple[int, FactBatch]] = field(default_factory=list)

    def append(self, batch: FactBatch) -> None:
        self.sequence += 1
        self.messages.append((self.sequence, batch))

    def wipe(self) -> None:
        self.created += 1
        self.sequence = 0
        self.messages.clear()

    def after(self, sequence: int) -> list[tuple[int, FactBatch]]:
        return self.messages[sequence:]


class Network:
    """Carries calls between nodes and the control plane, each with a delay of its own."""

    def __init__(self, agenda: Agenda, rng: random.Random, weather: Weather) -> None:
        self._agenda = agenda
        self._rng = rng
        self.weather = weather
        self.facts = FactStream()
        self._cut: dict[str, float] = {}
        self._wiped = 0

    def cut(self, node_id: str, until: float) -> None:
        """Cut one node off from everybody until then."""
        self._cut[node_id] = max(until, self._cut.get(node_id, 0.0))

    def is_cut(self, node_id: str) -> bool:
        return self._agenda.now < self._cut.get(node_id, 0.0)

    def heal(self) -> None:
        """No more faults."""
        self.weather = Weather()
        self._cut.clear()

    def wipe(self) -> None:
        """Delete every stream: facts that nobody read and commands that nobody took are gone."""
        self.facts.wipe()
        self._wiped += 1

    def send(self, node_id: str, deliver: Callable[[], None], *, kept: bool = False) -> None:
        """Carry one message from or to a node; `kept` ones wait in a stream while the node is cut off."""
        wiped = self._wiped
        copies = 2 if self._rng.random() < self.weather.repeat else 1
        for _ in range(copies):
            if self._rng.random() < self.weather.drop:
                continue
            self._agenda.after(self._delay(), lambda: self._arrive(node_id, deliver, kept=kept, wiped=wiped))

    def _delay(self) -> float:
        if self._rng.random() < self.weather.slow:
            return self._rng.uniform(0.05, self.weather.slow_seconds)
        return self._rng.uniform(0.0005, 0.02)

    def _arrive(self, node_id: str, deliver: Callable[[], None], *, kept: bool, wiped: int) -> None:
        if not self.is_cut(node_id):
            deliver()
        elif kept and wiped == self._wiped:
            wait = self._cut[node_id] - self._agenda.now + self._delay()
            self._agenda.after(wait, lambda: self._arrive(node_id, deliver, kept=True, wiped=wiped))
