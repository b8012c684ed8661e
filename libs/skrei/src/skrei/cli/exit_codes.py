"""What the exit code of a command says that runs a program. Pure.

| code | meaning |
|---|---|
| the program's | it ran to its end; of several partitions the highest |
| 1 | the job failed for another cause: its node was lost, memory ran out, somebody stopped it |
| 2 | a wrong call, of a command that runs no program |
| 124 | it took longer than a timeout allowed |
| 125 | it could not be run: a wrong call, no API, no node for it, no such image or module, an input that is not there |
| 130 | Ctrl+C: the job goes on, or was stopped by a second one |
| 141 | who read the output has gone (`| head`), as a shell tells it of any program; the job goes on |
"""

from collections.abc import Iterable

from skrei.progress import best_attempts
from skrei.views import Execution, HistoryItem, Job

FAILED, MISUSED, TIMED_OUT, NOT_RUN, INTERRUPTED, UNREAD = 1, 2, 124, 125, 130, 141

TIMEOUTS = frozenset({"execution-timeout", "total-timeout", "timeout"})
"""Error codes of attempts whose time was over."""
JOB_TIMEOUT = "Job Timeout"
"""The topic of a whole job's timeout in its history."""
NEVER_RAN = frozenset(
    {
        *("module-invalid", "export-unknown", "invalid-params", "invalid-task", "env-denied", "refused"),
        *("input-invalid", "input-denied", "input-corrupt", "input-too-large", "input-unavailable"),
        *("image-unavailable", "executable-invalid", "network-unsupported", "container-refused"),
        "gpu-not-given",
    }
)
"""Error codes of attempts in which no line of the program was run."""
EXITED = "exit-code"
"""The error code of attempts whose job says that an exit code is a failure (`FailOn: exit-code`)."""
_HIGHEST = 255


class Ends:
    """Gathers from a job's history why its attempts ended."""

    def __init__(self) -> None:
        self._codes: dict[str, str] = {}
        self._ran: set[str] = set()
        self._versions_run: set[int] = set()
        self._timed_out = False

    def take(self, events: Iterable[HistoryItem]) -> None:
        """Note what these events tell."""
        for item in events:
            if item.topic == JOB_TIMEOUT:
                self._timed_out = True
            if item.execution_id and item.message == "Running":
                self._ran.add(item.execution_id)
                self._versions_run.add(item.version)
            if code := item.details.get("ErrorCode", ""):
                self._codes[item.execution_id] = code

    def has_run(self, version: int) -> bool:
        """Whether a program of this version of the job has been started."""
        return version in self._versions_run

    def exit_code(self, job: Job, executions: Iterable[Execution]) -> int:
        """Return the exit code for a job that has ended."""
        best = best_attempts(executions)
        if job.state == "Completed":
            return max((min(max(one.exit_code or 0, 0), _HIGHEST) for one in best), default=0)
        if job.state == "Stopped":
            return FAILED
        codes = {self._codes.get(one.id, "") for one in best if one.state != "Completed"} | (
            {self._codes[""]} if "" in self._codes else set()
        )
        if self._timed_out or codes & TIMEOUTS:
            return TIMED_OUT
        if EXITED in codes:
            return max((min(one.exit_code or 0, _HIGHEST) for one in best), default=FAILED) or FAILED
        failed = [one for one in best if one.state in {"Failed", "Refused", "Lost"}]
        if not best or codes & NEVER_RAN or (failed and not any(one.id in self._ran for one in failed)):
            return NOT_RUN
        return FAILED
