"""The turn in the making: what all that decides for a node's executions adds its rows and instructions to. Pure."""

from collections.abc import Iterable
from datetime import datetime

from skrei_compute_agent.events import Instruction, Moment, Turn
from skrei_compute_agent.held import Held, Phase
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import ExecutionObserved, Problem, Step
from skrei_domain.sync import Act, JournalRow, NodeSide, Write

NOTED_FACTS = 64
"""Unconfirmed facts beyond which no progress is noted: a node that is cut off does not fill its journal with it."""


class TurnDraft:
    """One turn after another: `begin`, whatever belongs to it, `finish`."""

    def __init__(self, node: NodeSide) -> None:
        self.node = node
        self._moment: Moment
        self._rows: list[JournalRow] = []
        self._out: list[Instruction] = []
        self._untold: dict[str, Held] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be handed out."""
        return len(self._rows) + len(self._out) == 0

    @property
    def now(self) -> datetime:
        """The wall's time of this turn."""
        return self._moment.wall

    def begin(self, moment: Moment) -> None:
        """Begin a turn."""
        self._moment = moment

    def finish(self) -> Turn:
        """Hand the turn out."""
        turn = Turn(tuple(self._rows), tuple(self._out))
        self._rows, self._out = [], []
        return turn

    def instruct(self, *instructions: Instruction) -> None:
        """Have these carried out once the turn's rows are durable."""
        self._out.extend(instructions)

    def write(self, acts: Iterable[Act]) -> None:
        """Write what the protocol's side makes of an observation of ours: it is never more than rows."""
        for act in acts:
            assert isinstance(act, Write), f"{act} follows from no command"
            self._rows.extend(act.rows)

    def starts(self, execution_id: str) -> int:
        """Return how often an execution was started here."""
        known = self.node.known(execution_id)
        return known.starts if known is not None else 0

    def started(self, execution_id: str) -> None:
        """Journal a start, before it happens."""
        self.write(self.node.started(execution_id, self.now))

    def reach(self, held: Held, state: ExecutionState) -> None:
        """Note a state that an execution has reached."""
        held.reach(state, self.now, self.starts(held.execution_id))

    def observe(self, fact: ExecutionObserved) -> None:
        """Journal a fact, and have it told."""
        self.write(self.node.observe(fact, self.now))

    def report(self, held: Held) -> None:
        """Tell how an execution that goes on stands."""
        self._untold.pop(held.execution_id, None)
        if held.phase is Phase.PUBLISHING and held.ended is not None:
            self.write(self.node.withhold(held.ended.model_copy(update={"note": held.note}), self.now))
            return
        self.observe(
            ExecutionObserved(
                execution_id=held.execution_id,
                revision=0,
                state=held.steps[-1].state,
                steps=held.steps,
                note=held.note or None if held.phase is Phase.STAGING else held.why,
                ports=held.ports or None,
                ready=held.ready,
                data=held.data,
            )
        )

    def unsaid(self, held: Held) -> None:
        """What could wait is not told any more: it has gone on."""
        self._untold.pop(held.execution_id, None)

    def mention(self, held: Held) -> None:
        """Note what can wait: it gives way to all else, and is told by `catch_up`, at the end of a turn."""
        self._untold[held.execution_id] = held

    def catch_up(self) -> None:
        """Report how those stand that have waited for it, as far as the log has room."""
        for held in tuple(self._untold.values()) if self._untold else ():
            if held.phase is Phase.ENDED:
                del self._untold[held.execution_id]
            elif len(self.node.memory.outbox) < NOTED_FACTS:
                self.report(held)

    def conclude(
        self,
        execution_id: str,
        state: ExecutionState,
        problem: Problem | None = None,
        steps: tuple[Step, ...] = (),
    ) -> None:
        """End an execution of which nothing runs here."""
        step = Step(state=state, at=self.now, start=self.starts(execution_id))
        self.observe(
            ExecutionObserved(execution_id=execution_id, revision=0, state=state, steps=(*steps, step), problem=problem)
        )
