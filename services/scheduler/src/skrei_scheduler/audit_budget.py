"""How many rows of the audit a node may cost by what it says: a broken one says the same a thousand times a second."""

from collections import ChainMap
from dataclasses import dataclass, replace
from datetime import datetime

from skrei_kit.observability import get_logger
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import AuditNew

log = get_logger()

AT_ONCE = 100
"""Rows of one node at once: what a broken release says in its first minute, to the last fact."""
A_MINUTE = 10
"""Rows of one node a minute after that: enough to see that it goes on, few enough to be found by somebody in time."""
LEFT_OUT = "left_out"
"""In the details of a row: how many of its node were not written since the row before."""


@dataclass(frozen=True, slots=True)
class _Bucket:
    rows: float
    at: datetime
    left_out: int = 0


class AuditBudget:
    """A bucket of rows for each node. What is left out is counted, and told with the next row that is written."""

    def __init__(self) -> None:
        self._buckets: ChainMap[str, _Bucket] = ChainMap()

    def trial(self) -> "AuditBudget":
        """Return this budget for a commit that may come to nothing: what it spends is spent once it is `kept`."""
        trial = AuditBudget()
        trial._buckets = self._buckets.new_child()
        return trial

    def kept(self, trial: "AuditBudget") -> None:
        """The commit was made of which this is the `trial`."""
        self._buckets.update(trial._buckets.maps[0])

    def add(self, builder: ChangesBuilder, entry: AuditNew) -> None:
        """Add a row about `entry.actor`, a node, to a commit, or leave it out."""
        now = builder.locked.now
        bucket = self._buckets.get(entry.actor, _Bucket(AT_ONCE, now))
        passed = (now - bucket.at).total_seconds()
        rows = min(AT_ONCE, bucket.rows + passed * A_MINUTE / 60)
        if rows < 1:
            if not bucket.left_out:
                log.error("audit_left_out", node_id=entry.actor, action=entry.action, most_a_minute=A_MINUTE)
            self._buckets[entry.actor] = _Bucket(rows, now, bucket.left_out + 1)
            return
        self._buckets[entry.actor] = _Bucket(rows - 1, now)
        if bucket.left_out:
            entry = replace(entry, details={**entry.details, LEFT_OUT: str(bucket.left_out)})
        builder.audit(entry)
