"""What `NodeSide` tells its shell to do, in order: a `Write` is durable before the acts after it are carried out."""

from dataclasses import dataclass
from typing import TypeAlias

from skrei_domain.messages import Problem, RunOrder
from skrei_domain.sync.memory import JournalRow


@dataclass(frozen=True, slots=True)
class Write:
    """Make these rows durable, together, before anything that follows."""

    rows: tuple[JournalRow, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Begin an execution (it has not been started yet)."""

    execution_id: str
    order: RunOrder


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop an execution's workload; then observe it as stopped."""

    execution_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove what an execution left here: outputs, logs, container."""

    execution_id: str


@dataclass(frozen=True, slots=True)
class SayHello:
    """Say hello before anything else is believed."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The leader refused the hello; `duplicate-node` is final for this process, the rest is worth another try."""

    problem: Problem


Act: TypeAlias = Write | Run | Halt | Drop | SayHello | Denied
