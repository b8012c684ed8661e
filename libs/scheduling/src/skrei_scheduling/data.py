"""Which nodes hold the data that jobs name: over whom a job is split, and what there is to name."""

from collections.abc import Mapping

from skrei_domain.data_sets import near_name
from skrei_domain.lifecycle import Membership
from skrei_scheduling import on_nodes, texts
from skrei_scheduling.nodes import NodeMatrix
from skrei_scheduling.rows import JobRow, NodeRow, Requirement
from skrei_scheduling.view import ClusterView

SHOWN_SETS = 10
"""Data sets named in a sentence: more is a table, `skrei node list --show data`."""
SHOWN_NODES = 5
"""Nodes named of each."""


def holders(view: ClusterView, job: JobRow) -> dict[str, int]:
    """Return the nodes that a job is split over, each with its partition, in order of their ids; none for a job that
    is not split, or is already, and none while nobody holds its data.

    They are those that could run every task of it that is split: approved, connected, busy or not.
    """
    tasks = [task for task in job.tasks if task.split]
    if not tasks or job.targets:
        return {}
    return {node_id: partition for partition, node_id in enumerate(view.feasibility.able(tasks))}


def told(view: ClusterView, job: JobRow) -> str:
    """Return over which nodes a job has been split, for its history, and which others hold its data and are away."""
    tasks = [task for task in job.tasks if task.split]
    wanted = sorted({each.name for task in tasks for each in task.requirement.data})
    others = [
        node
        for node in view.nodes.values()
        if node.id not in job.targets and node.membership is Membership.APPROVED and _has(node, wanted)
    ]
    over = [on_nodes.name_of(view.nodes[each]) for each in job.targets if each in view.nodes]
    text = texts.SPLIT.format(names=", ".join(wanted), nodes=on_nodes.some(over, SHOWN_NODES))
    away = on_nodes.some(sorted(map(on_nodes.name_of, others)), SHOWN_NODES)
    return text + (texts.HOLDER_AWAY.format(nodes=away) if others else "")


def gone(view: ClusterView, job: JobRow) -> tuple[str, int] | None:
    """Return a node that a job is split over and that is no member any more, with its partition, while that is open."""
    for node_id, partition in job.targets.items() if job.split else ():
        node = view.nodes.get(node_id)
        out = node is None or node.membership is Membership.REJECTED
        if out and any(task.split and not job.closed((task.name, partition)) for task in job.tasks):
            return node_id, partition
    return None


def absent(requirement: Requirement, matrix: NodeMatrix, nodes: Mapping[str, NodeRow]) -> tuple[str, ...]:
    """Return, for each data set that no known node has, a sentence: what may be meant, and what there is."""
    if not requirement.data:
        return ()
    there = on_nodes.there(matrix, nodes, lambda said: said.data)
    missing = [each.name for each in requirement.data if each.name not in there]
    return tuple(_sentence(name, there) for name in missing)


def _sentence(name: str, there: Mapping[str, list[str]]) -> str:
    if not there:
        return f"{name}. `skrei node data add {name} PATH` on the machine that has it makes it known"
    near = near_name(name, there)
    shown = on_nodes.listed(there, names=SHOWN_SETS, nodes=SHOWN_NODES)
    return f"{name}{f', did you mean {near}?' if near else '.'} There are {shown}"


def _has(node: NodeRow, names: list[str]) -> bool:
    return set(names) <= {each.name for each in node.info.data}
