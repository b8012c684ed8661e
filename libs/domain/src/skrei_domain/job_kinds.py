"""The kinds of job, and what sets them apart: who says how many run, and whether the end of a program is meant."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from skrei_domain.job_reading import Keys, Reading
from skrei_domain.node_results import named
from skrei_domain.spec import MAX_COUNT


class Kind(StrEnum):
    """What a job's `Type` says; the value is the word that API clients write and read."""

    BATCH = "batch"  # Count partitions, until each has completed
    SERVICE = "service"  # Count partitions, kept alive until stopped
    OPS = "ops"  # once on every node that matches when it is first planned
    DAEMON = "daemon"  # on every node that matches, also those that join later, until stopped

    @property
    def per_node(self) -> bool:
        """Whether nodes, not a Count, say how many run: the partition of a unit is its node's number."""
        return self in (Kind.OPS, Kind.DAEMON)

    @property
    def endless(self) -> bool:
        """Whether it runs until it is stopped: a program that ends is started again, and no timeout ends it."""
        return self in (Kind.SERVICE, Kind.DAEMON)


KINDS = {kind.value: kind for kind in Kind}

MAX_SURGE = 100
"""More than a service needs, during an update: each takes room of its own."""
MIN_DEADLINE_SECONDS = 10
MAX_DEADLINE_SECONDS = 86_400
"""Without anything getting ready: after a day nobody waits for it."""

MIN_READY_SECONDS = 5
"""Unless said otherwise: what cannot work ends within a second or two, and each step of an update takes this."""

_UPDATE = Keys("MaxSurge", "MinReady", "ProgressDeadline")
_NO_ORDER = {
    True: "its tasks never end, and only an end is waited for; to wait until another service is ready say "
    "`Uses: [its job's name]`, and make a batch job of what has to be done before",
    False: "its tasks run on each node by themselves; make one task of the steps, or a batch job of what has to be "
    "done before",
}
"""Why the tasks of jobs that are no batch have no order, and what to do instead; by whether they are endless."""
_NO_PLACE = (
    "none that leaves results on the node with Type {kind}: it has no result, and what it leaves as it is stopped goes "
    "to Skrei's own store; let it write to an input of Type local with ReadWrite"
)
_PER_NODE = "with Type {kind}: it runs once on every node that matches"


def read_count(reading: Reading, raw: object, kind: str) -> int:
    """Return a job's `Count`: 0 where nodes say how many run; clients that send 1 for that mean the same."""
    if kind not in KINDS or not KINDS[kind].per_node:
        return reading.integer(raw, "Count", 0, MAX_COUNT, default=1)
    count = reading.integer(raw, "Count", 0, MAX_COUNT, default=0)
    if count > 1:
        reading.wrong("Count", count, f"0 or none {_PER_NODE.format(kind=kind)}")
    return 0


def read_update(reading: Reading, raw: object) -> dict[str, Any]:
    """Return how a service goes to its next version, with the defaults."""
    found = reading.record(raw, "Update", _UPDATE)
    found["MaxSurge"] = reading.integer(found.get("MaxSurge"), "Update.MaxSurge", 1, MAX_SURGE, default=1)
    deadline, where = found.get("ProgressDeadline"), "Update.ProgressDeadline"
    before = len(reading.problems)
    found["ProgressDeadline"] = seconds = reading.seconds(deadline, where, MAX_DEADLINE_SECONDS, default=600)
    if seconds < MIN_DEADLINE_SECONDS and len(reading.problems) == before:
        reading.wrong(where, deadline, f"at least {MIN_DEADLINE_SECONDS} seconds")
    least = found.get("MinReady")
    found["MinReady"] = reading.seconds(least, "Update.MinReady", MAX_DEADLINE_SECONDS, default=MIN_READY_SECONDS)
    return found


def check_tasks(reading: Reading, tasks: Sequence[Mapping[str, Any]], kind: str) -> None:
    """Check what the kind of a job allows its tasks: counts of their own; an order, and results, which need ends."""
    if kind not in KINDS or kind == Kind.BATCH:
        return
    for index, task in enumerate(tasks):
        if KINDS[kind].per_node and task.get("Count") is not None:
            reading.wrong(f"Tasks[{index}].Count", task["Count"], f"none {_PER_NODE.format(kind=kind)}")
        for where, publisher in named(task, f"Tasks[{index}]") if KINDS[kind].endless else ():
            reading.wrong(f"{where}.Type", publisher["Type"], _NO_PLACE.format(kind=kind))
        for place, each in enumerate(task.get("DependsOn") or ()):
            where = f"Tasks[{index}].DependsOn[{place}]"
            reading.wrong(where, each.task, f"none with Type {kind}: {_NO_ORDER[KINDS[kind].endless]}")
        for place, source in enumerate(task.get("InputSources") or ()):
            if str(source["Source"]["Type"]).lower() == "task":
                where = f"Tasks[{index}].InputSources[{place}].Source.Type"
                reading.wrong(where, "task", f"another type with Type {kind}: {_NO_ORDER[KINDS[kind].endless]}")
