"""What waits for room, and for what: the signal that whoever adds machines goes by. Pure.

Units wait in classes of equal requirements, of which there may be thousands; whoever scales asks by what a machine must
be, which is the engine and the labels. So classes are summed by these, and the smallest sums together as `other`.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from skrei_scheduling.reasons import selector
from skrei_scheduling.rows import Requirement
from skrei_scheduling.view import ClusterView

GROUPS = 50
"""Kinds of machine that are told apart: more are no kinds, and each is a series for whoever keeps figures."""
SELECTOR_CHARACTERS = 200
"""Of constraints in one of them: what people write to name a kind of machine is shorter."""
CLASSES = 200
"""Classes of which it is told why they wait: the first in line. Each costs some microseconds for a thousand nodes."""
OTHER = "other"

NO_NODE, AWAY, MISSING, FULL, SOON = "no-node", "nodes-away", "something-missing", "no-room", "next"
"""Why jobs wait: no node that is known could ever; those that could are away or not approved; what else they need (a
service, a port, a cached input) is not there; those are full; there is room, and they are planned, held or backing off.
"""
WHY = (NO_NODE, AWAY, MISSING, FULL, SOON, OTHER)


class Kind(NamedTuple):
    """A kind of machine: what it must run, and which labels it must have."""

    engine: str
    constraints: str


class Waiting(NamedTuple):
    """What waits of one kind: so many units, which need so much together."""

    units: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0
    gpus: int = 0


def kind_of(requirement: Requirement) -> Kind:
    """Return the kind of machine that a class of work needs."""
    told = selector(requirement)
    return Kind(requirement.engine, told if len(told) <= SELECTOR_CHARACTERS else OTHER)


def demand(units: Mapping[Requirement, int]) -> dict[Kind, Waiting]:
    """Return what waits by kind of machine, the most units first; `units` are those of each class."""
    found: dict[Kind, Waiting] = {}
    for requirement, count in units.items():
        kind = kind_of(requirement)
        cpu, memory, _, gpus = requirement.resources.vector()
        found[kind] = _sum(found.get(kind, Waiting()), Waiting(count, count * cpu, count * memory, count * gpus))
    if len(found) <= GROUPS:
        return found
    ordered = sorted(found.items(), key=lambda each: (-each[1].units, each[0]))
    rest = Waiting()
    for _, waiting in ordered[GROUPS - 1 :]:
        rest = _sum(rest, waiting)
    other = Kind(OTHER, OTHER)
    kept = dict(ordered[: GROUPS - 1])
    return {**kept, other: _sum(kept.get(other, Waiting()), rest)}


def _sum(one: Waiting, two: Waiting) -> Waiting:
    return Waiting(*(a + b for a, b in zip(one, two, strict=True)))


def why(view: ClusterView) -> Counter[str]:
    """Return how many waiting jobs wait for which of the reasons above; one of several tasks counts for each."""
    found = Counter(dict.fromkeys(WHY, 0))
    lines = view.waiting.lengths()
    for requirement, count in islice(lines.items(), CLASSES):
        found[_why(view, requirement)] += count
    found[OTHER] += sum(islice(lines.values(), CLASSES, None))
    return found


def _why(view: ClusterView, requirement: Requirement) -> str:
    known = view.feasibility.of(requirement)
    if not known.possible.any():
        return NO_NODE
    if not known.candidates.any():
        return AWAY
    if not known.open(view.matrix).any():
        return MISSING
    return SOON if known.with_room(view.matrix).any() else FULL
