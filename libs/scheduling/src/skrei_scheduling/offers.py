"""Services that nodes' owners offer: what is told of one that work uses and nobody has."""

from collections.abc import Mapping

from skrei_domain.data_sets import near_name
from skrei_scheduling import on_nodes, texts
from skrei_scheduling.nodes import NodeMatrix
from skrei_scheduling.rows import NodeRow, Requirement

SHOWN_SERVICES = 10
"""Services named in a sentence: more is a table, `skrei node list --show services`."""
SHOWN_NODES = 3
"""Nodes named of each."""


def absent(requirement: Requirement, matrix: NodeMatrix, nodes: Mapping[str, NodeRow]) -> tuple[str, ...]:
    """Return, for each service that no job serves and no known node has, what there is, and may be meant."""
    missing = [each for each in requirement.uses if not matrix.services.any(each)]
    if not missing:
        return ()
    there = on_nodes.there(matrix, nodes, lambda said: said.services)
    return tuple(_sentence(namespace, name, there) for namespace, name in missing if name not in there)


def _sentence(namespace: str, name: str, there: Mapping[str, list[str]]) -> str:
    head = texts.NOT_SERVED.format(name=name, namespace=namespace)
    if not there:
        return head
    near = near_name(name, there)
    shown = on_nodes.listed(there, names=SHOWN_SERVICES, nodes=SHOWN_NODES)
    return f"{head} (nodes have {shown}{f'; did you mean {near}?' if near else ''})"
