"""What the folders are called in which results lie: by task, by partition, or by the node that made them. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from skrei.archive import fold
from skrei.job_parts import Result

_SHORT_ID = 10
"""Characters of a node's id that stand behind its name where two nodes call themselves the same."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


def file_part(text: str) -> str:
    """Return a text as one part of a path."""
    return _NOT_IN_NAMES.sub("_", text)[:100].lstrip(".") or "result"


def task_folders(results: Sequence[Result]) -> dict[str, str]:
    """Return a folder's name for each task of several, each another one on every file system; nothing for one task."""
    names = list(dict.fromkeys(result.task for result in results))
    return apart_on_disk(names) if len(names) > 1 else {}


def part_names(results: Sequence[Result], *, by_node: bool = False) -> dict[str, str]:
    """Return a folder's name for each result, by its execution: its partition, or its node.

    Where these do not tell results apart it is the execution itself.
    """
    nodes = _node_names(results) if by_node else {}
    told = {result.execution_id: nodes.get(result.node_id) or str(result.partition) for result in results}
    if len({(result.task, told[result.execution_id]) for result in results}) == len(results):
        return told
    return {result.execution_id: file_part(result.execution_id) for result in results}


def _node_names(results: Iterable[Result]) -> dict[str, str]:
    """Return what each node is called here: as it calls itself, with its id where another one does so too."""
    names = {result.node_id: result.node for result in results if result.node_id}
    often = Counter(fold(file_part(name)) for name in names.values())
    told = {
        node_id: name if often[fold(file_part(name))] == 1 else f"{name}-{node_id[:_SHORT_ID]}"
        for node_id, name in names.items()
    }
    folders = apart_on_disk(list(told.values()))
    return {node_id: folders[name] for node_id, name in told.items()}


def apart_on_disk(names: Sequence[str]) -> dict[str, str]:
    """Return a folder's name for each of these names, each another one on every file system."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        folder = plain = file_part(name)
        number = 1
        while fold(folder) in taken:
            number += 1
            folder = f"{plain}-{number}"
        taken.add(fold(folder))
        found[name] = folder
    return found
