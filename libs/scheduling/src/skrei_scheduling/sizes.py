"""How large named things are on each node, or how far away: names are the nodes' own; there may be millions of them.

Each node's sizes lie as it told them; a column over all nodes is made when a job asks for a name, and kept for a while.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

COLUMNS_KEPT = 64
"""Names whose columns are kept: those that are asked for again and again; of 10,000 nodes each has 80 KB."""


class Sizes:
    """Sizes by row of the matrix; none is 0."""

    def __init__(self) -> None:
        self._told: list[Mapping[str, int]] = []
        self._columns: OrderedDict[str, tuple[int, NDArray[np.int64] | None]] = OrderedDict()

    def put(self, row: int, sizes: Mapping[str, int]) -> None:
        """Take what a node tells, in place of what it told before."""
        if row >= len(self._told):
            self._told += [{}] * (row + 1 - len(self._told))
        if sizes != self._told[row]:
            for name in self._told[row].keys() | sizes.keys():
                self._columns.pop(name, None)
        self._told[row] = sizes

    @property
    def columns(self) -> int:
        """How many are kept."""
        return len(self._columns)

    def of(self, name: str, rows: int) -> NDArray[np.int64] | None:
        """Return how much each of the first `rows` nodes has under a name; None where no node has it."""
        if name not in self._columns or self._columns[name][0] != rows:
            self._columns[name] = (rows, _column(name, self._told, rows))
            if len(self._columns) > COLUMNS_KEPT:
                self._columns.popitem(last=False)
        self._columns.move_to_end(name)
        return self._columns[name][1]


def _column(name: str, told: Sequence[Mapping[str, int]], rows: int) -> NDArray[np.int64] | None:
    found = [(row, size) for row, sizes in enumerate(told[:rows]) if (size := sizes.get(name)) is not None]
    if not found:
        return None
    column = np.zeros(rows, dtype=np.int64)
    for row, size in found:
        column[row] = size
    return column
