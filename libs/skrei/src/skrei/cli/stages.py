"""How far a job is, stage by stage, as lines for a terminal, with a bar where bytes are known. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from skrei.cli.texts import with_next_step
from skrei.progress import Progress, best_attempts

STAGES = (("Placed", "Offered"), ("Preparing", "Staging"), ("Running", "Running"), ("Completed", "Completed"))
"""What each stage is called, and the state of an execution that has reached it."""
_RANK = {"Offered": 1, "Staging": 2, "Running": 3, "Publishing": 4, "Completed": 5}
_BYTES = re.compile(r"(?P<done>[\d.]+) of (?P<whole>[\d.]+) (?P<unit>[kKMGT]?i?B)\b")
_BAR_WIDTH = 20
MOST_REASON_LINES = 6
"""Of why a job waits: more would push what came before off a small screen."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One line: how many partitions are there or further, of how many; `over` once nobody is before it any more."""

    name: str
    reached: int
    count: int
    over: bool
    note: str = ""


def stages_of(progress: Progress) -> tuple[Stage, ...]:
    """Return the stages that somebody has reached; one that is skipped by all (nothing to prepare) is left out."""
    ranks = [_RANK.get(one.state, 0) for one in best_attempts(progress.executions)]
    count = max(progress.job.units, len(ranks))
    found = []
    for name, state in STAGES:
        rank = _RANK[state]
        reached = sum(each >= rank for each in ranks)
        here = [each for each in ranks if each == rank]
        note = (progress.notes[:1] or ("",))[0] if name == "Preparing" else ""
        if name == "Running" and (publishing := ranks.count(_RANK["Publishing"])):
            note = f"{publishing} publishing"
        if reached and (here or name != "Preparing"):
            over = reached == count and not (here and name != "Completed")
            found.append(Stage(name, reached, count, over, note))
    return tuple(found)


def lines_of(job: str, progress: Progress, seconds: float, *, width: int) -> Iterator[str]:
    """Yield the lines to show now, each at most `width` characters."""
    waits = progress.job.state in ("Pending", "Queued") and not progress.executions
    mark = "\N{HORIZONTAL ELLIPSIS}" if waits else "\N{CHECK MARK}"
    yield f"{mark} {'Waiting' if waits else 'Submitted':<10} {job}  {seconds:.0f} s"[:width]
    if waits and progress.job.message:
        yield from _reason(progress.job.message, width)
    for stage in stages_of(progress):
        mark = "\N{CHECK MARK}" if stage.over else "\N{HORIZONTAL ELLIPSIS}"
        yield f"{mark} {stage.name:<10} {stage.reached}/{stage.count}  {with_bar(stage.note)}".rstrip()[:width]


def _reason(message: str, width: int) -> Iterator[str]:
    """Yield why a job waits: what each node says is on the lines below the first, and worth more than that."""
    lines = [" ".join(line.split()) for line in with_next_step(message).splitlines()]
    broken = [part for line in lines for part in wrap(line, max(width - 2, 20))]
    yield from (f"  {part}"[:width] for part in broken[:MOST_REASON_LINES])


def with_bar(note: str) -> str:
    """Return a note with a bar behind its bytes, where it tells how many of how many there are."""
    share = share_of(note)
    if share is None:
        return note
    full = round(_BAR_WIDTH * share)
    return f"{note}  [{'#' * full}{'-' * (_BAR_WIDTH - full)}] {share:.0%}"


def share_of(note: str) -> float | None:
    """Return the share, 0 to 1, that a note tells (`pulling x: 12.0 of 40.0 MB`); None where it tells none."""
    found = _BYTES.search(note)
    if found is None:
        return None
    try:
        done, whole = float(found["done"]), float(found["whole"])
    except ValueError:
        return None
    return min(done / whole, 1.0) if whole > 0 else None
