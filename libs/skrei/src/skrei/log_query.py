"""Which output is asked for, and the address of its stream. Pure."""

from dataclasses import dataclass
from urllib.parse import urlencode

from skrei import calls
from skrei.endpoint import API


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which output is asked for; an empty execution leaves the choice to the API.

    `lines`: of what was said before only so many of each stream; `partition` and `task` choose among executions.
    """

    job: str
    execution: str = ""
    follow: bool = False
    tail: bool = False
    namespace: str = ""
    lines: int | None = None
    task: str = ""
    partition: int | None = None
    version: int = 0

    def url(self, endpoint: str) -> str:
        """Return the address of the stream."""
        query = {
            "execution_id": self.execution,
            "follow": calls.flag(self.follow),
            "tail": calls.flag(self.tail),
            "namespace": self.namespace,
        }
        chosen = {"lines": self.lines, "partition": self.partition, "task": self.task or None}
        chosen["job_version"] = self.version or None
        query |= {name: str(value) for name, value in chosen.items() if value is not None}
        return f"ws{endpoint.removeprefix('http')}{API}{calls.job_path(self.job)}/logs?{urlencode(query)}"
