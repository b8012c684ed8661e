"""Which nodes meet a label condition, for all nodes at once: one column of interned values for each label key.

Says the same as `skrei_domain.constraints.satisfied`, which decides for one node; a property test compares them.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from skrei_domain.constraints import Constraint, satisfied

Mask: TypeAlias = NDArray[np.bool_]
"""One boolean per row of the node matrix."""

ABSENT = -1

FEW = 6
"""Up to this many values, comparing with each is faster than a set operation over the column."""


class LabelColumn:
    """The values of one label key over the rows of the matrix; a row without the label holds `ABSENT`."""

    def __init__(self, rows: int) -> None:
        self.codes: NDArray[np.int32] = np.full(rows, ABSENT, dtype=np.int32)
        self._code_of: dict[str, int] = {}

    def grow(self, rows: int) -> None:
        """Make room for `rows` rows."""
        grown = np.full(rows, ABSENT, dtype=np.int32)
        grown[: len(self.codes)] = self.codes
        self.codes = grown

    def set(self, row: int, value: str | None) -> None:
        """Store the value that `row` has, or None."""
        self.codes[row] = ABSENT if value is None else self._code_of.setdefault(value, len(self._code_of))

    def meeting(self, constraint: Constraint, rows: int) -> Mask:
        """Which of the first `rows` rows meet the condition."""
        codes = self.codes[:rows]
        match constraint.operator:
            case "in" | "=" | "==":
                return self._among(codes, constraint.values)
            case "notin" | "!=":
                return ~self._among(codes, constraint.values)
            case "exists":
                return ~self._are(codes, ABSENT)
            case "!":
                return self._are(codes, ABSENT)
            case _:  # gt, lt: once for each distinct value, then looked up for each row
                verdicts = [satisfied(constraint, {constraint.key: value}) for value in self._code_of]
                return np.array([*verdicts, False], dtype=np.bool_)[codes]

    def _among(self, codes: NDArray[np.int32], values: tuple[str, ...]) -> Mask:
        wanted = [self._code_of[value] for value in values if value in self._code_of]
        if len(wanted) > FEW:
            return np.isin(codes, wanted)
        mask = np.zeros(len(codes), dtype=np.bool_)
        for code in wanted:
            mask |= self._are(codes, code)
        return mask

    @staticmethod
    def _are(codes: NDArray[np.int32], code: int) -> Mask:
        mask: Mask = codes == code
        return mask


def meeting_absent(constraint: Constraint, rows: int) -> Mask:
    """What a condition on a key that no node has says of every row."""
    return np.full(rows, satisfied(constraint, {}), dtype=np.bool_)
