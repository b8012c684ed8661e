"""Who waits for what cannot come any more: looked for class by class, a few at a time.

Nobody wakes them otherwise: a node that lost what they need, and the end of the time for which that was waited for,
make no room anywhere. Jobs with a queue timeout wait for that, each job while a unit of it runs.
"""

from collections import deque
from datetime import datetime, timedelta

from skrei_scheduling import memory
from skrei_scheduling.explain import refused_for_good
from skrei_scheduling.rollout import goes_back, kept_alive
from skrei_scheduling.rows import JobRow, Requirement
from skrei_scheduling.texts import TRIGGER_PROGRESS
from skrei_scheduling.view import ClusterView, covers

CLASSES_A_LOOK = 1_000
"""Classes of work asked about by one look: some 5 ms. The rest has its turn with the next."""
MASKS_A_LOOK = 100
"""Of them, those whose nodes all have to be looked at: 60 µs each for 10,000 nodes."""


class HopelessRound:
    """One round over the classes that wait at its beginning; true while some were not asked about."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._left = deque(view.waiting.classes())

    def __bool__(self) -> bool:
        return bool(self._left)

    def look(self, now: datetime, *, most: int, keep: timedelta = memory.KEPT) -> list[str]:
        """Return waiting jobs of the next classes that every known node refuses for good by now, at most `most`."""
        found: list[str] = []
        matrix, feasibility = self._view.matrix, self._view.feasibility
        known, ready = matrix.known[: matrix.rows], matrix.ready[: matrix.rows]
        if not known.any() or (known & ~ready).any():
            self._left.clear()  # somebody may come, or come back, who can do anything
        masks = feasibility.computed
        for _ in range(min(len(self._left), CLASSES_A_LOOK)):
            if feasibility.computed - masks >= MASKS_A_LOOK:
                break
            requirement = self._left.popleft()
            if feasibility.could(requirement) or not self._hopeless(requirement, now, keep):
                continue
            for job_id in self._view.waiting.line(requirement):
                if len(found) >= most:
                    self._left.appendleft(requirement)
                    return found
                if self._given_up(self._view.jobs[job_id], requirement, now):
                    found.append(job_id)
        return found

    def _given_up(self, job: JobRow, requirement: Requirement, now: datetime) -> bool:
        """Whether nothing of the job runs, and it does not wait of its own will: a task of it can never complete."""
        if job.kind.per_node:
            return False  # looked at with every sweep
        if kept_alive(self._view, job):
            return goes_back(job) and not self._view.timers.runs(job.id, TRIGGER_PROGRESS)
        patient = any(
            task.queue_timeout is not None and now < job.free_since(task) + task.queue_timeout
            for task in job.tasks
            if task.requirement == requirement
        )
        return not patient and not any(covers(row, job) for row in self._view.of_job(job.id))

    def _hopeless(self, requirement: Requirement, now: datetime, keep: timedelta) -> bool:
        view = self._view
        return refused_for_good(requirement, view.matrix, view.feasibility, view.nodes, now, keep=keep)
