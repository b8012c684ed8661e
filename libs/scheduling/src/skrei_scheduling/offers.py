"""Services that nodes' owners offer: what is told of one that work uses and nobody has."""

from collections import defaultdict
from collections.abc import Mapping

from skrei_domain.data_sets import near_name
from skrei_scheduling import texts
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
    there: defaultdict[str, list[str]] = defaultdict(list)
    for row in matrix.known[: matrix.rows].nonzero()[0].tolist():
        for name in matrix.said[row].services:
            node = nodes[matrix.ids[row]]
            there[name].append(node.info.name or node.id)
    return tuple(_sentence(namespace, name, there) for namespace, name in missing if name not in there)


def _sentence(namespace: str, name: str, there: Mapping[str, list[str]]) -> str:
    head = texts.NOT_SERVED.format(name=name, namespace=namespace)
    if not there:
        return head
    shown = [f"{each} ({_some(sorted(there[each]))})" for each in sorted(there)[:SHOWN_SERVICES]]
    more = f" and {len(there) - SHOWN_SERVICES} more" if len(there) > SHOWN_SERVICES else ""
    near = near_name(name, there)
    return f"{head} (nodes have {', '.join(shown)}{more}{f'; did you mean {near}?' if near else ''})"


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN_NODES]) + (
        f" and {len(names) - SHOWN_NODES} more" if len(names) > SHOWN_NODES else ""
    )
