"""Which timers of jobs run: evaluations that the leader has asked for, to look at a job again at a later time."""

from collections.abc import Collection

from skrei_scheduling.changes import EvaluationNew


class Timers:
    """The latest timer of each job and trigger, so that nobody sets a second one beside it.

    A new leader knows of none, and at worst sets each once more.
    """

    def __init__(self) -> None:
        self._of: dict[str, dict[str, str]] = {}
        self._what: dict[str, tuple[str, str]] = {}

    def set(self, asked: EvaluationNew) -> None:
        """A timer runs from now on."""
        self.end(self._of.get(asked.job_id, {}).get(asked.trigger, ""))
        self._of.setdefault(asked.job_id, {})[asked.trigger] = asked.id
        self._what[asked.id] = (asked.job_id, asked.trigger)

    def end(self, evaluation_id: str) -> None:
        """An evaluation was answered; nothing for one that is no timer."""
        job_id, trigger = self._what.pop(evaluation_id, ("", ""))
        of_job = self._of.get(job_id)
        if of_job is not None:
            of_job.pop(trigger, None)
            if not of_job:
                del self._of[job_id]

    def drop(self, job_id: str) -> None:
        """Nobody waits for the timers of a job any more."""
        for evaluation_id in self._of.pop(job_id, {}).values():
            self._what.pop(evaluation_id, None)

    def runs(self, job_id: str, trigger: str, *, but: Collection[str] = ()) -> bool:
        """Whether a timer of a job runs that is not among `but`: those have just fired."""
        found = self._of.get(job_id, {}).get(trigger)
        return found is not None and found not in but
