"""What runs until it is stopped, on a node that is cut off: started again here, after growing pauses. Pure.

While somebody listens the scheduler decides what the end of a program calls for. Nobody else can on a node that is cut
off, so there it is this, by the scheduler's own rule. The pauses are journaled: an agent that ends and begins anew goes
on with them, and one that ends again and again together with a program (a machine out of memory) backs off as well.
"""

from datetime import datetime

from skrei_compute_agent.events import ArmTimer, Exited, Stage, StageFailed, Timer
from skrei_compute_agent.held import Held, Phase
from skrei_compute_agent.room import Room
from skrei_compute_agent.task import read_task
from skrei_compute_agent.turns import TurnDraft
from skrei_domain.job_kinds import KINDS
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import RunOrder
from skrei_domain.restarts import STABLE_SECONDS, restart_seconds, streak_after
from skrei_domain.sync import Known

HELD_STEPS = 20
"""Steps of earlier starts that are held and told again: a program may end every minute for weeks."""


class Restarts:
    """Starts again what has ended while this node is cut off. `link_lost`: since the last answered hello."""

    def __init__(self, draft: TurnDraft, room: Room) -> None:
        self.link_lost = False
        self._draft = draft
        self._room = room

    @property
    def cut_off(self) -> bool:
        """Whether nobody hears this node now."""
        return self.link_lost or not self._draft.node.greeted

    def takes(self, held: Held, event: Exited | StageFailed) -> bool:
        """Whether the end of a start is followed by another one here, instead of being told.

        A program that was never got to run here is told of; one that ran and cannot be staged again now will be later.
        """
        known = self._draft.node.known(held.execution_id)
        if known is None or held.dropped or not self.cut_off or not endless(held.order):
            return False
        ended = held.phase in (Phase.RUNNING, Phase.ADOPTING) and isinstance(event, Exited)
        failed = held.phase is Phase.STAGING and known.falls > 0
        return (ended or failed) and known.starts <= held.order.local_restarts

    def rest(self, held: Held, event: Exited | StageFailed) -> None:
        """Wait before the next start, the longer the more often it has ended in a row."""
        known = self._draft.node.known(held.execution_id)
        assert known is not None, "it is held"
        began = next((step.at for step in reversed(held.steps) if step.state is ExecutionState.RUNNING), None)
        ran = 0.0 if began is None or isinstance(event, StageFailed) else (self._draft.now - began).total_seconds()
        falls = streak_after(known.falls, ran)
        self._draft.write(self._draft.node.fell(held.execution_id, falls, self._draft.now))
        if isinstance(event, Exited):
            held.last = event
        held.why = f"{_how(event)}; this node is cut off, and starts it again in {restart_seconds(falls):g} s"
        self.wait(held, restart_seconds(falls))
        self._draft.mention(held)

    def wait(self, held: Held, seconds: float) -> None:
        """Let an execution rest so long; it keeps its room."""
        held.phase = Phase.RESTING
        held.ready = None if held.ready is None else False
        self._draft.instruct(ArmTimer(held.execution_id, Timer.RESTART, seconds))

    def again(self, held: Held) -> None:
        """Begin the next start."""
        task, _ = read_task(held.order.task_json)
        held.phase, held.started_early, held.note, held.why = Phase.STAGING, True, "", ""
        held.steps = held.steps[:1] + held.steps[1:][-HELD_STEPS:]
        self._draft.reach(held, ExecutionState.STAGING)
        self._draft.started(held.execution_id)
        gpus = self._room.gpus.held.get(held.execution_id, ())
        self._draft.instruct(Stage(held.execution_id, held.order, task, held.needs, gpus))


def endless(order: RunOrder) -> bool:
    """Whether an order is for what runs until it is stopped."""
    kind = KINDS.get(order.job_type)
    return kind is not None and kind.endless


def pause_at_begin(known: Known, order: RunOrder, now: datetime) -> tuple[int, float]:
    """Return how often in a row it fell, and how long it waits, before a new process starts an execution again.

    When the last start ended is not known where it ended with its agent: it counts as one that ran until now.
    """
    if not endless(order) or not known.starts:
        return known.falls, 0.0
    if known.fell_at is not None:
        passed = max((now - known.fell_at).total_seconds(), 0.0)
        return known.falls, max(restart_seconds(known.falls) - passed, 0.0)
    ran = (now - known.changed_at).total_seconds() if known.changed_at is not None else 0.0
    if ran >= STABLE_SECONDS:
        return known.falls, 0.0
    falls = streak_after(known.falls, ran)
    return falls, restart_seconds(falls)


def _how(event: Exited | StageFailed) -> str:
    if event.problem is not None:
        return event.problem.message
    assert isinstance(event, Exited), "what was not staged has a problem"
    return f"it ended with exit code {event.exit_code}"
