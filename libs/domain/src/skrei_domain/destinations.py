"""Where results go that a job wants elsewhere than in Skrei's own store: whose word that is, and its templates. Pure.

A destination is a publisher's name and params. Publishers belong to the control plane: which there are is known by the
publisher's process, and no node needs anything for them, except for those that leave results on the node itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from skrei_domain.node import KEPT_HERE

STORE = "store"
"""Skrei's own result store: the publisher of results whose jobs name none."""
MANAGED = "s3managed"
"""A bucket of the control plane's owner, who names it in settings; Skrei's own store where there is none."""
PLACE = "_place"
"""What such a publisher is told, as no job says anything of it: `<job>/<execution>`."""
ON_NODES = frozenset({"localdirectory"})
"""Publishers that leave a result on its node: only nodes that have them can run a job that names one."""
HERE = frozenset({"", STORE, "none", *KEPT_HERE}) - {MANAGED}
"""Names that mean Skrei's own store, `none` among them: who writes it wants nothing published, and that is this."""

WORDS = ("executionID", "jobID", "nodeID", "jobName", "namespace", "task", "partition", "attempt", "date", "time")
"""What stands in braces in the params of a destination: `{jobID}`."""
_WORD = re.compile(r"\{(" + "|".join(WORDS) + r")\}")
_LEAST_SAFE = re.compile(r"[/\\\x00-\x1f\x7f]")
"""What a value must not bring into a key: it names one part of it, and never leads elsewhere."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the words stand for. `since` is when the job's version was asked for: the same for all its attempts, so that
    another attempt writes where the first one would have."""

    execution_id: str
    job_id: str
    node_id: str
    since: datetime
    job_name: str = ""
    namespace: str = ""
    task: str = ""
    partition: int = 0
    attempt: int = 1

    def words(self) -> dict[str, str]:
        """Return what each word stands for."""
        at = self.since.astimezone(UTC)
        return {
            "executionID": self.execution_id,
            "jobID": self.job_id,
            "nodeID": _part(self.node_id),
            "jobName": _part(self.job_name),
            "namespace": _part(self.namespace),
            "task": _part(self.task),
            "partition": str(self.partition),
            "attempt": str(self.attempt),
            "date": f"{at:%Y%m%d}",
            "time": f"{at:%H%M%S}",
        }


def publisher_name(wanted: str) -> str:
    """Return the name of the publisher that a task's spec names, one for all that mean Skrei's own store."""
    name = wanted.strip().lower()
    return STORE if name in HERE else name


def destination(name: str, params: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """Return what a publisher is told: a job's params with their words replaced; of the owner's bucket the place."""
    if name == MANAGED:
        return {PLACE: f"{work.job_id}/{work.execution_id}"}
    return expand(params, work)


def fill(text: str, work: Work) -> str:
    """Return a text with its words replaced; braces around anything else stay."""
    words = work.words()
    return _WORD.sub(lambda found: words[found[1]], text)


def expand(params: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """Return params with all their texts filled, at every depth."""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return fill(value, work)
        if isinstance(value, Mapping):
            return {key: filled(each) for key, each in value.items()}
        return [filled(each) for each in value] if isinstance(value, list | tuple) else value

    return {key: filled(value) for key, value in params.items()}


def _part(text: str) -> str:
    """Return what a person or a node chose as one part of a key: it can neither add a part nor climb out of one."""
    safe = _LEAST_SAFE.sub("_", text)
    return safe if safe.strip(".") else "_"
