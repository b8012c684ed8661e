"""Which evaluations the leader has asked for at a later time: timers of jobs, and the ends of their units' backoffs."""

from collections.abc import Collection, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Asked(Generic[Key]):
    """The latest evaluation that was asked for of each job and key.

    A new leader knows of none, and at worst asks for each once more, or cuts a pause short.
    """

    def __init__(self) -> None:
        self._of: dict[str, dict[Key, str]] = {}
        self._what: dict[str, tuple[str, Key]] = {}

    def set(self, job_id: str, key: Key, evaluation_id: str) -> None:
        """It was asked for; what was asked for before it of the same key counts no more."""
        self.end(self.of(job_id).get(key, ""))
        self._of.setdefault(job_id, {})[key] = evaluation_id
        self._what[evaluation_id] = (job_id, key)

    def end(self, evaluation_id: str) -> None:
        """An evaluation was answered; nothing for one that was not asked for here."""
        found = self._what.pop(evaluation_id, None)
        if found is None:
            return
        job_id, key = found
        del self._of[job_id][key]
        if not self._of[job_id]:
            del self._of[job_id]

    def drop(self, job_id: str) -> None:
        """Nobody waits for the evaluations of a job any more."""
        for evaluation_id in self._of.pop(job_id, {}).values():
            del self._what[evaluation_id]

    def of(self, job_id: str) -> Mapping[Key, str]:
        """Return what was asked for of a job and is not answered: evaluations by key."""
        return self._of.get(job_id, {})


class Timers(Asked[str]):
    """The latest timer of each job and trigger, so that nobody sets a second one beside it."""

    def runs(self, job_id: str, trigger: str, *, but: Collection[str] = ()) -> bool:
        """Whether a timer of a job runs that is not among `but`: those have just fired."""
        found = self.of(job_id).get(trigger)
        return found is not None and found not in but
