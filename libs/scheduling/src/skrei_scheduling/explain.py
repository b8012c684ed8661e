"""Why a class of work cannot be placed: how many nodes each filter refused, and the reasons, grouped."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skrei_domain.ids import short
from skrei_scheduling.feasibility import FILTERS, FOR_GOOD, Feasibility, Filter
from skrei_scheduling.nodes import NodeMatrix
from skrei_scheduling.rows import NodeRow, Requirement

READ_NODES = 64
"""Nodes of one filter whose sentences are read one by one; a larger group is told in one sentence."""

SHOWN_GROUPS = 10
"""Reason lines in a text: more is a table, not a sentence."""


@dataclass(frozen=True, slots=True)
class Group:
    """One reason, and the nodes that gave it. `sample` is the first of them by id."""

    filter: str
    reason: str
    nodes: int
    sample: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why fewer units could be placed than were wanted."""

    requested: int
    available: int  # nodes that could be asked: approved and connected
    suitable: int  # nodes that could run a unit now
    known: int  # nodes whose answer counts: not rejected
    for_good: bool  # every known node refuses for good
    refused: Mapping[str, int]  # filter -> nodes
    groups: tuple[Group, ...]

    @property
    def text(self) -> str:
        """The sentence that people read, and its reasons line by line."""
        head = (
            f"not enough nodes to run job. requested: {self.requested}, available: {self.available}, "
            f"suitable: {self.suitable}."
        )
        lines = [_line(group, self.known) for group in self.groups[:SHOWN_GROUPS]]
        rest = sum(group.nodes for group in self.groups[SHOWN_GROUPS:])
        if rest:
            lines.append(f"{rest} of {self.known} nodes: other reasons")
        return head + "".join(f"\n• {line}" for line in lines)

    @property
    def details(self) -> dict[str, str]:
        """The same in keys, for programs."""
        return {
            "NodesRequested": str(self.requested),
            "NodesAvailable": str(self.available),
            "NodesSuitable": str(self.suitable),
            "Reasons": "; ".join(_line(group, self.known) for group in self.groups[:SHOWN_GROUPS]),
        }


def explain(
    requirement: Requirement, matrix: NodeMatrix, nodes: Mapping[str, NodeRow], *, requested: int
) -> Explanation:
    """Say, for every known node, the first filter that refuses `requirement`."""
    rows = matrix.rows
    open_rows = matrix.known[:rows].copy()
    known = int(open_rows.sum())
    groups: list[Group] = []
    refused: dict[str, int] = {}
    for check in FILTERS:
        passing = check.passing(requirement, matrix)
        stopped = np.flatnonzero(open_rows & ~passing)
        open_rows &= passing
        if len(stopped):
            refused[check.name] = len(stopped)
            groups += _groups(check, requirement, matrix, nodes, stopped.tolist())
    good = {check.name for check in FOR_GOOD}
    return Explanation(
        requested=requested,
        available=int(matrix.ready[:rows].sum()),
        suitable=int(open_rows.sum()),
        known=known,
        for_good=known > 0 and sum(count for name, count in refused.items() if name in good) == known,
        refused=refused,
        groups=tuple(sorted(groups, key=lambda group: (-group.nodes, group.filter, group.sample))),
    )


def why_not(requirement: Requirement, node: NodeRow, matrix: NodeMatrix) -> str:
    """Return why one node refuses now, or an empty text where it does not."""
    row = matrix.row_of[node.id]
    for check in FILTERS:
        if not check.passing(requirement, matrix)[row]:
            return check.reason(requirement, node, matrix.room(node.id))
    return ""


def refused_for_good(requirement: Requirement, matrix: NodeMatrix, feasibility: Feasibility) -> bool:
    """Whether there are nodes, and every one of them refuses for good (one that is away refuses only for now)."""
    rows = matrix.rows
    known, ready = matrix.known[:rows], matrix.ready[:rows]
    if not known.any() or (known & ~ready).any():
        return False
    return not feasibility.of(requirement).possible.any()


def _groups(
    check: Filter, requirement: Requirement, matrix: NodeMatrix, nodes: Mapping[str, NodeRow], rows: list[int]
) -> list[Group]:
    names = sorted(matrix.ids[row] for row in rows)
    told = Counter[str]()
    sample: dict[str, str] = {}
    for name in names[:READ_NODES]:
        reason = check.reason(requirement, nodes[name], matrix.room(name))
        told[reason] += 1
        sample.setdefault(reason, name)
    if len(told) == 1 or len(names) <= READ_NODES:
        only = len(told) == 1
        return [Group(check.name, reason, len(names) if only else n, sample[reason]) for reason, n in told.items()]
    first = min(sample.values())
    return [Group(check.name, check.reason(requirement, nodes[first], matrix.room(first)), len(names), first)]


def _line(group: Group, known: int) -> str:
    who = f"Node {short(group.sample)}" if group.nodes == 1 else f"{group.nodes} of {known} nodes"
    return f"{who}: {group.reason}"
