"""How long what jobs leave is kept, and what of it may go now. Pure.

An operator says it for all namespaces or one (`SKREI_RETENTION`), a job for itself (`Retention`), within what its
namespace allows. Nothing that a job which has not ended needs ever goes; the audit is no part of any of this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from skrei_domain.job_reading import parse_seconds

RESULTS, LOGS, HISTORY = "results", "logs", "history"
KINDS = (RESULTS, LOGS, HISTORY)
"""What is kept: what executions left in Skrei's own store; what they said; the job itself with all that happened."""
DAY = 86_400
DEFAULT_SECONDS = {RESULTS: 7 * DAY, LOGS: 7 * DAY, HISTORY: 90 * DAY}
"""Unless said otherwise: results and logs for a week, which covers a holiday and bounds the disk; what happened for a
quarter, since people ask for that later, and it is small."""
MOST_SECONDS = {RESULTS: 90 * DAY, LOGS: 90 * DAY, HISTORY: 3_660 * DAY}
"""What a job may ask for unless its operator says otherwise: a quarter of somebody else's disk, ten years of rows."""
LEAST_SECONDS = {RESULTS: 60, LOGS: 60, HISTORY: DAY}
"""Shorter would take what is about to be read; history answers for a day what was submitted under a token."""
FOREVER = "forever"
FOREVER_SECONDS = 36_600 * DAY
"""A hundred years."""

_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_ALLOWED = (
    "`results`, `logs` or `history`, each with `.max` for the most that jobs may ask for, and `NAMESPACE:` before"
)


class Asked(NamedTuple):
    """What a job asks for, in seconds; None: as its namespace has it."""

    results: int | None = None
    logs: int | None = None
    history: int | None = None


class Keep(NamedTuple):
    """How long what a job leaves is kept; `history`, which names the rest, never goes before it."""

    results: timedelta
    logs: timedelta
    history: timedelta


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator says: seconds by (namespace, kind), the empty namespace standing for all."""

    defaults: Mapping[tuple[str, str], int]
    maxima: Mapping[tuple[str, str], int]

    def limit(self, namespace: str, kind: str) -> int:
        """Return the most seconds that a job of a namespace may ask for."""
        for key in ((namespace, kind), ("", kind)):
            if key in self.maxima:
                return self.maxima[key]
        return max(MOST_SECONDS[kind], self._default(namespace, kind))

    def keep(self, namespace: str, asked: Asked | None = None) -> Keep:
        """Return how long what a job leaves is kept; what it asks for beyond its limit is cut to that."""
        seconds = {}
        for kind, wanted in zip(KINDS, asked or Asked(), strict=True):
            found = self._default(namespace, kind) if wanted is None else wanted
            seconds[kind] = min(found, self.limit(namespace, kind))
        history = max(seconds.values())
        return Keep(timedelta(seconds=seconds[RESULTS]), timedelta(seconds=seconds[LOGS]), timedelta(seconds=history))

    def beyond(self, namespace: str, asked: Asked | None) -> list[tuple[str, int, int]]:
        """Return what a job asks for beyond its limit: (kind, seconds that it asks for, the limit)."""
        limits = [(kind, wanted, self.limit(namespace, kind)) for kind, wanted in zip(KINDS, asked or (), strict=False)]
        return [(kind, wanted, most) for kind, wanted, most in limits if wanted is not None and wanted > most]

    def longest(self, kind: str) -> timedelta:
        """Return how long anything of a kind may be kept at most."""
        namespaces = {"", *(namespace for namespace, _ in (*self.defaults, *self.maxima))}
        return timedelta(seconds=max(self.limit(each, kind) for each in namespaces))

    def _default(self, namespace: str, kind: str) -> int:
        own = self.defaults.get((namespace, kind))
        return self.defaults.get(("", kind), DEFAULT_SECONDS[kind]) if own is None else own


def parse_policy(said: Mapping[str, str]) -> Policy:
    """Return what `[NAMESPACE:]KIND[.max]: DURATION` pairs say. Raises ValueError naming the first that is wrong."""
    defaults: dict[tuple[str, str], int] = {}
    maxima: dict[tuple[str, str], int] = {}
    for key, text in said.items():
        namespace, _, word = key.strip().rpartition(":")
        kind, dot, most = word.strip().lower().partition(".")
        if kind not in KINDS or (dot and most != "max"):
            raise ValueError(f"{key!r} is nothing that is kept: {_ALLOWED}")
        cleaned = text.strip().lower()
        seconds = FOREVER_SECONDS if cleaned == FOREVER else parse_seconds(cleaned)
        if seconds is None or not LEAST_SECONDS[kind] <= seconds <= FOREVER_SECONDS:
            raise ValueError(
                f"{key}={text!r} is no time that {kind} can be kept: at least {spelled(LEAST_SECONDS[kind])}, such as "
                f"`7d` or `36h`; or `{FOREVER}`"
            )
        (maxima if dot else defaults)[namespace.strip(), kind] = seconds
    return Policy(defaults, maxima)


def policy_of(said: Mapping[str, str], *, results_hours: float) -> Policy:
    """Return what an operator says; `results_hours`: how long results are kept where that says nothing."""
    policy = parse_policy(said)
    default = {("", RESULTS): int(results_hours * 3_600)}
    return Policy(default | dict(policy.defaults), policy.maxima)


def spelled(seconds: int) -> str:
    """Return a time as people write it: `7d`, `36h`, `90s`."""
    for size, unit in ((DAY, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


# ---------------------------------------------------------------- what may go


class Standing(NamedTuple):
    """A job as far as this is concerned. `ended_at`: when it came to rest; None while it has not. `endless`: no result
    of it is anything that it waits for.
    """

    version: int
    ended_at: datetime | None = None
    endless: bool = False


class Due(NamedTuple):
    """What of a job may go now: results and executions' output made before a moment (`spares`: but what its current
    version has won), transitions before one, and, of a job that has ended, all of it (`everything`).
    """

    version: int
    results_before: datetime
    logs_before: datetime
    history_before: datetime
    spares: bool = False
    everything: bool = False

    @property
    def nothing(self) -> bool:
        """Whether nothing may go."""
        return max(self.results_before, self.logs_before, self.history_before) == _NEVER and not self.everything


def due(job: Standing, keep: Keep, now: datetime) -> Due:
    """Return what of a job may go now.

    Of one that has ended times count from its end, for all that it left alike. Of one that has not, each thing's count
    from when it was made, and what its current version has won stays whatever its age: other tasks read it, and whoever
    waits for the job.
    """
    if job.ended_at is None:
        return Due(job.version, now - keep.results, now - keep.logs, now - keep.history, spares=not job.endless)
    age = now - job.ended_at
    return Due(
        job.version,
        results_before=now if age >= keep.results else _NEVER,
        logs_before=now if age >= keep.logs else _NEVER,
        history_before=_NEVER,  # it goes with the job, at once
        everything=age >= keep.history,
    )


def result_goes(due: Due, *, version: int, won: bool, made_at: datetime) -> bool:
    """Whether a result may go: `won` where it is committed, for its unit of its version of the job."""
    return made_at <= due.results_before and not (due.spares and won and version == due.version)


def kept_until(job: Standing, keep: Keep, made_at: datetime) -> datetime:
    """Return until when a result is kept at least, as far as that is known now."""
    return (made_at if job.ended_at is None else max(made_at, job.ended_at)) + keep.results
