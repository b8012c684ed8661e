"""Which node has which fetched inputs in its cache, as their heartbeats tell, and how large those are.

A node's keys come as a Bloom filter (`skrei_domain.bloom`). The filters of one size lie beside each other, byte by
byte, so that all nodes are asked for a key at once; what comes later is added to them in place. It is a belief and not
the record: a new leader begins without, and is told with each node's next heartbeat.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from skrei_domain import bloom
from skrei_scheduling.labels import Mask

SIZES_KEPT = 50_000
"""Inputs whose size is remembered, the latest: 100 bytes each."""
UNITED_BYTES = 32 * 1024**2
"""Of the filters of one size, up to which what all of them have is worked out anew when much of it has gone: 10 ms."""
_FIRST_COLUMNS = 16

_BITS = tuple(np.uint8(1 << bit) for bit in range(8))


class CachedInputs:
    """The filters of all nodes, by row of the matrix."""

    def __init__(self) -> None:
        self._banks: dict[int, _Bank] = {}
        self._size_of: dict[int, int] = {}  # row -> bytes of its filter
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def replace(self, row: int, filter_: bytes) -> None:
        """Take a node's whole filter, in place of what it told before."""
        size = len(filter_)
        if (old := self._size_of.get(row)) is not None and old != size:
            self._banks[old].drop(row)
        self._size_of[row] = size
        self._bank(size).put(row, np.frombuffer(filter_, dtype=np.uint8))

    def add(self, row: int, keys: Sequence[str]) -> None:
        """Take what has come into a node's cache."""
        if not keys:
            return
        size = self._size_of.setdefault(row, bloom.LEAST_BYTES)
        bank = self._bank(size)
        for key in keys:
            bank.add(row, bloom.places(key, size))

    def sized(self, sizes: Iterable[tuple[str, int]]) -> None:
        """Remember how many bytes inputs have."""
        for key, size in sizes:
            self._sizes[key] = size
            self._sizes.move_to_end(key)
        while len(self._sizes) > SIZES_KEPT:
            self._sizes.popitem(last=False)

    def forget(self, row: int) -> None:
        """A node is gone."""
        if (size := self._size_of.pop(row, None)) is not None:
            self._banks[size].drop(row)

    def size(self, key: str) -> int | None:
        """Return how many bytes an input has by that key, None where nobody has told."""
        return self._sizes.get(key)

    def has(self, row: int, *keys: str) -> bool:
        """Whether a node has an input, by one of its keys."""
        size = self._size_of.get(row)
        return size is not None and any(self._banks[size].has(row, bloom.places(key, size)) for key in keys)

    def having(self, keys: Sequence[str], rows: int) -> Mask:
        """Return which of the first `rows` nodes have an input, by one of its keys."""
        mask = np.zeros(rows, dtype=np.bool_)
        for key in keys:
            for size, bank in self._banks.items():
                found = bank.having(bloom.places(key, size))
                mask[found[found < rows]] = True
        return mask

    def close(self, mask: Mask, inputs: Iterable[Sequence[str]]) -> None:
        """Leave in `mask` only nodes that have all of these, each by one of its keys."""
        for keys in inputs:
            mask &= self.having(keys, len(mask))

    def anywhere(self, keys: Sequence[str]) -> bool:
        """Whether some node may have an input: a look at a few bytes, however many nodes there are."""
        return any(bank.anywhere(bloom.places(key, size)) for key in keys for size, bank in self._banks.items())

    def _bank(self, size: int) -> "_Bank":
        if size not in self._banks:
            self._banks[size] = _Bank(size)
        return self._banks[size]


class _Bank:
    """The filters of one size, a column each, and what any of them ever had."""

    def __init__(self, size: int) -> None:
        self._bits: NDArray[np.uint8] = np.zeros((size, _FIRST_COLUMNS), dtype=np.uint8)
        self._any = bytearray(size)
        self._outdated = 0  # filters that were replaced or dropped since what all of them have was worked out
        self._rows: list[int] = []
        self._columns: dict[int, int] = {}
        self._row_of: NDArray[np.int64] = np.zeros(_FIRST_COLUMNS, dtype=np.int64)

    def put(self, row: int, filter_: NDArray[np.uint8]) -> None:
        column = self._column(row)  # before the bits, which it may replace by a wider array
        self._bits[:, column] = filter_
        self._any[:] = (np.frombuffer(bytes(self._any), dtype=np.uint8) | filter_).tobytes()
        self._outdated += 1
        if self._outdated > len(self._rows) and self._bits.size <= UNITED_BYTES:
            self._unite()

    def add(self, row: int, places: tuple[int, ...]) -> None:
        column = self._column(row)
        for place in places:
            self._bits[place >> 3, column] |= _BITS[place & 7]
            self._any[place >> 3] |= 1 << (place & 7)

    def drop(self, row: int) -> None:
        """Let the last column take the place of the one that goes."""
        column, last = self._columns.pop(row), len(self._rows) - 1
        moved = self._rows.pop()
        if moved != row:
            self._bits[:, column] = self._bits[:, last]
            self._rows[column] = moved
            self._columns[moved] = column
            self._row_of[column] = moved
        self._bits[:, last] = 0
        self._outdated += 1

    def has(self, row: int, places: tuple[int, ...]) -> bool:
        column = self._columns[row]
        return all(self._bits[place >> 3, column] & _BITS[place & 7] for place in places)

    def having(self, places: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the rows whose filter has all of these bits."""
        count = len(self._rows)
        if not self.anywhere(places):
            return self._row_of[:0]
        found = np.ones(count, dtype=np.bool_)
        for place in places:
            found &= (self._bits[place >> 3, :count] & _BITS[place & 7]) != 0
        return self._row_of[:count][found]

    def anywhere(self, places: tuple[int, ...]) -> bool:
        return all(self._any[place >> 3] >> (place & 7) & 1 for place in places)

    def _unite(self) -> None:
        self._outdated = 0
        self._any[:] = np.bitwise_or.reduce(self._bits[:, : len(self._rows)], axis=1).tobytes()

    def _column(self, row: int) -> int:
        found = self._columns.get(row)
        if found is not None:
            return found
        column = self._columns[row] = len(self._rows)
        self._rows.append(row)
        if column == self._bits.shape[1]:
            self._bits = np.concatenate([self._bits, np.zeros_like(self._bits)], axis=1)
            self._row_of = np.concatenate([self._row_of, np.zeros_like(self._row_of)])
        self._row_of[column] = row
        return column
