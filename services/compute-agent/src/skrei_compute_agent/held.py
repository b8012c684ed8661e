"""One execution as the machine holds it: its phase, the steps it reached, and its story for whoever debugs it."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from skrei_compute_agent.events import Exited
from skrei_domain.errors import SkreiError
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import DataRead, ExecutionObserved, PortObserved, Problem, RunOrder, Step
from skrei_domain.resources import Resources

STORY_LINES = 32
"""Lines of an execution's story: a life has about ten, so this shows all of it and bounds a flood of repeats."""


class Phase(StrEnum):
    """Where an execution is in this process; finer than its state, which is what the leader is told."""

    STAGING = "staging"
    RUNNING = "running"
    ADOPTING = "adopting"  # an earlier process started it: it runs, unless nothing of it is found
    RESTING = "resting"  # its program has ended while nobody could be told: this node starts it again in a while
    STOPPING = "stopping"  # told to end because a stop is wanted
    EXPIRING = "expiring"  # told to end because its time is over
    PUBLISHING = "publishing"  # its program has ended; what it left is on its way to the publisher
    ENDED = "ended"  # its end is in the log; its files stay until that is confirmed


class IllegalEvent(SkreiError):
    """An event that cannot follow: a fault of this program. Carries the execution's story."""

    code = "illegal-event"

    def __init__(self, message: str, *, story: "deque[str] | None" = None) -> None:
        lines = "".join(f"\n  {line}" for line in story or ())
        super().__init__(f"{message}{'; its story:' if lines else ''}{lines}")


@dataclass(slots=True)
class Held:
    """An execution that this process looks after."""

    execution_id: str
    order: RunOrder
    needs: Resources
    started_early: bool = False
    """Its start was journaled together with its reception."""
    engine: str = ""
    """The engine that keeps something of it until its end is durable; empty: none does."""
    phase: Phase = Phase.STAGING
    worth_telling: bool = False
    """It has lived long enough that each further step is told at once."""
    dropped: bool = False
    """It is forgotten already: its files go as soon as it has ended."""
    note: str = ""
    """How far its preparation is; while it publishes, what is waited for."""
    problem: Problem | None = None
    ended: ExecutionObserved | None = None
    """How its program ended, while its result is being uploaded."""
    steps: tuple[Step, ...] = ()
    ports: tuple[PortObserved, ...] = ()
    """Its ports on this node, while it runs."""
    data: DataRead | None = None
    """What its last start read; None where that is nothing."""
    ready: bool | None = None
    """What its check finds; None where it has none."""
    why: str | None = None
    """Why it is not ready, as its check says; empty once it is, None before its check has said anything."""
    last: Exited | None = None
    """How its last start ended, while it rests."""
    story: deque[str] = field(default_factory=lambda: deque(maxlen=STORY_LINES))

    def reach(self, state: ExecutionState, at: datetime, start: int) -> None:
        """Note a state that the execution has reached."""
        self.steps += (Step(state=state, at=at, start=start),)

    def tell(self, at: datetime, event: object) -> None:
        """Add an event to the story."""
        self.story.append(f"{at:%H:%M:%S.%f} {self.phase.value}: {type(event).__name__}")
