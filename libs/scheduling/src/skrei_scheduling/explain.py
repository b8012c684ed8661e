"""Why a class of work cannot be placed: how many nodes each filter refused, and the reasons, grouped."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from skrei_domain.ids import short
from skrei_domain.lifecycle import Membership
from skrei_scheduling import data, memory, offers, texts
from skrei_scheduling.feasibility import DATA, FILTERS, FOR_GOOD, USES, Feasibility, Filter
from skrei_scheduling.nodes import NodeMatrix
from skrei_scheduling.rows import NodeRow, Requirement

READ_NODES = 64
"""Nodes of one filter whose sentences are read one by one; a larger group is told in one sentence."""

SHOWN_GROUPS = 10
"""Reason lines in a text: more is a table, not a sentence."""


HELD = "held"
"""Not a filter of its own: a node that is held for another job."""


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
    for_good: bool  # every known node refuses for good, and none of them could do it until a while ago
    refused: Mapping[str, int]  # filter -> nodes
    groups: tuple[Group, ...]

    absent: tuple[str, ...] = ()  # services that it uses and nobody reaches
    no_data: tuple[str, ...] = ()  # data sets that it names and no node has
    no_match: bool = False  # of a job that runs on every node that matches, and none does

    @property
    def text(self) -> str:
        """The sentence that people read, and its reasons line by line."""
        head = (
            f"not enough nodes to run job. requested: {self.requested}, available: {self.available}, "
            f"suitable: {self.suitable}."
        )
        if self.no_data:
            head = texts.WAITS_FOR_DATA.format(names="; ".join(self.no_data))
        elif self.absent:
            head = texts.WAITS_FOR_SERVICES.format(services="; ".join(self.absent))
        if self.no_match and not self.no_data and not self.absent:
            head = texts.NO_MATCH.format(available=self.available)
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
    requirement: Requirement,
    matrix: NodeMatrix,
    nodes: Mapping[str, NodeRow],
    *,
    requested: int,
    now: datetime,
    keep: timedelta = memory.KEPT,
    closed: tuple[str, str] | None = None,
) -> Explanation:
    """Say, for every known node, the first filter that refuses `requirement`.

    `closed` is a node that could run it and may not, with the reason.
    """
    rows = matrix.rows
    open_rows = matrix.known[:rows].copy()
    known = int(open_rows.sum())
    hopes = _hopes(requirement, matrix, nodes, now, keep)
    groups: list[Group] = []
    refused: dict[str, int] = {}
    absent = offers.absent(requirement, matrix, nodes)
    no_data = data.absent(requirement, matrix, nodes)
    for check in FILTERS:
        passing = check.passing(requirement, matrix)
        stopped = np.flatnonzero(open_rows & ~passing)
        open_rows &= passing
        if len(stopped):
            refused[check.name] = len(stopped)
            names = sorted(matrix.ids[row] for row in stopped.tolist())
            hoped = hopes if check.for_good else {}

            def reason(name: str, check: Filter = check, hoped: Mapping[str, str] = hoped) -> str:
                return check.reason(requirement, nodes[name], matrix) + hoped.get(name, "")

            groups += _groups(check.name, names, reason)
    if closed is not None and open_rows[matrix.row_of[closed[0]]]:
        open_rows[matrix.row_of[closed[0]]] = False
        refused[HELD] = 1
        groups.append(Group(HELD, closed[1], 1, closed[0]))
    told = {*([USES] if absent else []), *([DATA] if no_data else [])}
    good = {check.name for check in FOR_GOOD}
    hopeless = known > 0 and sum(count for name, count in refused.items() if name in good) == known
    return Explanation(
        requested=requested,
        available=int(matrix.ready[:rows].sum()),
        suitable=int(open_rows.sum()),
        known=known,
        for_good=hopeless and not hopes,
        refused=refused,
        groups=tuple(
            sorted(
                (each for each in groups if each.filter not in told),
                key=lambda group: (-group.nodes, group.filter, group.sample),
            )
        ),
        absent=absent,
        no_data=no_data,
    )


def why_not(requirement: Requirement, node: NodeRow, matrix: NodeMatrix) -> str:
    """Return why one node refuses now, or an empty text where it does not."""
    row = matrix.row_of[node.id]
    for check in FILTERS:
        if not check.passing(requirement, matrix)[row]:
            return check.reason(requirement, node, matrix)
    return ""


def refused_for_good(
    requirement: Requirement,
    matrix: NodeMatrix,
    feasibility: Feasibility,
    nodes: Mapping[str, NodeRow],
    now: datetime,
    *,
    keep: timedelta = memory.KEPT,
) -> bool:
    """Whether there are nodes, and every one of them refuses for good.

    One that is away or not approved refuses only for now, and so does one that could do it less than `keep` ago.
    """
    rows = matrix.rows
    known, ready = matrix.known[:rows], matrix.ready[:rows]
    if requirement.data:  # which may come to any node
        requirement = replace(requirement, data=())
    if not known.any() or (known & ~ready).any() or feasibility.could(requirement):
        return False
    return not any(_waited_for(requirement, nodes[node_id], now, keep) for node_id in matrix.fading)


def _waited_for(requirement: Requirement, node: NodeRow, now: datetime, keep: timedelta) -> bool:
    return node.membership is not Membership.REJECTED and memory.waited_for(requirement, node, now, keep=keep)


def _hopes(
    requirement: Requirement, matrix: NodeMatrix, nodes: Mapping[str, NodeRow], now: datetime, keep: timedelta
) -> dict[str, str]:
    """Return the nodes that could do it until a while ago and cannot now, each with what is to be told of that."""
    hopes: dict[str, str] = {}
    for node_id in matrix.fading:
        node = nodes[node_id]
        at = memory.last_seen(requirement, node)
        if at is None or at is memory.ALWAYS or not _waited_for(requirement, node, now, keep):
            continue
        hopes[node_id] = f" (it did {_ago(now - at)} ago, and is waited for until {at + keep:%H:%M:%S} UTC)"
    return hopes


def _ago(passed: timedelta) -> str:
    seconds = max(int(passed.total_seconds()), 0)
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"


def _groups(filter_name: str, names: list[str], reason: Callable[[str], str]) -> list[Group]:
    told = Counter[str]()
    sample: dict[str, str] = {}
    for name in names[:READ_NODES]:
        said = reason(name)
        told[said] += 1
        sample.setdefault(said, name)
    if len(told) == 1 or len(names) <= READ_NODES:
        only = len(told) == 1
        return [Group(filter_name, said, len(names) if only else n, sample[said]) for said, n in told.items()]
    return [Group(filter_name, reason(names[0]), len(names), names[0])]


def _line(group: Group, known: int) -> str:
    who = f"Node {short(group.sample)}" if group.nodes == 1 else f"{group.nodes} of {known} nodes"
    return f"{who}: {group.reason}"
