"""Which of the nodes that can run a unit should: one integer per node, the lowest wins.

The key of a node is, from the highest bits down: points (thousandths of a whole node), its fullness (dominant share,
in thousandths), how many reservations it holds, and a tie by seed and node id. Points come from what outweighs fit:

* a soft constraint (key prefix `favour_`) that the node meets: `FAVOUR_POINTS` better each;
* an earlier attempt of this unit that ended badly there: `FAILURE_POINTS` worse each;
* servers that its inputs come from are near: up to `NEAR_POINTS` better, by how near (`locality`). Where that is much,
  no node takes part in a round that is far from them while one that is near has room;
* inputs that lie there already: up to `BYTES_POINTS` better for a local path that a node hands out, each that is wanted
  alike (`feasibility.bonus`), and as much again by the share of the wanted bytes that are there (`locality`), in
  thousandths. Where some would have to be moved, no other node takes part in a round than those that have about as
  much as the best one (`nearest`): spreading comes after that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skrei_domain.constraints import Constraint, satisfied
from skrei_scheduling.labels import Mask
from skrei_scheduling.nodes import COUNT_BITS, FULL, TIE_BITS, NodeMatrix
from skrei_scheduling.rows import Requirement

FAVOUR_POINTS = FULL
"""Meeting one wish weighs as much as the difference between an empty and a full node."""

FAILURE_POINTS = 2 * FULL
"""A node where this unit failed before comes after every other that has room, wish or not."""

NEAR_POINTS = FULL
"""To be beside the servers that inputs come from weighs as much as a wish: what is fetched may be fetched from afar."""

BYTES_POINTS = 2 * FULL
"""All inputs there already outweigh any fullness: moving data is what placement is to avoid."""

SOFT_PREFIX = "favour_"

_POINTS_SHIFT = COUNT_BITS + TIE_BITS
_MOST = 30 * FULL  # keeps points within the 16 bits above fullness
_PACK = ((1 << (10 + COUNT_BITS)) - 1) << TIE_BITS  # flips fullness and count: the fullest comes first
_NEVER = np.iinfo(np.int64).max
_MIX = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: spreads small seeds over all bits


@lru_cache(maxsize=4096)
def hardened(constraint: Constraint) -> Constraint:
    """Return the condition that a wish (`favour_disk`) states (`disk`)."""
    return replace(constraint, key=constraint.key.removeprefix(SOFT_PREFIX))


def is_soft(constraint: Constraint) -> bool:
    """Whether a constraint only states a wish."""
    return constraint.key.startswith(SOFT_PREFIX)


def favour(requirement: Requirement, labels: Mapping[str, str]) -> int:
    """Return the points that a node's labels earn by the wishes of `requirement`."""
    wishes = (hardened(constraint) for constraint in requirement.constraints if is_soft(constraint))
    return sum(FAVOUR_POINTS for wish in wishes if satisfied(wish, labels))


def keys(
    matrix: NodeMatrix,
    seed: int,
    *,
    pack: bool = False,
    favours: NDArray[np.int64] | None = None,
    failures: Iterable[str] = (),
    bytes_there: NDArray[np.int64] | None = None,
    close: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return one key per row; lower is better. `failures` are nodes where earlier attempts ended badly."""
    twist = (((seed * _MIX) >> 13) & ((1 << TIE_BITS) - 1)) | (_PACK if pack else 0)
    key = matrix.order[: matrix.rows] ^ twist
    if favours is not None:
        key -= np.minimum(favours, _MOST) << _POINTS_SHIFT
    if bytes_there is not None:
        key -= (np.minimum(bytes_there, FULL) * (BYTES_POINTS // FULL)) << _POINTS_SHIFT
    if close is not None:
        key -= (np.minimum(close, FULL) * (NEAR_POINTS // FULL)) << _POINTS_SHIFT
    for node_id in failures:
        row = matrix.row_of.get(node_id)
        if row is not None:
            key[row] += FAILURE_POINTS << _POINTS_SHIFT
    return key


def nearest(mask: Mask, share: NDArray[np.int64]) -> Mask:
    """Return the rows of `mask` that have about as much of the inputs as the best of them; all where that is little."""
    most = int(np.where(mask, share, 0).max(initial=0))
    return mask & (share > most - FULL // 2) if most >= FULL // 2 else mask


def best(mask: Mask, key: NDArray[np.int64]) -> int | None:
    """Return the best row among those of `mask`, or None where there is none."""
    if not len(mask):
        return None
    row = int(np.where(mask, key, _NEVER).argmin())
    return row if mask[row] else None


def best_of(mask: Mask, key: NDArray[np.int64], count: int) -> list[int]:
    """Return up to `count` rows of `mask`, best first."""
    rows = np.flatnonzero(mask)
    found = key[rows]
    if count < len(rows):
        chosen = np.argpartition(found, count - 1)[:count]
        rows, found = rows[chosen], found[chosen]
    return rows[np.argsort(found, kind="stable")].tolist()  # type: ignore[no-any-return]
