"""What nodes say that they have, as it is told of what none of them has: names, with the nodes of each."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from skrei_scheduling.nodes import NodeMatrix, Said
from skrei_scheduling.rows import NodeRow


def name_of(node: NodeRow) -> str:
    """Return what people call a node."""
    return node.info.name or node.id


def there(
    matrix: NodeMatrix, nodes: Mapping[str, NodeRow], names: Callable[[Said], Iterable[str]]
) -> Mapping[str, list[str]]:
    """Return, for each of the `names` that a known node says, what the nodes are called that say it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in matrix.known[: matrix.rows].nonzero()[0].tolist():
        for name in names(matrix.said[row]):
            found[name].append(name_of(nodes[matrix.ids[row]]))
    return found


def listed(found: Mapping[str, list[str]], *, names: int, nodes: int) -> str:
    """Return the first of the names, each with the first of its nodes: `books (a, b), corpora (a) and 2 more`."""
    shown = [f"{each} ({some(sorted(found[each]), nodes)})" for each in sorted(found)[:names]]
    return ", ".join(shown) + _rest(len(found), names)


def some(names: Sequence[str], most: int) -> str:
    """Return the first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + _rest(len(names), most)


def _rest(count: int, most: int) -> str:
    return f" and {count - most} more" if count > most else ""
