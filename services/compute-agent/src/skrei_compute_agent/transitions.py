"""The life of an execution on a node, event by event: which may come in which phase, and what each leads to. Pure."""

from collections.abc import Callable
from typing import ClassVar, TypeAlias

from skrei_compute_agent.beginnings import Beginnings
from skrei_compute_agent.events import (
    ArmTimer,
    Checked,
    ClosePorts,
    DisarmTimers,
    DropFiles,
    ExecutionEvent,
    Exited,
    Halted,
    Kill,
    NotAdopted,
    Noted,
    Release,
    RunEngine,
    Staged,
    StageFailed,
    Timer,
    TimerFired,
    Uploaded,
    UploadFailed,
)
from skrei_compute_agent.held import Held, IllegalEvent, Phase
from skrei_compute_agent.restarts import Restarts
from skrei_compute_agent.room import Room
from skrei_compute_agent.turns import TurnDraft
from skrei_compute_agent.verdicts import (
    after_upload,
    expiry,
    goes_elsewhere,
    kept,
    no_door,
    stays,
    stays_at,
    verdict,
    without_upload,
)
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import ExecutionObserved, Problem

_Handler: TypeAlias = "Callable[[Transitions, Held, ExecutionEvent], None]"


class Transitions:
    """Moves executions on. `door`: the publisher's; empty: there is none; None: no hello was answered yet."""

    def __init__(self, draft: TurnDraft, room: Room, beginnings: Beginnings, restarts: Restarts) -> None:
        self._restarts = restarts
        self.door: str | None = None
        self._draft = draft
        self._room = room
        self._beginnings = beginnings

    def on(self, event: ExecutionEvent) -> None:
        """Do what an event leads to. Raises IllegalEvent, with the execution's story, for one that cannot be."""
        held = self._room.held.get(event.execution_id)
        if held is None:
            if isinstance(event, TimerFired):
                return  # it has ended and is confirmed
            if isinstance(event, Halted):
                self._draft.conclude(event.execution_id, ExecutionState.STOPPED)
                return
            raise IllegalEvent(f"{type(event).__name__} for {event.execution_id}, which this process does not hold")
        handler = self._TABLE.get((held.phase, type(event)))
        if handler is None:
            raise IllegalEvent(f"{type(event).__name__} while {held.phase.value}", story=held.story)
        held.tell(self._draft.now, event)
        handler(self, held, event)

    def told(self, event: Noted | Checked) -> None:
        """Tell what is known of an execution that goes on."""
        if isinstance(event, Noted):
            self._note(event.execution_id, event.text)
        else:
            self._checked(event)

    def _note(self, execution_id: str, text: str) -> None:
        """Tell how far a preparation is, or what a result waits for; nothing hangs on it: it gives way to all else."""
        held = self._room.held.get(execution_id)
        if held is None or held.phase not in (Phase.STAGING, Phase.PUBLISHING) or held.note == text:
            return
        held.note = text
        self._draft.mention(held)

    def _checked(self, event: Checked) -> None:
        """Tell whether a start is ready, and why not; what came too late for that is nothing.

        Why not is told as nothing hangs on it: it gives way to all else.
        """
        held = self._room.held.get(event.execution_id)
        running = held is not None and held.phase in (Phase.RUNNING, Phase.ADOPTING)
        if held is None or not running or event.start != self._draft.starts(event.execution_id):
            return
        if (held.ready, held.why or "") == (event.ready, event.why):
            return
        turned, held.ready, held.why = held.ready is not event.ready, event.ready, event.why
        self._tell(held, at_once=turned)

    def _tell(self, held: Held, *, at_once: bool) -> None:
        """Report what an execution has come to. While nobody hears, all of that can wait: a node that starts again what
        ends says the same for hours."""
        (self._draft.report if at_once and not self._restarts.cut_off else self._draft.mention)(held)

    def drop(self, execution_id: str) -> None:
        """Remove what an execution left, when nothing of it runs any more."""
        held = self._room.held.get(execution_id)
        if held is not None and held.phase is not Phase.ENDED:
            held.dropped = True
        else:
            self._forget(execution_id)

    def _run(self, held: Held, event: ExecutionEvent) -> None:
        assert isinstance(event, Staged)
        held.ports, held.data = event.ports, event.data
        self._draft.write(self._draft.node.opened(held.execution_id, event.ports, self._draft.now))
        if not held.started_early:
            self._draft.started(held.execution_id)
        held.phase = Phase.RUNNING
        self._draft.reach(held, ExecutionState.RUNNING)
        self._draft.instruct(RunEngine(held.execution_id, self._draft.starts(held.execution_id)))
        if held.order.execution_timeout_seconds is not None:
            self._draft.instruct(ArmTimer(held.execution_id, Timer.EXECUTION, held.order.execution_timeout_seconds))
        if held.worth_telling:
            self._tell(held, at_once=True)

    def _not_adopted(self, held: Held, event: ExecutionEvent) -> None:
        """Nothing of it runs any more: start it again if that is allowed."""
        del self._room.held[held.execution_id]
        held.phase = Phase.ENDED  # another one takes its place
        self._room.vacate(held)
        self._draft.instruct(DisarmTimers(held.execution_id))
        known = self._draft.node.known(held.execution_id)
        assert known is not None
        self._beginnings.take_up(known, held.steps)

    def _ring(self, held: Held, event: ExecutionEvent) -> None:
        assert isinstance(event, TimerFired)
        if event.timer is Timer.RESTART:
            return  # it was for an earlier rest
        if held.phase is Phase.PUBLISHING and event.timer is not Timer.TOTAL:
            if event.timer is Timer.UPLOAD:
                self._draft.instruct(Kill(held.execution_id, "what can never count is not uploaded for longer"))
            return
        if event.timer is Timer.REPORT:
            held.worth_telling = True
            self._draft.report(held)
            return
        held.phase = Phase.EXPIRING
        held.problem = expiry(held.order, event.timer)
        self._draft.instruct(Kill(held.execution_id, held.problem.message))

    def _halt(self, held: Held, event: ExecutionEvent) -> None:
        assert isinstance(event, Halted)
        held.phase = Phase.STOPPING
        self._draft.instruct(Kill(held.execution_id, event.reason or "stopped"))

    def _end(self, held: Held, event: ExecutionEvent) -> None:
        """What was staging or running is over: tell the whole of it, once; or start it again, where nobody is told."""
        if isinstance(event, StageFailed | Exited) and self._restarts.takes(held, event):
            self._restarts.rest(held, event)
            return
        ended = event if isinstance(event, Exited) else Exited(held.execution_id)
        state, problem = verdict(held, event)
        self._room.vacate(held)
        if held.ports or (isinstance(event, Staged) and event.ports):
            self._draft.instruct(ClosePorts(held.execution_id))
        fact = ExecutionObserved(
            execution_id=held.execution_id,
            revision=0,  # NodeSide fills in the journal's
            state=state,
            exit_code=ended.exit_code,
            problem=problem,
            output=ended.output,
            result=ended.result if kept(held.order, state, ended.exit_code) else None,
            image_digest=ended.image_digest or None,
            data=event.data if isinstance(event, Staged) else held.data,
        )
        small = fact.result is not None and fact.result.inline is not None
        if fact.result is None or (small and not stays(held.order, fact) and not goes_elsewhere(held.order, fact)):
            self._finish(held, fact)
            return
        held.ended = fact
        whole = stays_at(held.order, fact) is not None  # nothing of it is uploaded
        if held.dropped or not (whole or (self.door != "" and held.order.token)):
            self._finish(held, without_upload(held, no_door(fact.result)))
        else:
            self._publish_result(held, fact)

    def _publish_result(self, held: Held, fact: ExecutionObserved) -> None:
        """Have what it left uploaded before its end is told; the journal holds the end meanwhile."""
        held.phase, held.note = Phase.PUBLISHING, ""
        self._draft.unsaid(held)
        self._draft.reach(held, ExecutionState.PUBLISHING)
        held.ended = fact.model_copy(update={"steps": held.steps})
        self._draft.write(self._draft.node.withhold(held.ended, self._draft.now))
        self._release(held)
        self._beginnings.upload(held, held.ended)

    def _uploaded(self, held: Held, event: ExecutionEvent) -> None:
        assert isinstance(event, Uploaded)
        self._finish(held, after_upload(held, event))

    def _not_uploaded(self, held: Held, event: ExecutionEvent) -> None:
        assert isinstance(event, UploadFailed)
        self._finish(held, without_upload(held, event.problem))

    def _finish(self, held: Held, fact: ExecutionObserved) -> None:
        """Tell the end of an execution, of which nothing is done here any more."""
        held.phase = Phase.ENDED
        self._draft.reach(held, fact.state)
        self._draft.observe(fact.model_copy(update={"steps": held.steps}))
        self._draft.instruct(DisarmTimers(held.execution_id))
        self._release(held)
        if held.dropped:
            self._forget(held.execution_id)

    def _release(self, held: Held) -> None:
        """The end of its program is durable with this turn: what its engine kept of it may go."""
        if held.engine and held.steps[-1].start:
            self._draft.instruct(Release(held.execution_id, held.engine))
            held.engine = ""

    def _ring_resting(self, held: Held, event: ExecutionEvent) -> None:
        """A pause is over, or the time of its job."""
        assert isinstance(event, TimerFired)
        if event.timer is Timer.RESTART:
            self._restarts.again(held)
        elif event.timer is Timer.REPORT:
            held.worth_telling = True
        elif event.timer is Timer.TOTAL:
            self._end_resting(held, ExecutionState.FAILED, expiry(held.order, event.timer))

    def _halt_resting(self, held: Held, event: ExecutionEvent) -> None:
        """Nothing of it runs: it ends at once."""
        self._end_resting(held, ExecutionState.STOPPED, None)

    def _end_resting(self, held: Held, state: ExecutionState, problem: Problem | None) -> None:
        """Tell of the end, with what the last start left where that can travel with the fact."""
        self._room.vacate(held)
        last = held.last or Exited(held.execution_id)
        small = last.result is not None and last.result.inline is not None
        fact = ExecutionObserved(
            execution_id=held.execution_id,
            revision=0,
            state=state,
            problem=problem,
            output=last.output,
            result=last.result if small and kept(held.order, state, last.exit_code) else None,
            data=held.data,
        )
        self._finish(held, fact)

    def _nothing(self, held: Held, event: ExecutionEvent) -> None:
        """What came changes nothing: it is on its way to its end, or there."""

    def _forget(self, execution_id: str) -> None:
        self._room.held.pop(execution_id, None)
        self._draft.instruct(DropFiles(execution_id))

    # ------------------------------------------------------------ the table

    _TABLE: ClassVar[dict[tuple[Phase, type[ExecutionEvent]], _Handler]] = {
        (Phase.STAGING, Staged): _run,
        (Phase.STAGING, StageFailed): _end,
        (Phase.STAGING, TimerFired): _ring,
        (Phase.STAGING, Halted): _halt,
        (Phase.RUNNING, Exited): _end,
        (Phase.RUNNING, TimerFired): _ring,
        (Phase.RUNNING, Halted): _halt,
        (Phase.ADOPTING, Exited): _end,
        (Phase.ADOPTING, NotAdopted): _not_adopted,
        (Phase.ADOPTING, TimerFired): _ring,
        (Phase.ADOPTING, Halted): _halt,
        (Phase.RESTING, TimerFired): _ring_resting,
        (Phase.RESTING, Halted): _halt_resting,
        (Phase.STOPPING, Staged): _end,
        (Phase.STOPPING, StageFailed): _end,
        (Phase.STOPPING, Exited): _end,
        (Phase.STOPPING, NotAdopted): _end,
        (Phase.STOPPING, TimerFired): _nothing,
        (Phase.STOPPING, Halted): _nothing,
        (Phase.EXPIRING, Staged): _end,
        (Phase.EXPIRING, StageFailed): _end,
        (Phase.EXPIRING, Exited): _end,
        (Phase.EXPIRING, NotAdopted): _end,
        (Phase.EXPIRING, TimerFired): _nothing,
        (Phase.EXPIRING, Halted): _halt,
        (Phase.PUBLISHING, Uploaded): _uploaded,
        (Phase.PUBLISHING, UploadFailed): _not_uploaded,
        (Phase.PUBLISHING, TimerFired): _ring,
        (Phase.PUBLISHING, Halted): _halt,
        (Phase.STOPPING, Uploaded): _uploaded,
        (Phase.STOPPING, UploadFailed): _not_uploaded,
        (Phase.EXPIRING, Uploaded): _uploaded,
        (Phase.EXPIRING, UploadFailed): _not_uploaded,
        (Phase.ENDED, TimerFired): _nothing,
    }
